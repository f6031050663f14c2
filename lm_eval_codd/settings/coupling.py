"""`CouplingSettings`: every setting of sampling from a Coupling Model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lm_eval_codd.names import explains_unknown_names
from lm_eval_codd.settings.decoding_fields import DecodingFields
from lm_eval_codd.settings.fields import AT_LEAST_0, AT_LEAST_1, Range, checked, setting, shared_with


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class CouplingSettings:
    """Every setting that can change a sample. Frozen, validated at construction, written into results.

    What a kind of model does not read is refused where the kind is known (`check_goes_with`).

    Args:
        temperature: of the logits; 0 takes the likeliest tokens. Not of latent_mdm.
        top_p: mass of the tokens that are drawn from; 1: all. Not of latent_mdm.
        z_scale: deviation of the latent.
        steps: of latent_mdm, and needed there: forwards of path planning (P2).
        tau: of latent_mdm: Gumbel noise on its logits; 0: none.
        eta: of latent_mdm: weight of visible tokens' log-probabilities. Above 1 they are masked again sooner.
        seed: each sample draws its own numbers, from this and its index.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    temperature: float = setting(0.65, "of the logits; 0 takes the likeliest tokens", range=AT_LEAST_0, is_axis=True)
    top_p: float = setting(
        0.95,
        "mass of the tokens that are drawn from",
        range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (1 keeps all)"),
        is_axis=True,
    )
    z_scale: float = setting(0.8, "deviation of the latent", range=AT_LEAST_0, is_axis=True)
    steps: int | None = setting(None, "latent_mdm: forwards of path planning", range=AT_LEAST_1, is_axis=True)
    tau: float = setting(0.0, "latent_mdm: Gumbel noise on the logits", range=AT_LEAST_0, is_axis=True)
    eta: float = setting(1.0, "latent_mdm: weight of visible tokens' scores", range=AT_LEAST_0, is_axis=True)
    seed: int = shared_with(DecodingFields, "seed")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name), {}))

    def check_goes_with(self, kind: str, source: str) -> None:
        """Raise `ValueError`, one line, for a setting that a kind of model does not read, or one that it lacks."""
        read = read_by(kind)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in (*read, "seed") and value != field.default:
                raise ValueError(
                    f"`{field.name}={value:g}` is not read by `{source}`, a {kind}; it has {', '.join(read)}"
                )
        if kind == "latent_mdm" and self.steps is None:
            raise ValueError(f"`steps` is needed: `{source}` is a latent_mdm, which is sampled in steps; give steps=8")

    @property
    def approximations(self) -> tuple[str, ...]:
        """None: each sampler is itself."""
        return ()

    def of_samples(self, kind: str) -> dict[str, Any]:
        """The settings that a kind of model reads."""
        return {name: getattr(self, name) for name in (*read_by(kind), "seed")}


def read_by(kind: str) -> tuple[str, ...]:
    """The settings that a kind of model reads, beside the seed."""
    return ("z_scale", "steps", "tau", "eta") if kind == "latent_mdm" else ("z_scale", "temperature", "top_p")
