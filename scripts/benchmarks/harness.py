"""What an evaluation costs around the decoding: `lm_eval` itself on GSM8K's rows, with answers that cost nothing."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.arguments import whole
from benchmarks.stand_in import ANSWER_TOKENS, GSM8K_ROWS, InstantDecoding, read_rows, write_checkpoint, write_rows
from benchmarks.start_up import help_milliseconds
from benchmarks.stopwatch import REST, Stopwatch
from benchmarks.table import Row, say
from lm_eval_codd.catalogue import DATA_DIR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py harness`."""
    parser.description = (
        f"{parser.description or ''} `harness.overhead_seconds` is the whole without imports, checkpoint and decoding; "
        "`harness.help_milliseconds` is what the package's start-up files add to `lm_eval --help`."
    ).strip()
    parser.add_argument("--requests", type=whole(1), default=GSM8K_ROWS, help="rows of GSM8K to evaluate")
    parser.add_argument("--batch-size", type=whole(1), default=8, help="requests decoded at once")
    parser.add_argument("--starts", type=whole(0), default=40, help="pairs of `lm_eval --help`; 0 leaves this out")


def run(arguments: argparse.Namespace) -> list[Row]:
    """Rows of the overhead and the start."""
    rows = [overhead(arguments.requests, arguments.batch_size)]
    if arguments.starts:
        say("harness.help_milliseconds")
        added, alone = help_milliseconds(arguments.starts)
        note = f"median of {arguments.starts} pairs; {alone:.0f} ms without"
        rows.append(Row("harness.help_milliseconds", added, "ms", "<= 5", note))
    return rows


def overhead(requests: int, batch_size: int) -> Row:
    """Seconds of one evaluation, the decoding taken out.

    Raises:
        RuntimeError: not every request was answered.
    """
    say("harness.overhead_seconds")
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_rows(home / "data")
        texts = [f"{row['question']}\n{row['answer']}" for row in read_rows(home / "data")]
        tokenizer = write_checkpoint(home / "checkpoint", texts)
        # The end of an answer is what its filters look for.
        answers = [tokenizer.encode(text, add_special_tokens=False)[-ANSWER_TOKENS:] for text in texts]
        results = _evaluate(watch, answers, requests, batch_size, home)
    if results["config"]["requests"] != requests:
        raise RuntimeError(f"{results['config']['requests']} of {requests} requests were answered")
    note = (
        f"{requests} requests, batches of {batch_size}, answers of {ANSWER_TOKENS} tokens, made-up rows of GSM8K's "
        "size and a tokenizer trained on them; without imports, checkpoint and decoding"
    )
    goal = "<= 10" if requests == GSM8K_ROWS else ""
    return Row("harness.overhead_seconds", watch.seconds[REST], "s", goal, note)


def _evaluate(
    watch: Stopwatch, answers: Sequence[Sequence[int]], requests: int, batch_size: int, home: Path
) -> dict[str, Any]:
    """One evaluation through lm-eval's command line, journal and all; what it wrote as its results."""
    settings = {"pretrained": str(home / "checkpoint"), "journal": str(home / "journal"), "paradigm": "block"}
    command = [
        *("--model", "dream", "--model_args", json.dumps(settings), "--device", "cpu"),
        *("--tasks", "codd_gsm8k", "--limit", str(requests), "--batch_size", str(batch_size)),
        *("--apply_chat_template", "--log_samples", "--output_path", str(home / "results.json")),
    ]
    # What an evaluation imports when it comes to it.
    for name in ("lm_eval.evaluator", "lm_eval.loggers", "lm_eval.tasks", "lm_eval_codd.models.dream"):
        import_module(name)
    _ = import_module("transformers").Qwen2ForCausalLM
    from lm_eval_codd.commands import harness
    from lm_eval_codd.models import answering
    from lm_eval_codd.models.diffusion_lm import DiffusionLM

    with _data_dir(home / "data"), watch.running():
        watch.watch("checkpoint", DiffusionLM, "__init__")
        # The one place where the decoding is taken out.
        watch.replace(answering.decoding, "stream", InstantDecoding(answers).stream)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            harness.run(command)
    (written,) = home.glob("results_*.json")
    return json.loads(written.read_text(encoding="utf-8"))


@contextlib.contextmanager
def _data_dir(folder: Path) -> Iterator[None]:
    before = os.environ.get(DATA_DIR)
    os.environ[DATA_DIR] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(DATA_DIR)
        if before is not None:
            os.environ[DATA_DIR] = before
