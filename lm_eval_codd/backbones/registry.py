"""Which layout a checkpoint has. A new family is one file like llada.py and one entry here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError
from lm_eval_codd.backbones.dream import DREAM
from lm_eval_codd.backbones.llada import LLADA
from lm_eval_codd.settings import FAMILIES, unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import Layout

# The first layout of a family is the one that `family=` means for a model_type that is not listed.
LAYOUTS: Final[tuple[Layout, ...]] = (LLADA, DREAM)


def find_layout(checkpoint: Checkpoint, family: str | None = None) -> Layout:
    """The layout that config.json names, or the family's own where it names an unknown one.

    Args:
        checkpoint: its config.json is read.
        family: `llada` or `dream`, for a checkpoint of that layout under another `model_type`.

    Raises:
        CheckpointError: the checkpoint is of another family, or `family` contradicts what it says of itself.
    """
    if family is not None and family not in FAMILIES:
        raise CheckpointError(unknown_value("family", family, FAMILIES))
    model_type = checkpoint.config.get("model_type")
    for layout in LAYOUTS:
        if layout.model_type == model_type:
            if family not in (None, layout.family):
                raise CheckpointError(
                    f"`family={family}`: checkpoint `{checkpoint.source}` is {layout.family} (`model_type: "
                    f"{model_type}`); use family={layout.family} (`--model {layout.family}` in lm_eval)"
                )
            return layout
    if family is not None:
        return next(layout for layout in LAYOUTS if layout.family == family)
    architectures = ", ".join(checkpoint.config.get("architectures") or ["no architecture named"])
    raise CheckpointError(
        f"checkpoint `{checkpoint.source}` is `model_type: {model_type}` ({architectures}), not a diffusion family "
        f"known here ({', '.join(layout.model_type for layout in LAYOUTS)}); if its files have LLaDA's or Dream's "
        f"layout, say so with {' or '.join(f'family={name}' for name in FAMILIES)}"
    )
