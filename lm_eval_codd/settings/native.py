"""`NativeSettings`: the settings of DiffusionGemma's own `generate` in transformers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lm_eval_codd.names import explains_unknown_names
from lm_eval_codd.settings.decoding_fields import DecodingFields
from lm_eval_codd.settings.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, checked, setting, shared_with


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class NativeSettings:
    """What `generate` is asked for. Frozen, validated at construction, written into results.

    What is None is the checkpoint's own (generation_config.json), else the class's: in brackets.

    Args:
        gen_length: tokens of an answer; it is made in whole canvases, and cut.
        num_steps: denoising steps of a canvas, at most (48).
        t_min: temperature of the last of them (0.4).
        t_max: temperature before the first of them (0.8).
        entropy_bound: tokens are accepted, least entropy first, while those before sum to no more (0.1).
        stability_threshold: a canvas may end once its likeliest tokens are those of so many steps before (1).
        confidence_threshold: and its mean entropy is below this (0.005).
        seed: each answer draws its own numbers, from this, its prompt and its repeat.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    gen_length: int = setting(256, "tokens of an answer", range=AT_LEAST_1, is_axis=True)
    num_steps: int | None = setting(None, "denoising steps of a canvas", range=AT_LEAST_1, is_axis=True)
    t_min: float | None = setting(None, "temperature of the last step", range=AT_LEAST_0)
    t_max: float | None = setting(None, "temperature before the first step", range=AT_LEAST_0)
    entropy_bound: float | None = setting(None, "entropy that accepted tokens sum to", range=ABOVE_0)
    stability_threshold: int | None = setting(None, "steps without a change that end a canvas", range=AT_LEAST_0)
    confidence_threshold: float | None = setting(None, "mean entropy that ends a canvas", range=ABOVE_0)
    seed: int = shared_with(DecodingFields, "seed")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name), {}))
        if self.t_min is not None and self.t_max is not None and self.t_max <= self.t_min:
            raise ValueError(
                f"`t_max={self.t_max:g}` must be above `t_min={self.t_min:g}`; it falls from one to the other"
            )

    @property
    def approximations(self) -> tuple[str, ...]:
        """None: it is what its authors' code does."""
        return ()
