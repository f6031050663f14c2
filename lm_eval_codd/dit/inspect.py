"""What `lm-eval-codd inspect` says of a checkpoint of the family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lm_eval_codd.dit.lightning import is_lightning
from lm_eval_codd.dit.loading import load_dit
from lm_eval_codd.terminal.parser import Parser


def main(argv: list[str] | None = None) -> int:
    """Print a checkpoint's description; the exit status. Raises `CheckpointError`, one line, where it has none."""
    parser = Parser(prog="lm-eval-codd inspect", description="Say what a checkpoint is, and check that it works.")
    parser.add_argument("checkpoint", help="a folder or hub id, or a .ckpt of the training code")
    parser.add_argument("--algo", help="duo, mdlm, sedd, d3pm or ar, where the checkpoint does not say it")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--dtype", help="auto, bfloat16, float16, float32, float64")
    parser.add_argument("--device", help="such as cpu or cuda:0")
    parser.add_argument("--mask_id", type=int, help="override the checkpoint's id")
    given = vars(parser.parse_args(argv))
    for label, text in describe_dit(given.pop("checkpoint"), **given).items():
        print(f"{label:<14} {text}")
    return 0


def describe_dit(path_or_hub_id: str | Path, **options: Any) -> dict[str, str]:
    """What there is to say of a checkpoint, by what it is of; `options` are those of `load_dit`."""
    dit = load_dit(path_or_hub_id, **options)
    config = dit.config
    told = "is told the noise level" if config.time_conditioning else "is not told the noise level"
    sees = "each position sees those before it" if config.causal else f"every position sees every other one; {told}"
    weights = "the averaged ones (EMA) of a Lightning checkpoint" if is_lightning(path_or_hub_id) else "of the folder"
    predictors = "left to right" if dit.process is None else ", ".join(dit.process.predictors)
    mask = "none: every token may be noise" if dit.mask_id is None else str(dit.mask_id)
    return {
        "checkpoint": dit.source,
        "identity": dit.identity,
        "algorithm": f"{dit.algo} (DiT family: unconditional, judged by bounds and by samples)",
        "architecture": f"{config.n_blocks} blocks, width {config.hidden_dim}, {config.n_heads} heads; {sees}",
        "parameters": f"{dit.num_parameters:,}, {weights}",
        "dtype": f"{str(dit.dtype).removeprefix('torch.')} on {dit.device}",
        "max length": f"{dit.max_length} tokens",
        "vocabulary": f"{dit.vocab_size} logit columns; no tokenizer in such checkpoints",
        "mask": mask,
        "bos, eos": f"{dit.bos_id}, {dit.eos_id}" if dit.bos_id is not None else "not known",
        "noise": f"{dit.schedule.name}, eps {dit.schedule.eps:g}" if dit.process is not None else "none",
        "samplers": predictors,
    }
