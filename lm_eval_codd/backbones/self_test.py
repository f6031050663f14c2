"""What a loaded checkpoint is proven to do before it is handed over, on its own weights and in its own dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.backbones.forward import Trunk

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.backbones.backbone import Backbone

# Rounding of two orders of computation through all layers stays far below these; a norm, a scale or a rotation that
# is left out is of the size of the hidden states themselves.
_TOLERANCE: Final = {2: 0.1, 4: 1e-2, 8: 1e-2}
_NUM_TOKENS: Final = 4


def check_bidirectional(backbone: Backbone) -> None:
    """Prove on four tokens of one block, on the path that decoding takes, that an early position sees a later one.

    Raises:
        CheckpointError: none does, or the weights overflow in this dtype.
    """
    mask, eos = backbone.mask_id, backbone.eos_id
    # A block that is shorter has fewer.
    start = _NUM_TOKENS - min(_NUM_TOKENS, backbone.block_length or _NUM_TOKENS)
    rows = torch.tensor([[mask, eos, eos, mask], [mask, eos, eos, eos]], device=backbone.device)[:, start:]
    positions = torch.arange(max(0, 1 - start), rows.shape[1] - 1, device=backbone.device).expand(2, -1)
    first, second = backbone.hidden_at(rows, positions=positions)
    if not torch.isfinite(first).all() and backbone.dtype != torch.float16:
        raise CheckpointError(
            f"checkpoint `{backbone.source}` gives numbers that are not finite in {_name(backbone.dtype)}: its weights "
            "hold some, or were saved from a training run that diverged; fetch them again"
        )
    if not torch.isfinite(first).all():
        raise CheckpointError(
            f"checkpoint `{backbone.source}` gives numbers that are not finite in {_name(backbone.dtype)}; "
            "use dtype=bfloat16 or dtype=float32"
        )
    if torch.equal(first, second):
        raise CheckpointError(
            f"in `{backbone.source}` no position sees a later one under torch {torch.__version__}, and a diffusion "
            "model needs bidirectional attention; where its weights are whole (not all zeros), use the torch and "
            "transformers that constraints.txt names"
        )


@torch.no_grad()
def check_trunk(backbone: Backbone) -> None:
    """Prove on a few tokens that the project's own pass computes what the transformers class does.

    Raises:
        CheckpointError: the hidden states differ, so the class does something that `forward.Trunk` does not know.
    """
    if backbone.is_encoder:
        return  # whose pass is the class's own
    tokens = torch.linspace(0, backbone.vocab_size - 1, _NUM_TOKENS, device=backbone.device).long()[None]
    everything = torch.ones(1, 1, _NUM_TOKENS, _NUM_TOKENS, dtype=torch.bool, device=backbone.device)
    positions = torch.arange(_NUM_TOKENS, device=backbone.device)[None]
    # Rotated as the class does it: that some layouts do so in float32 is meant, and held by their goldens.
    ours = Trunk(backbone.model, float32_rotary=False)(tokens, None, None)
    theirs = backbone.model.model(input_ids=tokens, attention_mask=everything, position_ids=positions, use_cache=False)
    difference = _relative(ours, theirs.last_hidden_state.to(backbone.device))
    if not difference <= _TOLERANCE[backbone.dtype.itemsize]:
        raise CheckpointError(
            f"in `{backbone.source}` hidden states differ from those of transformers' {type(backbone.model).__name__} "
            f"by {difference:.2g} of their size, so answers would be wrong in silence; this version of transformers "
            "computes something that is not known here: use the one that constraints.txt names"
        )


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
