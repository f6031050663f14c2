"""The autoregressive transformer that the others are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.dit.processes.process import entry

if TYPE_CHECKING:
    from torch import Tensor

_NEVER: Final = -1e6


class AR:
    """The output at a position is of the token after it; the mask is never predicted."""

    algo = "ar"

    def __init__(self, vocab_size: int, mask_id: int) -> None:
        self.vocab_size, self.mask_id = vocab_size, mask_id

    def log_next(self, logits: Tensor) -> Tensor:
        """[N, V] log p(next token), from logits that may be overwritten."""
        logits[:, self.mask_id] = _NEVER
        return logits.log_softmax(dim=-1)

    @staticmethod
    def nats(log_next: Tensor, tokens: Tensor) -> Tensor:
        """[N]: -log p of the tokens that came next."""
        return -entry(log_next, tokens)
