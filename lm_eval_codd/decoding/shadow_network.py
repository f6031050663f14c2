"""One network evaluation a step that also scores decided tokens as if they were not known (WINO, arXiv 2507.18578)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.backbones.full_pass import Head, splits
from lm_eval_codd.decoding.logits import Logits
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Backbone
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class ShadowNetwork:
    """The whole canvas, with each row's block once more behind it, as masks that stand at the block's own places.

    A mask of that shadow sees the whole canvas but the token at its own place, and all of the shadow. The canvas does
    not see the shadow, so what is masked there is predicted as it is without one.
    """

    trim = 1

    def __init__(self, backbone: Backbone, config: DecodingConfig) -> None:
        if not splits(backbone):
            raise ValueError(
                f"`decoder={config.decoder}` needs a backbone whose columns may stand at any place, and "
                f"{type(backbone).__name__} has no `hidden_at` for them, or `logits` of its own; use another decoder"
            )
        self._backbone, self._head, self._width = backbone, Head(backbone), config.block_length

    def logits(self, canvas: Canvas, step: Step) -> Logits:
        """See `Network`: [N, V] float32, those of `step.verified` from the shadow."""
        assert step.verified is not None  # of the decoder that has this network
        length, real = canvas.tokens.shape[1], canvas.real
        starts = to_device(canvas.block_starts(range(len(canvas)), step.blocks, self._width), real.device)[:, None]
        columns = torch.arange(length, device=real.device)
        own = starts + torch.arange(self._width, device=real.device)  # [B, W]: the column that each one shadows
        on_canvas = own.clamp(max=length - 1)
        exists = real.gather(1, on_canvas) & (own < length)  # a draft's last block may be shorter
        places = (real.long().cumsum(1) - 1).clamp(min=0)
        hidden = self._backbone.hidden_at(
            torch.nn.functional.pad(canvas.tokens, (0, self._width), value=canvas.ids.mask),
            _seen(real, exists, columns != own[:, :, None]),
            canvas.answer_start + step.columns + (length - starts) * step.verified,
            places=torch.cat([places, places.gather(1, on_canvas)], dim=1),
        )
        return Logits((step.flat(hidden),), self._head, self._backbone.vocab_size)


def _seen(real: Tensor, exists: Tensor, is_other: Tensor) -> Tensor:
    """[B, 1, L + W, L + W] bool, which columns (last) each one (third) sees.

    Args:
        real: [B, L] bool, what of the canvas is not padding.
        exists: [B, W] bool, what of the shadow is not.
        is_other: [B, W, L] bool, whether a column of the canvas is not the one that a shadow's stands for.
    """
    of_shadow = real[:, None] & is_other
    rows = torch.cat([real[:, None].expand(-1, real.shape[1], -1), of_shadow], dim=1)
    shadow = torch.nn.functional.pad(exists[:, None].expand(-1, exists.shape[1], -1), (0, 0, real.shape[1], 0))
    return torch.cat([rows, shadow], dim=2)[:, None]
