"""`lm-eval-codd dit distil`: its flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.dit.training.settings import DistillationConfig
from lm_eval_codd.training.command import TrainingCommand

if TYPE_CHECKING:
    from lm_eval_codd.training.command import Figures

_EXAMPLE: Final = """\
example:
  lm-eval-codd dit distil --teacher small-duo --data texts.jsonl --tokenizer gpt2 --jumps 32 --rounds 4 \\
      --round_steps 1000 --output small-duo-distilled

Writes the student as `lm-eval-codd dit train` writes a model. It is meant for samples in few steps: with many steps
its teacher may be better, and its bound is worse."""


def _says(config: DistillationConfig, first: Figures, last: Figures) -> str:
    return (
        f"divergence from the last teacher on held-out rows: {last['held_out_loss']:.4f}\n"
        f"bound, nats per token of held-out rows: {last['bound']:.4f} (of the teacher {first['bound']:.4f})"
    )


main: Final = TrainingCommand(
    name="dit distil",
    does="Distil a DUO into a student that samples in fewer steps (discrete consistency distillation).",
    example=_EXAMPLE,
    settings=DistillationConfig,
    output="folder for the student, made when missing",
    train="lm_eval_codd.dit.training.distil:distil_dit",
    says=_says,
)
