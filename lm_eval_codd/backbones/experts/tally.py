"""What routing did: counted on the device as passes go, read once at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class RoutingTotals:
    """Counts over rows, one for each pass of the network, and over their tokens, one for each layer with experts.

    Attributes:
        rows: that went through the network.
        rows_of_masks: those of them that were nothing but masks, whose positions are alike in every layer.
        positions: S, summed over the rows.
        k: experts a token on average, summed over the rows.
        capacity: c, positions that an expert takes, summed over the rows.
        tokens: positions that were routed, in all layers.
        picks: pairs of a position and an expert.
        unpicked: tokens that no expert took.
        gates: sums of a token's gates, summed over the tokens.
        fewest: experts of a token.
        most: experts of a token.
    """

    rows: int = 0
    rows_of_masks: int = 0
    positions: int = 0
    k: int = 0
    capacity: int = 0
    tokens: int = 0
    picks: int = 0
    unpicked: int = 0
    gates: float = 0.0
    fewest: int | None = None
    most: int = 0

    @classmethod
    def added(cls, parts: Iterable[RoutingTotals]) -> RoutingTotals:
        """Several of them as one, such as every rank's."""
        parts = list(parts)
        names = [field.name for field in dataclasses.fields(cls)]
        sums: dict[str, Any] = {name: sum(getattr(part, name) or 0 for part in parts) for name in names}
        sums["fewest"] = min((part.fewest for part in parts if part.fewest is not None), default=None)
        sums["most"] = max((part.most for part in parts), default=0)
        return cls(**sums)

    def as_result(self) -> dict[str, Any]:
        """For a results file: means a row or a token."""
        rows, tokens = max(1, self.rows), max(1, self.tokens)
        return {
            "rows": self.rows,
            "rows_of_masks": self.rows_of_masks,
            "mean_positions": round(self.positions / rows, 3),
            "mean_k": round(self.k / rows, 4),
            "mean_capacity": round(self.capacity / rows, 3),
            "mean_experts_per_token": round(self.picks / tokens, 4),
            "min_experts_per_token": self.fewest,
            "max_experts_per_token": self.most,
            "share_without_expert": round(self.unpicked / tokens, 6),
            "mean_gate_sum": round(self.gates / tokens, 5),
        }


class Tally:
    """Adds up on each device; nothing waits for one until `take`."""

    def __init__(self) -> None:
        self._of_rows: dict[torch.device, Tensor] = {}
        self._of_tokens: dict[torch.device, Tensor] = {}
        self._extremes: dict[torch.device, Tensor] = {}

    def add_rows(self, num_masked: Tensor, num_positions: Tensor, k: Tensor, capacities: Tensor) -> None:
        """Count the rows of a pass, [B] int64 each."""
        ones = torch.ones_like(num_masked)
        columns = (ones, (num_masked == num_positions).long(), num_positions, k, capacities)
        _add(self._of_rows, torch.stack([column.sum() for column in columns]))

    def add_tokens(self, chosen: Tensor, gates: Tensor, valid: Tensor) -> None:
        """Count what a layer did: [B, S, E] each, and [B, S], the positions that took part."""
        counts = chosen.sum(dim=-1)
        columns = (valid.sum(), counts.sum(), ((counts == 0) & valid).sum(), gates.sum())
        _add(self._of_tokens, torch.stack([column.double() for column in columns]))
        fewest = counts.masked_fill(~valid, chosen.shape[-1]).min()
        extremes = torch.stack([-fewest, counts.max()])
        before = self._extremes.get(extremes.device)
        self._extremes[extremes.device] = extremes if before is None else torch.maximum(before, extremes)

    def take(self) -> RoutingTotals:
        """What was counted since it was last taken."""
        of_rows = [RoutingTotals(*map(int, sums.tolist())) for sums in self._of_rows.values()]
        of_tokens = []
        for device, sums in self._of_tokens.items():
            tokens, picks, unpicked, gates = sums.tolist()
            least, most = self._extremes[device].tolist()
            of_tokens.append(
                RoutingTotals(
                    tokens=int(tokens), picks=int(picks), unpicked=int(unpicked), gates=gates, fewest=-least, most=most
                )
            )
        for counted in (self._of_rows, self._of_tokens, self._extremes):
            counted.clear()
        return RoutingTotals.added([*of_rows, *of_tokens])


def _add(sums: dict[torch.device, Tensor], more: Tensor) -> None:
    before = sums.get(more.device)
    sums[more.device] = more if before is None else before + more
