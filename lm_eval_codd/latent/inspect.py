"""What `lm-eval-codd inspect` says of a file of Coupling Models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval_codd.latent.loading import load_coupling
from lm_eval_codd.latent.networks.sizes import StageASizes
from lm_eval_codd.settings.coupling import read_by
from lm_eval_codd.terminal.parser import Parser

if TYPE_CHECKING:
    from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Print a file's description; the exit status. Raises `CheckpointError`, one line, where it has none."""
    parser = Parser(prog="lm-eval-codd inspect", description="Say what a checkpoint is, and check that it works.")
    parser.add_argument("checkpoint", help="a .pt of Coupling Models' training code")
    parser.add_argument("--dtype", help="auto, bfloat16, float16, float32, float64")
    parser.add_argument("--device", help="such as cpu or cuda:0")
    parser.add_argument("--mask_id", type=int, help="of a latent_mdm, where the file does not say it")
    given = vars(parser.parse_args(argv))
    for label, text in describe_coupling(given.pop("checkpoint"), **given).items():
        print(f"{label:<14} {text}")
    return 0


def describe_coupling(path: str | Path, **options: Any) -> dict[str, str]:
    """What there is to say of a file, by what it is of; `options` are those of `load_coupling`."""
    model = load_coupling(path, **options)
    sizes = model.sizes
    if isinstance(sizes, StageASizes):
        built = f"flow of {sizes.num_blocks} blocks of {sizes.layers_per_block} layers, {sizes.channels} channels"
    else:
        built = f"{sizes.depth} blocks, width {sizes.width}, {sizes.num_heads} heads"
    weights = "averaged (EMA)" if model.is_averaged else "the last ones"
    return {
        "checkpoint": model.source,
        "identity": model.identity,
        "layout": f"{model.kind} (Coupling Models: unconditional, no likelihood, judged by samples)",
        "architecture": f"{built}; a latent of {model.latent_dim} numbers a position",
        "parameters": f"{model.num_parameters:,}, {weights}",
        "dtype": f"{str(model.dtype).removeprefix('torch.')} on {model.device}",
        "length": f"{model.length} tokens, always",
        "vocabulary": f"{model.vocab_size} logit columns; no tokenizer in such files"
        + ("" if model.mask_id is None else f"; mask {model.mask_id}"),
        "sampling": f"{', '.join(read_by(model.kind))}",
    }
