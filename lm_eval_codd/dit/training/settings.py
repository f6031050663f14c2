"""Settings of both trainings, checked before anything is read."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from lm_eval_codd.settings.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Range, checked, setting

TRAINED: Final = ("duo", "mdlm", "sedd", "d3pm", "ar")
KINDS: Final = ("kl-bwd", "kl-fwd")
FOLLOWING: Final = ("student", "average")

_AT_LEAST_2: Final = Range(lambda v: v >= 2, "at least 2")
_DECAY: Final = Range(lambda v: 0 <= v < 1, "at least 0 and below 1")
_OF_A_CURRICULUM: Final = ("gamma_min", "gamma_max", "tau")


def _lr(default: Any) -> Any:
    return setting(default, "AdamW's learning rate, constant after the warm-up", range=ABOVE_0)


def _warmup(default: Any) -> Any:
    return setting(default, "updates over which the learning rate rises", range=AT_LEAST_0)


def _ema(default: Any) -> Any:
    return setting(default, "decay of the averaged weights, which are those that are written", range=_DECAY)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What both trainings read. Defaults of the optimizer are those of the published models of each."""

    data: str = setting(MISSING, "a .jsonl file, or a data set of the hub: NAME[:CONFIG[:SPLIT]]")
    column: str = setting("text", "column with texts, or with lists of ids, each a row as long as the model's")
    tokenizer: str | None = setting(None, "of texts: a folder or hub id, such as gpt2")
    limit: int | None = setting(None, "read only the first N lines of the data", range=AT_LEAST_1)
    held_out: int = setting(100, "rows set aside for the figures", range=AT_LEAST_1)
    batch_size: int = setting(64, "rows in an update; their times are spread evenly", range=AT_LEAST_1)
    lr: float = _lr(MISSING)
    warmup: int = _warmup(MISSING)
    ema: float = _ema(MISSING)
    save_every: int = setting(500, "updates between checkpoints, each with figures on held-out rows", range=AT_LEAST_1)
    seed: int = setting(0, "of the start, the held-out rows, the order and the noise")
    device: str | None = setting(None, "such as cuda:1 (default: a GPU when there is one)")

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name), {}))
        low, high = getattr(self, "gamma_min", None), getattr(self, "gamma_max", None)
        if low is not None and high is not None and low >= high:
            raise ValueError(f"`gamma_min={low:g}` must be below `gamma_max={high:g}`")


@dataclass(frozen=True, kw_only=True)
class DiTTrainingConfig(RunSettings):
    """Every setting that can change the model that comes out. Written into training.json and into checkpoints.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    algo: str = setting(MISSING, "what is trained", choices=TRAINED)
    length: int | None = setting(None, "ids of a row; needed for texts (default: that of the data)", range=AT_LEAST_1)
    vocab_size: int | None = setting(
        None,
        "logit columns (default: the tokenizer's, and the mask where it has none)",
        range=_AT_LEAST_2,
    )
    mask_id: int | None = setting(None, "the mask (default: the tokenizer's, else the last id)", range=AT_LEAST_0)
    bos_id: int | None = setting(
        None, "begins a row (default: the tokenizer's); sampling from ar needs it", range=AT_LEAST_0
    )
    eos_id: int | None = setting(None, "ends a text (default: the tokenizer's)", range=AT_LEAST_0)
    hidden_dim: int = setting(256, "width of the network", range=AT_LEAST_1)
    cond_dim: int = setting(128, "width of what the noise level becomes", range=AT_LEAST_1)
    n_blocks: int = setting(4, "blocks of the network", range=AT_LEAST_1)
    n_heads: int = setting(4, "heads of a block's attention", range=AT_LEAST_1)
    steps: int = setting(10_000, "updates", range=AT_LEAST_1)
    lr: float = _lr(3e-4)
    warmup: int = _warmup(2500)
    ema: float = _ema(0.9999)
    curriculum_steps: int = setting(0, "duo: the first updates, with Gaussian noise under ids", range=AT_LEAST_0)
    gamma_min: float | None = setting(
        None, "duo's curriculum: log noise-to-signal ratio at time 0 (default: where 0.99 of the signal is left)"
    )
    gamma_max: float | None = setting(None, "at time 1 (default: where 0.01 is left)")
    tau: float = setting(1e-3, "temperature of the curriculum's soft input", range=ABOVE_0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % (2 * self.n_heads):
            raise ValueError(
                f"`n_heads={self.n_heads}` does not cut `hidden_dim={self.hidden_dim}` into heads of even width; use a "
                f"hidden_dim that is a multiple of {2 * self.n_heads}"
            )
        if self.curriculum_steps and self.algo != "duo":
            raise ValueError(
                f"`curriculum_steps={self.curriculum_steps}` is of DUO alone; leave it out for algo={self.algo}"
            )
        defaults = {field.name: field.default for field in fields(self)}
        for name in _OF_A_CURRICULUM:
            if not self.curriculum_steps and getattr(self, name) != defaults[name]:
                raise ValueError(f"`{name}={getattr(self, name):g}` is of the curriculum; give curriculum_steps too")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(RunSettings):
    """Every setting that can change the student that comes out.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    teacher: str = setting(MISSING, "folder, hub id or .ckpt of the duo to distil, from which the student starts")
    rounds: int = setting(5, "after each the student becomes the teacher, and its jump doubles", range=AT_LEAST_1)
    round_steps: int = setting(10_000, "updates of a round", range=AT_LEAST_1)
    jumps: int = setting(512, "the student jumps 1/N of the time in the first round", range=AT_LEAST_1)
    kind: str = setting("kl-bwd", "KL(student || teacher), or kl-fwd: KL(teacher || student)", choices=KINDS)
    next_teacher: str = setting("student", "what teaches the next round: the student or its average", choices=FOLLOWING)
    lr: float = _lr(6e-5)
    warmup: int = _warmup(500)
    ema: float = _ema(0.999)
    gamma_min: float | None = setting(
        None, "log noise-to-signal ratio at time 0 (default: where 0.99 of the signal is left)"
    )
    gamma_max: float | None = setting(None, "at time 1 (default: where 0.01 is left)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 ** (self.rounds - 1) > self.jumps:
            raise ValueError(
                f"`rounds={self.rounds}` would jump {2 ** (self.rounds - 1)}/{self.jumps} of the time at the end; use "
                f"fewer rounds, or jumps of at least {2 ** (self.rounds - 1)}"
            )
