"""The corrective objective (arXiv 2512.15596): to see which visible tokens are wrong, and what belongs there.

The text of the paper's equation 1 differs; its authors call their code authoritative, and this is the code.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from lm_eval_codd.training.objectives.token_losses import NO_LABEL, mean_or_zero, token_losses

# How the authors trained Open-dCoder, and LLaDA-8B by LoRA.
VARIANTS: Final = ("open_dcoder", "llada")
# Share of visible tokens that are replaced, and what their mean loss weighs.
REPLACED: Final = 0.1
REPLACED_WEIGHT: Final = 0.1
_SMALLEST_RATIO: Final = 1 / 500


def corrective_loss(
    logits: Tensor,
    labels: Tensor,
    replaced: Tensor,
    mask_ratio: Tensor,
    variant: str = VARIANTS[0],
    num_tokens: int = 0,
) -> Tensor:
    """The masked tokens' loss, and the replaced ones' mean loss for the tokens that stood there.

    `open_dcoder`: mean_S l + mean_S p l / t + 0.1 mean_N l, with S masked or replaced, N replaced and p = exp(-l)
    without a gradient. `llada`: sum_masked l / (.999 t + .001) / num_tokens + 0.1 mean_N l.

    Args:
        logits: [..., V].
        labels: [...] int64, the true token where one was masked or replaced, else `NO_LABEL`.
        replaced: [...] bool.
        mask_ratio: [...], t of the sequence that a position belongs to.
        variant: one of `VARIANTS`.
        num_tokens: of the batch, masked or not, for `llada`; None takes the number of positions.
    """
    losses, labelled = token_losses(logits, labels), labels != NO_LABEL
    ratio, wrong = mask_ratio[labelled].to(losses.dtype), replaced[labelled]
    corrections = REPLACED_WEIGHT * mean_or_zero(losses[wrong])
    if variant == "llada":
        return (losses / (0.999 * ratio + 0.001))[~wrong].sum() / (num_tokens or labels.numel()) + corrections
    sure = (-losses.detach()).exp() * losses
    return mean_or_zero(losses) + mean_or_zero(sure / ratio) + corrections


def corrective_noise(
    tokens: Tensor,
    mask_id: int,
    ordinary: Tensor,
    replaced_share: float = REPLACED,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Mask and replace tokens of a sequence.

    Args:
        tokens: [L] int64 on the CPU.
        mask_id: put in the place of each token with probability t ~ U(0, 1), kept within 1/500 of both ends.
        ordinary: [C] int64, ascending: the tokens that replace others, each with the same probability; a token is
            never replaced by itself. The authors take those of Qwen's vocabulary that are no special ones.
        replaced_share: probability that a token which is not masked is replaced.
        generator: on the CPU.

    Returns:
        The noisy tokens [L], which of them are replaced [L], and t.
    """
    length = len(tokens)
    uniforms = torch.rand(1 + 3 * length, generator=generator)
    ratio = float(uniforms[0].clamp(_SMALLEST_RATIO, 1 - _SMALLEST_RATIO))
    of_masking, of_replacing, of_choosing = uniforms[1:].split(length)
    masked = of_masking < ratio
    replaced = ~masked & (of_replacing < replaced_share)
    place = torch.searchsorted(ordinary, tokens).clamp(max=len(ordinary) - 1)
    is_ordinary = ordinary[place] == tokens
    choice = (of_choosing.double() * (len(ordinary) - is_ordinary.long())).long()
    others = ordinary[choice + (is_ordinary & (choice >= place))]
    return tokens.masked_fill(masked, mask_id).where(~replaced, others), replaced, ratio
