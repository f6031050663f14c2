"""dLLM's rule of block-causal A2D checkpoints (bd3lm): blocks from the prompt's end, each filled in `num_steps` steps.

A step commits the rounded share of the block's masks that dLLM's table gives it. Before each block all that is before
it takes a forward. A last, shorter block has as many steps and its own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.decoders.block_diffusion.rule import Extent, Rule, Stand
from lm_eval_codd.decoding.decoders.schedule import rounded_table
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class Bd3lm(Rule):
    """See `Rule`."""

    stores = True
    stores_last = False
    stops_anyway = True
    scores_untempered = True

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        super().__init__(config, device)
        length = config.block_length
        tables = [_table(config.steps, width) for width in (length, config.gen_length % length or length)]
        self._num_steps = to_device([len(table) for table in tables], device)
        most = max(map(len, tables))
        self._quotas = to_device([table + [0] * (most - len(table)) for table in tables], device)

    def extent(self, num_prompt: int) -> Extent:
        """The prompt ends with a block, whose first one may be shorter; the answer's last one may be too."""
        length = self.config.block_length
        num_before = -(-num_prompt // length)
        num_blocks = num_before - (-self.config.gen_length // length)
        return Extent(num_before * length, num_blocks, self.config.gen_length)

    def goes_on(self, canvas: Canvas, stand: Stand) -> Tensor:
        """See `Rule`."""
        return stand.masked.any(dim=1) & (stand.taken < self._num_steps[self._is_last(stand)])

    def commits(
        self, canvas: Canvas, stand: Stand, step: Step, tokens: Tensor, confidence: Tensor
    ) -> tuple[Tensor, Mapping[str, Any]]:
        """See `Rule`."""
        quota = self._quotas[self._is_last(stand), stand.taken.clamp(max=self._quotas.shape[1] - 1)]
        return surest(confidence, step.committable, quota), {}

    def _is_last(self, stand: Stand) -> Tensor:
        """[B] int64: 1 at the answer's last block."""
        last = stand.place[:, -1].div(self.config.block_length, rounding_mode="floor")
        return (stand.block == last).long()


def _table(num_steps: int, width: int) -> list[int]:
    """Tokens that each step commits; one that commits none needs no forward."""
    return [step.quota for step in rounded_table(num_steps, width) if step.quota]
