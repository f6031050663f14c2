"""Settings of a training run, checked before a checkpoint is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lm_eval_codd.settings import unknown_value

OBJECTIVES: Final = ("ml", "conditional", "both")
ML_UPDATES: Final = ("em", "anemone")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Every setting that can change the circuit that comes out. Written into training.json and into checkpoints.

    Args:
        backbone: folder or hub id; `family`, `dtype`, `device` and `revision` are those of `load_backbone`.
        data: a .jsonl file, or a data set of the hub as NAME[:CONFIG[:SPLIT]] (split `train` by default).
        question_column, answer_column: the columns that are read.
        limit: only the first N rows.
        held_out: rows set aside, drawn by the seed, for the figures.
        window: T, positions of the circuit; the block length it will decode with.
        gen_length: what a row's canvas is filled up to with end-of-text, as decoding sees it; longer answers are cut.
            None makes each canvas as long as its answer's own windows.
        objective: `ml` (maximum likelihood of the answers' windows), `conditional` (Eq. 7), or `both` in that order.
        num_latents: H of a new circuit.
        init: a circuit to start from instead of a new one.
        ml_update: `em` (mini-batch EM) or `anemone`.
        ml_epochs: passes over the windows under `ml`.
        ml_batch_size: windows in an update; 0 takes all of them (with `em` and `ml_step_size=1`, Baum-Welch).
        ml_step_size: in (0, 1].
        pseudocount: added to the counts of each row of probabilities in an update, spread over its entries; keeps
            tokens possible that the data do not show.
        epochs, steps: length of `conditional`, in passes over the rows or in updates; one of the two.
        batch_size: rows (answers) in an update of `conditional`, and in a forward pass of the backbone.
        lr: learning rate of `conditional`; falls linearly to zero.
        top_k_evidence: keep only the K most likely tokens of each position's evidence, and spread what they leave
            evenly over all others. None keeps all.
        evidence_cache: folder to keep the evidence in, so that the backbone runs once a row and draw; reused by any
            run whose evidence would be the same. None runs the backbone in every step.
        evidence_draws: noisy versions of each row in the cache; epoch e uses draw e modulo this.
        save_every: updates between two checkpoints; figures on the held-out rows are made with each.
        seed: of the start, the order, and the noise.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    backbone: str
    data: str
    question_column: str = "question"
    answer_column: str = "answer"
    limit: int | None = None
    held_out: int = 100
    window: int = 32
    gen_length: int | None = None
    objective: str = "both"
    num_latents: int = 64
    init: str | None = None
    ml_update: str = "em"
    ml_epochs: int = 10
    ml_batch_size: int = 256
    ml_step_size: float = 0.3
    pseudocount: float = 0.1
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 16
    lr: float = 0.1
    top_k_evidence: int | None = None
    evidence_cache: str | None = None
    evidence_draws: int = 1
    save_every: int = 100
    seed: int = 0
    family: str | None = None
    dtype: str | None = None
    device: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("objective", OBJECTIVES), ("ml_update", ML_UPDATES)):
            if getattr(self, name) not in allowed:
                raise ValueError(unknown_value(name, getattr(self, name), allowed))
        for name in _AT_LEAST_1:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}={value}` is out of range; it must be at least 1")
        if self.ml_batch_size < 0:
            raise ValueError(f"`ml_batch_size={self.ml_batch_size}` is out of range; it must be 0 (all) or more")
        if not 0 < self.ml_step_size <= 1:
            raise ValueError(f"`ml_step_size={self.ml_step_size:g}` is out of range; it must be above 0 and at most 1")
        for name in ("lr", "pseudocount"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}={getattr(self, name):g}` is out of range; it must be above 0")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"`epochs={self.epochs}` and `steps={self.steps}` say the same; give one of them")
        if self.objective == "ml" and (self.epochs or self.steps):
            raise ValueError(
                "`epochs` and `steps` are those of the conditional objective; for objective=ml give ml_epochs"
            )
        if self.objective == "conditional" and self.init is None:
            raise ValueError("`objective=conditional` starts from a circuit; give init=, or objective=both")
        if self.gen_length is not None and self.gen_length % self.window:
            below = self.gen_length // self.window * self.window
            near = " or ".join(str(n) for n in (below, below + self.window) if n)
            raise ValueError(
                f"`gen_length={self.gen_length}` cannot be cut into windows of `window={self.window}`; "
                f"use a gen_length of {near}, or another window"
            )


_AT_LEAST_1: Final = (
    "limit",
    "held_out",
    "window",
    "gen_length",
    "num_latents",
    "ml_epochs",
    "epochs",
    "steps",
    "batch_size",
    "top_k_evidence",
    "evidence_draws",
    "save_every",
)
