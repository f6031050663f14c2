"""Cross entropies of single tokens, which most objectives weigh and add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

# A position whose token is not learned.
NO_LABEL: Final = -100


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """[N] cross entropies in nats of the labelled positions, in row-major order.

    Args:
        logits: [..., V].
        labels: [...] int64, `NO_LABEL` where there is none.
    """
    labelled = labels != NO_LABEL
    return cross_entropy(logits[labelled], labels[labelled], reduction="none")


def mean_or_zero(values: Tensor) -> Tensor:
    """The mean; 0, with a gradient of 0, where there is nothing to average."""
    return values.sum() / max(values.numel(), 1)
