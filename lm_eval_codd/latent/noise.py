"""The random numbers of samples: a torch generator's, in the official order, or each row's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import invert_cdf
from lm_eval_codd.tensors.noise import Stream, row_keys, uniforms

if TYPE_CHECKING:
    from collections.abc import Sequence


class Noise(Protocol):
    """Draws for B rows."""

    def gaussian(self, length: int, width: int) -> Tensor:
        """[B, T, d] float32 numbers, drawn before all others."""
        ...

    def choose(self, weights: Tensor) -> Tensor:
        """[B, T] indices, one of each position's weights [B, T, K] float32."""
        ...

    def uniform(self, step: int, shape: Sequence[int]) -> Tensor:
        """[B, T, V] float64 numbers of a step of path planning."""
        ...


class OfGenerator:
    """A torch generator's stream, all rows together, as the official code draws."""

    def __init__(self, generator: torch.Generator, num_samples: int, device: torch.device) -> None:
        self._generator, self._num_samples, self._device = generator, num_samples, device

    def gaussian(self, length: int, width: int) -> Tensor:
        """See `Noise`."""
        drawn = torch.randn(self._num_samples, length, width, generator=self._generator, device=self._generator.device)
        return drawn.to(self._device)

    def choose(self, weights: Tensor) -> Tensor:
        """See `Noise`."""
        flat = weights.flatten(0, 1).to(self._generator.device)
        drawn = torch.multinomial(flat, 1, generator=self._generator)
        return drawn.to(self._device).view(weights.shape[:2])

    def uniform(self, step: int, shape: Sequence[int]) -> Tensor:
        """See `Noise`."""
        drawn = torch.rand(*shape, dtype=torch.float64, generator=self._generator, device=self._generator.device)
        return drawn.to(self._device)


class OfRows:
    """Each row's own numbers, of the seed and its index, whatever rows stand beside it."""

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device) -> None:
        self._keys = row_keys(seed, [()] * len(indices), indices, device)

    def gaussian(self, length: int, width: int) -> Tensor:
        """See `Noise`."""
        drawn = self._numbers(Stream.PRIOR, 0, length * width)
        return torch.special.ndtri(drawn).float().view(-1, length, width)

    def choose(self, weights: Tensor) -> Tensor:
        """See `Noise`."""
        return invert_cdf(weights, self._numbers(Stream.TOKEN, 0, weights.shape[1]))

    def uniform(self, step: int, shape: Sequence[int]) -> Tensor:
        """See `Noise`."""
        return self._numbers(Stream.TOKEN, step, shape[1] * shape[2]).view(*shape)

    def _numbers(self, stream: Stream, step: int, number: int) -> Tensor:
        columns = torch.arange(number, device=self._keys.device)[None]
        return uniforms(self._keys, stream, torch.full_like(self._keys, step), columns)
