"""The DiT family (DUO, MDLM, SEDD, D3PM, AR): network, processes, samplers, bounds, checkpoints, losses."""

from lm_eval_codd.dit.curriculum import curriculum_loss
from lm_eval_codd.dit.distillation import distillation_loss
from lm_eval_codd.dit.likelihood import Bound, log_likelihood_bounds
from lm_eval_codd.dit.loading import load_dit
from lm_eval_codd.dit.metrics import generative_perplexity, unigram_entropy
from lm_eval_codd.dit.model import DiT
from lm_eval_codd.dit.samplers.psi_profile import psi_profile
from lm_eval_codd.dit.sampling import Sample, sample_dit
from lm_eval_codd.dit.transform import diffusion_transform

__all__ = [
    "Bound",
    "DiT",
    "Sample",
    "curriculum_loss",
    "diffusion_transform",
    "distillation_loss",
    "generative_perplexity",
    "load_dit",
    "log_likelihood_bounds",
    "psi_profile",
    "sample_dit",
    "unigram_entropy",
]
