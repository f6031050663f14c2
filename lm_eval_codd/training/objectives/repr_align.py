"""REPR-ALIGN: hidden states stay near those of the autoregressive model that the backbone was converted from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import normalize

if TYPE_CHECKING:
    from torch import Tensor


def repr_align_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - mean cosine of hidden states (Open-dLLM, `repr_align_loss_fn`), between 0 and 2.

    Args:
        student: [tokens, layers + 1, hidden], of the outputs that score the labelled tokens: the embeddings, each
            layer, the last one after the final norm.
        teacher: the same shape, without a gradient.
    """
    if not student.shape[0]:
        return student.sum()
    return 1 - (normalize(student, dim=-1, eps=1e-12) * normalize(teacher, dim=-1, eps=1e-12)).sum(-1).mean()
