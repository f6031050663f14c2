"""Coupling Models: one forward from a Gaussian latent to all tokens of a text."""

from lm_eval_codd.latent.loading import is_coupling, load_coupling
from lm_eval_codd.latent.model import CouplingModel
from lm_eval_codd.latent.sampling import CouplingSample, sample_coupling

__all__ = [
    "CouplingModel",
    "CouplingSample",
    "is_coupling",
    "load_coupling",
    "sample_coupling",
]
