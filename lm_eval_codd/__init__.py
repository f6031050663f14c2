"""Evaluate diffusion language models (LLaDA, Dream, CoDD) in the stock lm-evaluation-harness.

The public names below are imported when they are first used, so that `import lm_eval_codd` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lm_eval_codd.backbones import load_backbone
    from lm_eval_codd.circuits import load_circuit
    from lm_eval_codd.decoding import Generation, generate
    from lm_eval_codd.dit import (
        curriculum_loss,
        diffusion_transform,
        distillation_loss,
        generative_perplexity,
        load_dit,
        sample_dit,
        unigram_entropy,
    )
    from lm_eval_codd.latent import load_coupling, sample_coupling
    from lm_eval_codd.likelihood import Likelihood, log_likelihood
    from lm_eval_codd.settings import DecodingConfig, LikelihoodConfig

__all__ = [
    "DecodingConfig",
    "Generation",
    "Likelihood",
    "LikelihoodConfig",
    "curriculum_loss",
    "diffusion_transform",
    "distillation_loss",
    "generate",
    "generative_perplexity",
    "load_backbone",
    "load_circuit",
    "load_coupling",
    "load_dit",
    "log_likelihood",
    "sample_coupling",
    "sample_dit",
    "unigram_entropy",
]
__version__ = "0.1.0"

_HOME: Final = {
    "DecodingConfig": "lm_eval_codd.settings",
    "Generation": "lm_eval_codd.decoding",
    "Likelihood": "lm_eval_codd.likelihood",
    "LikelihoodConfig": "lm_eval_codd.settings",
    "curriculum_loss": "lm_eval_codd.dit",
    "diffusion_transform": "lm_eval_codd.dit",
    "distillation_loss": "lm_eval_codd.dit",
    "generate": "lm_eval_codd.decoding",
    "generative_perplexity": "lm_eval_codd.dit",
    "load_backbone": "lm_eval_codd.backbones",
    "load_circuit": "lm_eval_codd.circuits",
    "load_coupling": "lm_eval_codd.latent",
    "load_dit": "lm_eval_codd.dit",
    "log_likelihood": "lm_eval_codd.likelihood",
    "sample_coupling": "lm_eval_codd.latent",
    "sample_dit": "lm_eval_codd.dit",
    "unigram_entropy": "lm_eval_codd.dit",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
