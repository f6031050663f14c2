"""What routing did: counted on the device as passes go, read once at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class TokenTotals:
    """Counts over tokens, one for each pass of a layer with experts.

    Attributes:
        tokens: positions that were routed.
        picks: pairs of a position and an expert.
        unpicked: tokens that no expert took.
        gates: sums of a token's gates, summed over the tokens.
        fewest: experts of a token.
        most: experts of a token.
    """

    tokens: int = 0
    picks: int = 0
    unpicked: int = 0
    gates: float = 0.0
    fewest: int | None = None
    most: int = 0

    @classmethod
    def added(cls, parts: Iterable[TokenTotals]) -> TokenTotals:
        """Several of them as one."""
        parts = list(parts)
        names = [one.name for one in dataclasses.fields(cls)]
        sums: dict[str, Any] = {name: sum(getattr(part, name) or 0 for part in parts) for name in names}
        sums["fewest"] = min((part.fewest for part in parts if part.fewest is not None), default=None)
        sums["most"] = max((part.most for part in parts), default=0)
        return cls(**sums)

    def as_result(self) -> dict[str, Any]:
        """For a results file: means a token."""
        tokens = max(1, self.tokens)
        return {
            "mean_experts_per_token": round(self.picks / tokens, 4),
            "min_experts_per_token": self.fewest,
            "max_experts_per_token": self.most,
            "share_without_expert": round(self.unpicked / tokens, 6),
            "mean_gate_sum": round(self.gates / tokens, 5),
        }


@dataclass
class RoutingTotals:
    """Counts over rows, one for each pass of the network, and over their tokens, by layer.

    Attributes:
        rows: that went through the network.
        rows_of_masks: those of them that were nothing but masks, whose positions are alike in every layer.
        positions: S, summed over the rows.
        k: experts a token on average, summed over the rows.
        capacity: c, positions that an expert takes, summed over the rows.
        layers: of each layer with experts, by its number.
    """

    rows: int = 0
    rows_of_masks: int = 0
    positions: int = 0
    k: int = 0
    capacity: int = 0
    layers: Mapping[int, TokenTotals] = field(default_factory=dict)

    @property
    def all_layers(self) -> TokenTotals:
        """Of all layers together."""
        return TokenTotals.added(self.layers.values())

    @classmethod
    def added(cls, parts: Iterable[RoutingTotals]) -> RoutingTotals:
        """Several of them as one, such as every rank's."""
        parts = list(parts)
        names = [one.name for one in dataclasses.fields(cls) if one.name != "layers"]
        numbers = sorted({number for part in parts for number in part.layers})
        layers = {n: TokenTotals.added(part.layers[n] for part in parts if n in part.layers) for n in numbers}
        return cls(**{name: sum(getattr(part, name) for part in parts) for name in names}, layers=layers)

    def as_result(self) -> dict[str, Any]:
        """For a results file: means a row or a token."""
        rows = max(1, self.rows)
        return {
            "rows": self.rows,
            "rows_of_masks": self.rows_of_masks,
            "mean_positions": round(self.positions / rows, 3),
            "mean_k": round(self.k / rows, 4),
            "mean_capacity": round(self.capacity / rows, 3),
            **self.all_layers.as_result(),
            "layers": {str(number): totals.as_result() for number, totals in self.layers.items()},
        }


class Tally:
    """Adds up on each device; nothing waits for one until `take`."""

    def __init__(self) -> None:
        self._of_rows: dict[torch.device, Tensor] = {}
        self._of_tokens: dict[int, Tensor] = {}
        self._extremes: dict[int, Tensor] = {}

    def add_rows(self, num_masked: Tensor, num_positions: Tensor, k: Tensor, capacities: Tensor) -> None:
        """Count the rows of a pass, [B] int64 each; one capacity where they share it."""
        ones = torch.ones_like(num_masked)
        columns = (ones, (num_masked == num_positions).long(), num_positions, k, capacities)
        sums = torch.stack([column.sum() for column in columns])
        before = self._of_rows.get(sums.device)
        self._of_rows[sums.device] = sums if before is None else before + sums

    def add_tokens(self, layer: int, chosen: Tensor, gates: Tensor, valid: Tensor) -> None:
        """Count what a layer, which is always on one device, did: [B, S, E] each, and [B, S], what took part."""
        counts = chosen.sum(dim=-1)
        columns = (valid.sum(), counts.sum(), ((counts == 0) & valid).sum(), gates.sum())
        sums = torch.stack([column.double() for column in columns])
        fewest = counts.masked_fill(~valid, chosen.shape[-1]).min()
        extremes = torch.stack([-fewest, counts.max()])
        if layer in self._of_tokens:
            sums = sums + self._of_tokens[layer]
            extremes = torch.maximum(extremes, self._extremes[layer])
        self._of_tokens[layer], self._extremes[layer] = sums, extremes

    def take(self) -> RoutingTotals:
        """What was counted since it was last taken."""
        of_rows = []
        for sums in self._of_rows.values():
            rows, of_masks, positions, k, capacity = map(int, sums.tolist())
            of_rows.append(RoutingTotals(rows, of_masks, positions, k, capacity))
        layers = {}
        for layer, sums in sorted(self._of_tokens.items()):
            tokens, picks, unpicked, gates = sums.tolist()
            least, most = self._extremes[layer].tolist()
            layers[layer] = TokenTotals(int(tokens), int(picks), int(unpicked), gates, -least, most)
        for counted in (self._of_rows, self._of_tokens, self._extremes):
            counted.clear()
        return RoutingTotals.added([*of_rows, RoutingTotals(layers=layers)])
