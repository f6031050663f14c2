"""What the tests let processes of their own do."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import datasets
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.llada import LLaDA
from tests.forked import start
from tests.models import stock_tasks


def start_ranks(number: int, function: Callable[..., None], *arguments: Any) -> list[BaseProcess]:
    """As many processes, which find in their environment what torchrun announces."""
    shared = {"WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    ranks = [shared | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(number)]
    return [start(_announced, rank, function, *arguments) for rank in ranks]


def _free_port() -> int:
    """One that nobody has, below those of connections: who calls one of these before it is open may reach itself."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _announced(rank: dict[str, Any], function: Callable[..., None], *arguments: Any) -> None:
    os.environ.update({name: str(value) for name, value in rank.items()})
    function(*arguments)


def answer(checkpoint: str, settings: dict[str, Any], prompts: Sequence[str], out: Path) -> None:
    """Answer the prompts, and write answers and `get_model_info()` to `out`."""
    lm = LLaDA(checkpoint, **settings)
    answers = lm.generate_until(
        [
            Instance("generate_until", {}, (prompt, {}), idx=0, metadata=("tiny", index, 1))
            for index, prompt in enumerate(prompts)
        ]
    )
    out.write_text(json.dumps([answers, lm.get_model_info()]))


def evaluate_in_four_ways(checkpoint: str, settings: dict[str, Any], tasks: str, out: Path, journal: Path) -> None:
    """Evaluate `tiny` plainly, filling lm-eval's cache, out of it, and out of a journal; a line each in `out`."""
    manager = TaskManager(include_defaults=False, include_path=tasks)
    cache = str(out.with_suffix(".cache"))
    for use_cache, kept in ((None, None), (cache, None), (cache, None), (None, journal)):
        lm = Dream(checkpoint, journal=kept, **settings)
        result = simple_evaluate(lm, tasks=["tiny"], task_manager=manager, bootstrap_iters=0, use_cache=use_cache)
        assert (result is None) == (lm.rank > 0)
        if result:
            with open(out, "a") as file:
                file.write(json.dumps(result, default=str) + "\n")


def answer_as(
    model: str, checkpoint: str, decoders: Sequence[dict[str, Any]], prompts: Sequence[str], folder: Path
) -> None:
    """Answer this rank's share of the prompts by a model of this name under the settings of each decoder.

    Every rank writes all ranks' answers to `folder`, a list for each decoder.
    """
    written = []
    for settings in decoders:
        lm = get_model(model)(checkpoint, **settings)
        own = range(lm.rank, len(prompts), lm.world_size)
        requests = [Instance("generate_until", {}, (prompts[at], {}), idx=0, metadata=("tiny", at, 1)) for at in own]
        parts = lm._ranks.all_gather_object(dict(zip(own, lm.generate_until(requests, disable_tqdm=True), strict=True)))
        answers = {at: text for part in parts for at, text in part.items()}
        written.append([answers[at] for at in range(len(prompts))])
    (folder / f"{lm.rank}.json").write_text(json.dumps(written))


def score_stock_tasks(model: str, checkpoint: str, settings: dict[str, Any], tasks: Sequence[str], out: Path) -> None:
    """Evaluate a model of this name on stock tasks with made-up rows, and write the first rank's result to `out`."""
    datasets.load_dataset = stock_tasks.load_dataset
    lm = get_model(model)(checkpoint, **settings)
    result = simple_evaluate(lm, tasks=list(tasks), task_manager=stock_tasks.manager(), bootstrap_iters=0)
    if result:
        out.write_text(json.dumps(result, default=str))


def evaluate_as(
    model: str, checkpoint: str, settings: dict[str, Any], tasks: str, names: Sequence[str], out: Path
) -> None:
    """Evaluate tasks of a folder by a model of this name, and write the result to `out`."""
    manager = TaskManager(include_defaults=False, include_path=tasks)
    lm = get_model(model)(checkpoint, **settings)
    result = simple_evaluate(lm, tasks=list(names), task_manager=manager, bootstrap_iters=0)
    if result:
        out.write_text(json.dumps(result, default=str))
