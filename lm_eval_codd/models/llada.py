"""`--model llada`."""

from __future__ import annotations

from lm_eval_codd.catalogue import DEFAULT_CHECKPOINTS
from lm_eval_codd.models.diffusion_lm import DiffusionLM


class LLaDA(DiffusionLM):
    """LLaDA and models of its shape: answers in blocks, left to right, always the most confident tokens first."""

    family = "llada"
    example = DEFAULT_CHECKPOINTS["llada"]
