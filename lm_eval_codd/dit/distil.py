"""`lm-eval-codd dit distil`: its flags."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Final

from lm_eval_codd.dit.training.settings import DistillationConfig
from lm_eval_codd.outputs import check_folder
from lm_eval_codd.settings.fields import facts_of
from lm_eval_codd.training.cli import make_parser

_EXAMPLE: Final = """\
example:
  lm-eval-codd dit distil --teacher small-duo --data texts.jsonl --tokenizer gpt2 --jumps 32 --rounds 4 \\
      --round_steps 1000 --output small-duo-distilled

Writes the student as `lm-eval-codd dit train` writes a model. It is meant for samples in few steps: with many steps
its teacher may be better, and its bound is worse."""


def main(argv: list[str] | None = None) -> int:
    """Distil a model; the exit status."""
    facts = {field.name: facts_of(field) for field in fields(DistillationConfig)}
    parser = make_parser(
        "lm-eval-codd dit distil",
        "Distil a DUO into a student that samples in fewer steps (discrete consistency distillation).",
        _EXAMPLE,
        DistillationConfig,
        helps={name: fact.help for name, fact in facts.items()},
        choices={name: fact.choices for name, fact in facts.items() if fact.choices},
        output="folder for the student, made when missing",
    )
    given = vars(parser.parse_args(argv))
    output, resume = Path(given.pop("output")).expanduser(), given.pop("resume")
    config = DistillationConfig(**given)
    check_folder("--output", output)

    from lm_eval_codd.dit.training.distil import distil_dit
    from lm_eval_codd.training.run_folder import is_finished

    was_finished = is_finished(output)
    report = distil_dit(config, output, resume=resume)
    first, last = report["history"][0], report["figures"]
    print(f"divergence from the last teacher on held-out rows: {last['held_out_loss']:.4f}")
    print(f"bound, nats per token of held-out rows: {last['bound']:.4f} (of the teacher {first['bound']:.4f})")
    print(f"finished already, nothing was changed in {output}" if was_finished else f"wrote {output}")
    return 0
