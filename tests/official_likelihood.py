"""The official estimate of a log-likelihood, as the measure of the project's: LLaDA's, from what it does.

It is plain on purpose: one target at a time, a ladder of masks a batch, logits over the whole canvas, and every mask
evaluated however often it came before. It passes the official code's goldens at their seeds
(tests/likelihood/test_official.py), and `scripts/bench.py likelihood` measures against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval_codd.backbones import Backbone

Draw = Callable[[int, int, int], Tensor]
"""(number of the ladder, its size b, n tokens) -> masks [b, n] bool."""


@torch.inference_mode()
def reference_likelihood(
    backbone: Backbone,
    prompt: Sequence[int],
    target: Sequence[int],
    num_samples: int,
    ladder_size: int,
    cfg_scale: float = 0.0,
    draw: Draw | None = None,
) -> float:
    """Nats of a target after its prompt.

    Args:
        backbone: its transformers model is called, nothing of this project.
        prompt, target: token ids.
        num_samples, ladder_size: masks, and masks of a ladder; the first a multiple of the second.
        cfg_scale: guidance.
        draw: masks; torch's own random numbers, in the official order, when not given.
    """
    whole = torch.tensor([*prompt, *target], device=backbone.device).repeat(ladder_size, 1)
    given = torch.arange(whole.shape[1], device=backbone.device) < len(prompt)
    losses = []
    for number in range(num_samples // ladder_size):
        masks = (draw or official_masks)(number, ladder_size, len(target)).to(whole.device)
        masked = torch.cat([torch.zeros(ladder_size, len(prompt), dtype=torch.bool, device=whole.device), masks], dim=1)
        canvas = whole.masked_fill(masked, backbone.mask_id)
        logits = _forward(backbone, canvas, given, cfg_scale)
        weight = (len(target) / masks.sum(dim=1, keepdim=True)).expand_as(masked)
        losses.append((cross_entropy(logits[masked], whole[masked], reduction="none") * weight[masked]).sum())
    return -float(torch.stack(losses).sum()) / num_samples


def official_masks(number: int, size: int, length: int) -> Tensor:
    """[b, n] bool: a ladder of numbers of masks from a random start, each shuffled by itself."""
    first = int(torch.randint(1, length + 1, ()))
    numbers = torch.linspace(float(first), first + (size - 1) * (length / size), steps=size).round().long()
    numbers = (numbers - 1) % length + 1
    return torch.stack([(torch.arange(length) < count)[torch.randperm(length)] for count in numbers])


def _forward(backbone: Backbone, canvas: Tensor, given: Tensor, cfg_scale: float) -> Tensor:
    """[b, L, V], over the whole canvas."""
    if not cfg_scale:
        return backbone.model(input_ids=canvas, use_cache=False).logits
    both = torch.cat([canvas, canvas.masked_fill(given, backbone.mask_id)])
    conditional, unconditional = backbone.model(input_ids=both, use_cache=False).logits.chunk(2)
    return unconditional + (cfg_scale + 1) * (conditional - unconditional)
