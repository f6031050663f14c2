"""Settings of fine-tuning a backbone, checked before a checkpoint is opened. Knows no torch."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Final

from lm_eval_codd.settings.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Range, checked, either, setting, unknown_value

# What each objective reads beside that which all of them read. A new objective is one file in objectives/, an entry
# there and one here.
OBJECTIVES: Final[dict[str, tuple[str, ...]]] = {
    "papl": ("alpha", "tau"),
    "path": ("variant",),
    "repr_align": ("teacher",),
    "dscd": ("variant", "teacher", "temperature"),
    "corrective": ("variant", "replaced"),
}
# Each objective's variants, the usual one first.
VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    "path": ("open_dllm_qwen2", "open_dllm_qwen3", "cdlm_fork_qwen2"),
    "dscd": ("nested", "independent"),
    "corrective": ("open_dcoder", "llada"),
}
_OWN: Final = {name for names in OBJECTIVES.values() for name in names}


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """Every setting that can change the checkpoint that comes out. Written into training.json and into checkpoints.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    model: str = setting(MISSING, "folder or hub id of the checkpoint to start from, or demo")
    data: str = setting(MISSING, "a .jsonl file, or a data set of the hub: NAME[:CONFIG[:SPLIT]]")
    objective: str = setting(MISSING, "what is learned", choices=tuple(OBJECTIVES))
    question_column: str = setting("question", "column with the prompt; the tokenizer's chat template is put around it")
    answer_column: str = setting("answer", "column with the answer that is learned")
    limit: int | None = setting(None, "read only the first N rows", range=AT_LEAST_1)
    held_out: int = setting(100, "rows set aside for the figures", range=AT_LEAST_1)
    gen_length: int | None = setting(
        None,
        "length that answers are filled up to with end-of-text, and cut at (default: each answer's own)",
        range=AT_LEAST_1,
    )
    variant: str | None = setting(
        None, f"of path, dscd and corrective: {'; '.join(f'{k}: {either(v)}' for k, v in VARIANTS.items())}"
    )
    teacher: str | None = setting(
        None,
        "repr_align: the autoregressive checkpoint that the model was converted from; dscd: the checkpoint to distil "
        "(default there: the model itself)",
    )
    alpha: float = setting(1.0, "papl: how much the planner's weights count", range=AT_LEAST_0)
    tau: float = setting(1.0, "papl: temperature of the planner's weights", range=ABOVE_0)
    temperature: float = setting(2.0, "dscd: of both distributions", range=ABOVE_0)
    replaced: float = setting(
        0.1, "corrective: share of visible tokens that are replaced", range=Range(lambda v: 0 <= v <= 1, "0 to 1")
    )
    epochs: int | None = setting(None, "passes over the rows (default 1)", range=AT_LEAST_1)
    steps: int | None = setting(None, "length in updates, instead of epochs", range=AT_LEAST_1)
    batch_size: int = setting(16, "rows in an update", range=AT_LEAST_1)
    lr: float = setting(
        1e-4, "AdamW's learning rate, reached after a twentieth of the updates; falls to zero", range=ABOVE_0
    )
    weight_decay: float = setting(0.01, "AdamW's, of matrices", range=AT_LEAST_0)
    save_every: int = setting(100, "updates between checkpoints, each with the held-out loss", range=AT_LEAST_1)
    seed: int = setting(0, "of the held-out rows, the order and the noise")
    family: str | None = setting(None, "such as llada, for a checkpoint of that layout under another name")
    mask_id: int | None = setting(None, "the mask token, for a checkpoint that does not name one", range=AT_LEAST_0)
    device: str | None = setting(None, "such as cuda:1 (default: a GPU when there is one)")
    revision: str | None = setting(None, "branch, tag or commit of the model on the hub")

    # Answers are learned whole, not in windows of a circuit.
    window: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name), {}))
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"`epochs={self.epochs}` and `steps={self.steps}` say the same; give one of them")
        reads = OBJECTIVES[self.objective]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _OWN and field.name not in reads and value != field.default:
                readers = either(name for name, names in OBJECTIVES.items() if field.name in names)
                raise ValueError(
                    f"`{field.name}={value}` is not read by `objective={self.objective}`; leave it out, or use "
                    f"objective={readers}"
                )
        if "variant" in reads:
            allowed = VARIANTS[self.objective]
            object.__setattr__(self, "variant", self.variant or allowed[0])
            if self.variant not in allowed:
                raise ValueError(unknown_value("variant", self.variant, allowed))
        if self.objective == "repr_align" and self.teacher is None:
            raise ValueError(
                "`objective=repr_align` keeps hidden states near a teacher's; give `teacher=`, the autoregressive "
                "checkpoint that the model was converted from"
            )
