"""Discrete consistency distillation (arXiv 2506.10892, section 5): a student jumps where its teacher steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.curriculum import require_duo
from lm_eval_codd.dit.schedules import sigma
from lm_eval_codd.dit.transform import Probability, alpha_of, diffusion_transform, gaussian
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.dit.model import DiT

KINDS: Final = ("kl-bwd", "kl-fwd")


def distillation_loss(
    student: DiT,
    teacher: DiT,
    x0: Tensor,
    t: Tensor,
    dt: float,
    eps: Tensor,
    gamma_min: float,
    gamma_max: float,
    kind: str = "kl-bwd",
    p: Probability | None = None,
) -> Tensor:
    """[B, L] divergence of what the student says at t + dt from what the teacher says at t, of one Gaussian noise.

    Args:
        student: of algo duo.
        teacher: likewise; it has no gradient.
        x0: [B, L] clean ids.
        t: [B] times; t + dt is cut at 1.
        dt: how much noisier the student's ids are.
        eps: [B, L, V] Gaussian noise, of both.
        gamma_min: gamma at time 0.
        gamma_max: gamma at time 1.
        kind: `kl-bwd`, KL(student || teacher), or `kl-fwd`, KL(teacher || student).
        p: as for `curriculum_loss`.

    Raises:
        ValueError: a model is not of algo duo, or `kind` is not known.
    """
    require_duo(student)
    require_duo(teacher)
    if kind not in KINDS:
        raise ValueError(unknown_value("kind", kind, KINDS))
    later = (t.to(student.device) + dt).clamp(0, 1)
    said = _said(student, x0, later, eps, (gamma_min, gamma_max), p)
    with torch.no_grad():
        taught = _said(teacher, x0, later - dt, eps, (gamma_min, gamma_max), p)
    first, second = (said, taught) if kind == "kl-bwd" else (taught, said)
    return (first.exp() * (first - second)).sum(dim=-1)


def _said(dit: DiT, x0: Tensor, t: Tensor, eps: Tensor, ends: tuple[float, float], p: Probability | None) -> Tensor:
    """[B, L, V] log x_theta of the ids under the noise at time t."""
    gamma = ends[0] + t * (ends[1] - ends[0])
    survives = diffusion_transform(gamma, dit.vocab_size)[0] if p is None else p(gamma).double()
    noisy = gaussian(x0.to(dit.device), eps.to(dit.device), gamma).argmax(dim=-1)
    return dit.log_x_theta(noisy, sigma(alpha_of(survives, dit.vocab_size)))
