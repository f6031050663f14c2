"""The path losses that Open-dLLM's checkpoints were trained with: sure tokens, those written first, weigh more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.training.objectives.token_losses import NO_LABEL, mean_or_zero, token_losses

if TYPE_CHECKING:
    from torch import Tensor

# Qwen2 and Qwen3 runs of Open-dLLM optimise different losses, and CDLM's fork a third one.
VARIANTS: Final = ("open_dllm_qwen2", "open_dllm_qwen3", "cdlm_fork_qwen2")


def path_loss(logits: Tensor, labels: Tensor, mask_ratio: Tensor, variant: str = VARIANTS[0]) -> Tensor:
    """Mean over labelled tokens of l_i and of p_i l_i, p_i = exp(-l_i) without a gradient, as each code weighs them.

    `open_dllm_qwen2`: mean(l) + mean(p l / t). `open_dllm_qwen3`: mean(l) + mean(p l). `cdlm_fork_qwen2`:
    mean((1 + p) l / t).

    Args:
        logits: [..., V].
        labels: [...] int64, `NO_LABEL` where no token was masked.
        mask_ratio: [...], t of the sequence that a position belongs to.
        variant: one of `VARIANTS`.
    """
    losses = token_losses(logits, labels)
    ratio = mask_ratio[labels != NO_LABEL].to(losses.dtype)
    sure = (-losses.detach()).exp() * losses
    if variant == "open_dllm_qwen2":
        return mean_or_zero(losses) + mean_or_zero(sure / ratio)
    if variant == "open_dllm_qwen3":
        return mean_or_zero(losses) + mean_or_zero(sure)
    return mean_or_zero((losses + sure) / ratio)
