"""`lm-eval-codd train`: its flags."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Final

from lm_eval_codd.outputs import check_folder
from lm_eval_codd.settings.fields import facts_of
from lm_eval_codd.training.cli import make_parser
from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig

_EXAMPLE: Final = """\
example:
  lm-eval-codd train --objective corrective --model demo --data rows.jsonl --gen_length 32 --output corrected

Writes a checkpoint of the model's own family into OUTPUT, which `pretrained=OUTPUT` reads, and OUTPUT/training.json.
Weights are trained in float32 with AdamW, on one device."""


def main(argv: list[str] | None = None) -> int:
    """Fine-tune a backbone; the exit status."""
    facts = {field.name: facts_of(field) for field in fields(FineTuningConfig)}
    parser = make_parser(
        "lm-eval-codd train",
        "Fine-tune a checkpoint with an objective of the field.",
        _EXAMPLE,
        FineTuningConfig,
        helps={name: fact.help for name, fact in facts.items()},
        choices={name: fact.choices for name, fact in facts.items() if fact.choices},
        output="folder for the checkpoint, made when missing",
    )
    given = vars(parser.parse_args(argv))
    output, resume = Path(given.pop("output")).expanduser(), given.pop("resume")
    config = FineTuningConfig(**given)
    check_folder("--output", output)

    from lm_eval_codd.training.fine_tuning import fine_tune
    from lm_eval_codd.training.run_folder import is_finished

    was_finished = is_finished(output)
    report = fine_tune(config, output, resume=resume)
    first, last = report["history"][0], report["figures"]
    print(f"loss on held-out rows: {last['held_out_loss']:.4f} (before training {first['held_out_loss']:.4f})")
    said = f"finished already, nothing was changed in {output}" if was_finished else f"wrote {output}"
    print(said if config.family is None else f"{said}; it loads with family={config.family}")
    return 0
