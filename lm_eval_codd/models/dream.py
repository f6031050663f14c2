"""`--model dream`."""

from __future__ import annotations

from lm_eval_codd.catalogue import DEFAULT_CHECKPOINTS
from lm_eval_codd.models.diffusion_lm import DiffusionLM


class Dream(DiffusionLM):
    """Dream and models of its shape: the whole answer at once, sampled, lowest entropy first."""

    family = "dream"
    example = DEFAULT_CHECKPOINTS["dream"]
