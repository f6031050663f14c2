"""`lm-eval-codd dit train`: its flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.dit.training.settings import DiTTrainingConfig
from lm_eval_codd.training.command import TrainingCommand

if TYPE_CHECKING:
    from lm_eval_codd.training.command import Figures

_EXAMPLE: Final = """\
example:
  lm-eval-codd dit train --algo mdlm --data texts.jsonl --tokenizer gpt2 --length 128 --output small-mdlm

Writes config.json and model.safetensors with the averaged weights into OUTPUT, which `pretrained=OUTPUT` and
codd.load_dit read, and OUTPUT/training.json. Texts are packed into rows; lists of ids are rows as they stand.
Weights are trained in float32 on one device."""


def _says(config: DiTTrainingConfig, first: Figures, last: Figures) -> str:
    what = "nats" if config.algo == "ar" else "bound, nats"
    return (
        f"{what} per token of held-out rows: {last['bound']:.4f}, standard error {last['bound_stderr']:.4f} "
        f"(before training {first['bound']:.4f})"
    )


main: Final = TrainingCommand(
    name="dit train",
    does="Train a DUO, MDLM, SEDD, D3PM or AR from nothing.",
    example=_EXAMPLE,
    settings=DiTTrainingConfig,
    output="folder for the model, made when missing",
    train="lm_eval_codd.dit.training.run:train_dit",
    says=_says,
)
