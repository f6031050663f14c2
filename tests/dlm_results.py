"""Results folders of `dlm_ppl_*` and `dlm_gen_ppl` on the golden models, as lm-eval writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

TASKS_DIR = Path(__file__).parents[1] / "tasks"
TASKS = ("dlm_ppl_wikitext2", "dlm_gen_ppl")
SETTINGS = {"num_steps": 4, "num_samples": 3, "device": "cpu"}
NUM_SAMPLES = 5


def write_corpus(folder: Path) -> Path:
    """A data folder with some lines of a corpus in WikiText's schema."""
    texts = [" ".join(f"w{(5 * number + 3 * place) % 29}" for place in range(number % 8)) for number in range(40)]
    file = folder / "wikitext2" / "validation.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps({"text": f" {text} \n"}) + "\n" for text in texts))
    return folder


def write_checkpoint(golden_dir: Path, folder: Path, name: str = "mdlm") -> str:
    """The golden checkpoint of an algorithm, which says what begins and ends its rows."""
    source = golden_dir / "dit" / {"duo": "hf-duo-tiny", "dit_ar": "hf-ar-tiny"}.get(name, "hf-mdlm-tiny")
    shutil.copytree(source, folder)
    if not (folder / "model.safetensors").is_file():
        shutil.copy(golden_dir / "dit" / "hf-duo-tiny" / "model.safetensors", folder)
    config = folder / "config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({**fields, "bos_token_id": 29, "eos_token_id": 29}))
    return str(folder)


def evaluate(
    model: str, checkpoint: str, tokenizer: str, scorer: str, out: Path, given: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any] | None:
    """Evaluate both tasks; the results file is in `out`, and what it holds is returned with the samples, on rank 0.

    Args:
        model: name of it in lm-eval.
        checkpoint: its folder.
        tokenizer: a folder.
        scorer: of samples, a folder.
        out: for the results.
        given: `--metadata` beside scorer and number of samples.
        settings: other model arguments; None leaves one out.
    """
    read = {name: value for name, value in settings.items() if value is not None}
    arguments = {"pretrained": checkpoint, "tokenizer": tokenizer, **read}
    metadata = {**arguments, "scorer": scorer, "samples": NUM_SAMPLES, **given}
    manager = TaskManager(include_defaults=False, include_path=str(TASKS_DIR), metadata=metadata)
    tracker = EvaluationTracker(output_path=str(out))
    results = simple_evaluate(
        model=model,
        model_args={name: value for name, value in arguments.items() if name not in ("batch_size", "device")},
        batch_size=settings.get("batch_size", 1),
        device="cpu",
        tasks=list(TASKS),
        task_manager=manager,
        bootstrap_iters=10,
        log_samples=True,
        evaluation_tracker=tracker,
    )
    if results is None:
        return None
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in TASKS:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    return {**results, "samples": samples}
