"""What an evaluation costs around the decoding: `lm_eval` itself on GSM8K's rows, with answers that cost nothing."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.arguments import whole
from benchmarks.stand_in import (
    ANSWER_TOKENS,
    DECODING,
    GSM8K_ROWS,
    PADDING,
    InstantDecoding,
    read_rows,
    write_checkpoint,
    write_rows,
)
from benchmarks.start_up import help_milliseconds
from benchmarks.stopwatch import REST, Stopwatch
from benchmarks.table import Row, say

DATA_DIR: Final = "CODD_DATA_DIR"

# Not what is measured here, like `DECODING`: a real checkpoint takes longer.
CHECKPOINT: Final = "checkpoint"

# Part -> what is done in it, and whose code that is.
PARTS: Final = {
    "rows": ("reading, hashing and checking the rows", "both"),
    "requests": ("prompts out of the task's and the chat template", "lm-eval"),
    "tokenising": ("prompts to token ids", "ours"),
    "settings": ("settings of each request", "ours"),
    PADDING: ("canvases: filled, joined, narrowed as rows end", "ours"),
    "progress": ("the bar, at every step and answer", "ours"),
    "journal": ("keys, looking answers up, writing them down", "ours"),
    "text": ("token ids to text, cut at `until`", "ours"),
    "scoring": ("filters and metrics", "lm-eval"),
    "samples": ("a record of every answer", "lm-eval"),
    "writing": ("results and samples", "lm-eval"),
    "machine": ("description of the machine, git and pip asked among others", "lm-eval"),
    REST: ("command line, index of our tasks, everything else", "both"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench.py harness`."""
    parser.description = (
        f"{parser.description or ''} `harness.overhead_seconds` is the whole without imports, checkpoint and decoding, "
        "`harness.seconds.*` its parts; `harness.help_milliseconds` is what the package's start-up files add to "
        "`lm_eval --help`."
    ).strip()
    parser.add_argument("--requests", type=whole(1), default=GSM8K_ROWS, help="rows of GSM8K to evaluate")
    parser.add_argument("--batch-size", type=whole(1), default=8, help="requests decoded at once")
    parser.add_argument("--starts", type=whole(0), default=40, help="pairs of `lm_eval --help`; 0 leaves this out")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get(DATA_DIR),
        help="folder with gsm8k/test.jsonl and tokenizers/qwen2.5; what is not there is made up",
    )


def run(arguments: argparse.Namespace) -> list[Row]:
    """Rows of the overhead, its parts, and the start."""
    rows = overhead(arguments.requests, arguments.batch_size, arguments.data_dir)
    if arguments.starts:
        say("harness.help_milliseconds")
        added, alone = help_milliseconds(arguments.starts)
        note = f"median of {arguments.starts} pairs; {alone:.0f} ms without"
        rows.append(Row("harness.help_milliseconds", added, "ms", "<= 5", note))
    return rows


def overhead(requests: int, batch_size: int, data_dir: Path | None) -> list[Row]:
    """Seconds of one evaluation by part."""
    say("harness.overhead_seconds")
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data, tokenizer_folder = _find_data(data_dir)
        note = f"{requests} requests, batches of {batch_size}, answers of {ANSWER_TOKENS} tokens"
        if data is None:
            data = home / "data"
            write_rows(data)
            note += ", made-up rows of GSM8K's size"
        if tokenizer_folder is None:
            note += ", a tokenizer trained on them"
        texts = [f"{row['question']}\n{row['answer']}" for row in read_rows(data)]
        tokenizer = write_checkpoint(home / "checkpoint", tokenizer_folder, texts)
        # The end of an answer is what its filters look for.
        answers = [tokenizer.encode(text, add_special_tokens=False)[-ANSWER_TOKENS:] for text in texts]
        results = _evaluate(watch, answers, requests, batch_size, data, home)
    if results["config"]["requests"] != requests:
        raise RuntimeError(f"{results['config']['requests']} of {requests} requests were answered")
    total = sum(seconds for part, seconds in watch.seconds.items() if part not in (CHECKPOINT, DECODING))
    lm_evals = sum(watch.seconds[part] for part, (_, whose) in PARTS.items() if whose == "lm-eval")
    goal = "<= 10" if requests == GSM8K_ROWS else ""
    rows = [Row("harness.overhead_seconds", total, "s", goal, f"{note}; without imports, checkpoint and decoding")]
    rows += [
        Row(f"harness.seconds.{part}", watch.seconds[part], "s", note=f"{what} ({whose})")
        for part, (what, whose) in PARTS.items()
    ]
    return [*rows, Row("harness.share_of_lm_eval", 100 * lm_evals / total, "%", note="parts that are lm-eval's own")]


def _find_data(folder: Path | None) -> tuple[Path | None, Path | None]:
    """The folder with GSM8K's rows and that of the tokenizer, as far as they are there."""
    if folder is None:
        return None, None
    folder = Path(folder)
    tokenizer = folder / "tokenizers" / "qwen2.5"
    return (
        folder if (folder / "gsm8k" / "test.jsonl").is_file() else None,
        tokenizer if tokenizer.is_dir() else None,
    )


def _evaluate(
    watch: Stopwatch, answers: list[list[int]], requests: int, batch_size: int, data: Path, home: Path
) -> dict[str, Any]:
    """One evaluation through lm-eval's command line, journal and all; what it wrote as its results."""
    settings = {"pretrained": str(home / "checkpoint"), "journal": str(home / "journal"), "paradigm": "block"}
    command = [
        *("--model", "dream", "--model_args", json.dumps(settings), "--device", "cpu"),
        *("--tasks", "codd_gsm8k", "--limit", str(requests), "--batch_size", str(batch_size)),
        *("--apply_chat_template", "--log_samples", "--output_path", str(home / "results.json")),
    ]
    harness = import_module("lm_eval_codd.harness")
    _import_all()
    with _environment(data), watch.running():
        _watch_parts(watch, answers)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            harness.run(command)
    (written,) = home.glob("results_*.json")
    return json.loads(written.read_text(encoding="utf-8"))


def _import_all() -> None:
    """What an evaluation imports when it comes to it."""
    for name in ("lm_eval.evaluator", "lm_eval.loggers", "lm_eval.tasks", "lm_eval_codd.models.dream"):
        import_module(name)
    _ = torch.nn, import_module("transformers").Qwen2ForCausalLM


@contextlib.contextmanager
def _environment(data: Path):
    before = os.environ.get(DATA_DIR)
    os.environ[DATA_DIR] = str(data)
    try:
        yield
    finally:
        os.environ.pop(DATA_DIR)
        if before is not None:
            os.environ[DATA_DIR] = before


def _watch_parts(watch: Stopwatch, answers: list[list[int]]) -> None:
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask, Task
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    from lm_eval_codd.models import answering, diffusion_lm
    from lm_eval_codd.models.diffusion_lm import DiffusionLM
    from lm_eval_codd.models.journal import Journal, Keys
    from lm_eval_codd.models.progress import Progress

    watch.watch("rows", TaskManager, "load")
    watch.watch("requests", Task, "build_all_requests")
    watch.watch("tokenising", DiffusionLM, "tok_encode")
    watch.watch("settings", diffusion_lm, "sort_out")
    watch.watch("progress", Progress, "__init__", "__enter__", "__exit__", "on_step", "add_answer")
    watch.watch("journal", Journal, "start", "find", "add", "flush")
    watch.watch("journal", Keys, "of")
    watch.watch("text", DiffusionLM, "_text")
    watch.watch("scoring", ConfigurableTask, "apply_filters", "process_results")
    watch.watch("samples", evaluator, "evaluate")
    watch.watch("writing", EvaluationTracker, "save_results_aggregated", "save_results_samples")
    watch.watch("machine", evaluator, "add_env_info", "get_git_commit_hash")
    watch.watch(CHECKPOINT, DiffusionLM, "__init__")
    # The one place where the decoding is taken out.
    watch.replace(answering.decoding, "stream", InstantDecoding(answers, watch).stream)
