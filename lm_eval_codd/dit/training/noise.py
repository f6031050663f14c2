"""What is drawn for a batch: a function of the seed and the number of the update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.likelihood import times_of_draws
from lm_eval_codd.dit.processes.d3pm import D3PM, on_grid
from lm_eval_codd.dit.transform import alpha_of, diffusion_transform

if TYPE_CHECKING:
    from lm_eval_codd.dit.model import DiT

_NEAR: Final = 0.01


def spread_times(size: int, generator: torch.Generator) -> Tensor:
    """[B] float64 times in [1e-3, 1), one in each of B equal strata (antithetic over the batch)."""
    uniform = torch.rand(size, generator=generator, dtype=torch.float64)
    return times_of_draws(uniform, torch.arange(size), size)


def bound_of_batch(dit: DiT, x0: Tensor, generator: torch.Generator) -> Tensor:
    """[B, L] nats per token of one draw of the bound for each row; for ar [B, L - 1], exact.

    The noise is put on the rows where they are, on the CPU, whatever the model is on: the same on every device.
    """
    if dit.process is None:
        return dit.nelbo(x0)
    t = spread_times(len(x0), generator)
    if isinstance(dit.process, D3PM):
        t = on_grid(t)
    uniforms = torch.rand(x0.shape, generator=generator, dtype=torch.float64)
    z = dit.process.noised(x0, dit.schedule.alpha(t)[:, None], uniforms)
    return dit.nelbo(x0, z, t)


def gaussian_noise(x0: Tensor, vocab_size: int, generator: torch.Generator) -> Tensor:
    """[B, L, V] float32 from N(0, 1)."""
    return torch.randn(*x0.shape, vocab_size, generator=generator)


def gamma_range(vocab_size: int, gamma_min: float | None, gamma_max: float | None) -> tuple[float, float]:
    """The given ends of gamma; for None, where 0.99 and where 0.01 of the signal is left in this vocabulary.

    A range that was published for one vocabulary covers other noise levels in another: alpha(-1) is 0.01 for 50,000
    ids and 0.34 for 32.
    """
    grid = torch.arange(-12.0, 24.0, 0.01, dtype=torch.float64)
    alpha = alpha_of(diffusion_transform(grid, vocab_size)[0], vocab_size)  # falls
    ends = (grid[alpha >= 1 - _NEAR][-1], grid[alpha <= _NEAR][0])
    low, high = (
        float(end) if given is None else given for end, given in zip(ends, (gamma_min, gamma_max), strict=True)
    )
    if low >= high:
        raise ValueError(f"`gamma_min={low:g}` must be below `gamma_max={high:g}`")
    return low, high
