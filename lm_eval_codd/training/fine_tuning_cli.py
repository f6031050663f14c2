"""`lm-eval-codd train`: its flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.training.command import TrainingCommand
from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig

if TYPE_CHECKING:
    from lm_eval_codd.training.command import Figures

_EXAMPLE: Final = """\
example:
  lm-eval-codd train --objective corrective --model demo --data rows.jsonl --gen_length 32 --output corrected

Writes a checkpoint of the model's own family into OUTPUT, which `pretrained=OUTPUT` reads, and OUTPUT/training.json.
Weights are trained in float32 with AdamW, on one device."""


def _says(config: FineTuningConfig, first: Figures, last: Figures) -> str:
    return f"loss on held-out rows: {last['held_out_loss']:.4f} (before training {first['held_out_loss']:.4f})"


main: Final = TrainingCommand(
    name="train",
    does="Fine-tune a checkpoint with an objective of the field.",
    example=_EXAMPLE,
    settings=FineTuningConfig,
    output="folder for the checkpoint, made when missing",
    train="lm_eval_codd.training.fine_tuning:fine_tune",
    says=_says,
    loads=lambda config: "" if config.family is None else f"; it loads with family={config.family}",
)
