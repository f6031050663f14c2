"""The language of `dit_demo.py`: a Markov chain of which everything is known exactly."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

SIZE: Final = 32
LENGTH: Final = 32
# Of the three successors of a token.
SHARES: Final = (0.6, 0.3, 0.1)
# In the place of the probability of what the chain never says, where nats are reported.
FLOOR: Final = 1e-4


class Chain:
    """First order over 32 tokens, three successors each, uniform start.

    The successors are three permutations, so that every token has three predecessors too, and each position of a row
    is uniform over the tokens.

    Attributes:
        transition: [V, V] probabilities.
    """

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        offsets: list[Tensor] = []
        while len(offsets) < len(SHARES):  # a permutation that agrees nowhere with those before, nor with staying
            drawn = torch.randperm(SIZE, generator=generator)
            if all(bool((drawn != other).all()) for other in (torch.arange(SIZE), *offsets)):
                offsets.append(drawn)
        self.transition = torch.zeros(SIZE, SIZE, dtype=torch.float64)
        for successors, share in zip(offsets, SHARES, strict=True):
            self.transition[torch.arange(SIZE), successors] = share

    @property
    def entropy_rate(self) -> float:
        """Nats of a token given the one before."""
        return -sum(share * math.log(share) for share in SHARES)

    @property
    def entropy(self) -> float:
        """Nats per token of a row, its uniform first token among them."""
        return ((LENGTH - 1) * self.entropy_rate + math.log(SIZE)) / LENGTH

    def sample(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """[N, L] rows."""
        rows = torch.randint(SIZE, (num_rows, 1), generator=generator)
        for _ in range(LENGTH - 1):
            following = torch.multinomial(self.transition[rows[:, -1]], 1, generator=generator)
            rows = torch.cat([rows, following], dim=1)
        return rows

    def nats(self, rows: Tensor) -> Tensor:
        """[N] nats per token of rows of any ids, with probabilities floored."""
        known = self._bigrams(rows).clamp(min=FLOOR)
        first = (rows[:, 0] < SIZE).double().div(SIZE).clamp(min=FLOOR)
        return -(known.log().sum(dim=1) + first.log()) / rows.shape[1]

    def illegal(self, rows: Tensor) -> Tensor:
        """[N] share of the bigrams of a row that the chain never says."""
        return (self._bigrams(rows) == 0).double().mean(dim=1)

    def _bigrams(self, rows: Tensor) -> Tensor:
        """[N, L - 1] probabilities; 0 with an id that is none of the language's, as a mask."""
        known = (rows < SIZE).long()
        inside = (known[:, :-1] & known[:, 1:]).double()
        clean = rows.clamp(max=SIZE - 1)
        return self.transition[clean[:, :-1], clean[:, 1:]] * inside
