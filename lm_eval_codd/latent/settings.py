"""How a Coupling Model is sampled from: every setting, checked once. Knows no tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class CouplingSettings:
    """Settings of `sample_coupling`, which says what each is."""

    temperature: float = 0.65
    top_p: float = 0.95
    z_scale: float = 0.8
    steps: int | None = None
    tau: float = 0.0
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Raise `ValueError`, one line, for a value that cannot be."""
        for name in ("temperature", "z_scale", "tau", "eta"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"`{name}={getattr(self, name)}` must be a number of at least 0")
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p={self.top_p}` must be above 0 and at most 1, which keeps every token")
        steps = self.steps
        if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
            raise ValueError(f"`steps={steps}` must be a whole number of at least 1")

    def check_goes_with(self, kind: str, source: str) -> None:
        """Raise `ValueError`, one line, for a setting that a kind of model does not read, or one that it lacks."""
        read = read_by(kind)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in read and value != field.default:
                raise ValueError(
                    f"`{field.name}={value}` is not read by `{source}`, a {kind}; it has {', '.join(read)}"
                )
        if kind == "latent_mdm" and self.steps is None:
            raise ValueError(f"`steps` is needed: `{source}` is a latent_mdm, which is sampled in steps, such as 8")


def read_by(kind: str) -> tuple[str, ...]:
    """The settings that a kind of model reads."""
    return ("z_scale", "steps", "tau", "eta") if kind == "latent_mdm" else ("z_scale", "temperature", "top_p")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
