"""`--model masked_lm`: any checkpoint of a masked diffusion language model that is recognised here."""

from __future__ import annotations

from lm_eval_codd.models.diffusion_lm import DiffusionLM


class MaskedLM(DiffusionLM):
    """A checkpoint of any family with a decoder, by what config.json and the tokenizer's files say it is."""

    example = "fredzzp/open-dcoder-0.5B"
