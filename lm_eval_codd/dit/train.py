"""`lm-eval-codd dit train`: its flags."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Final

from lm_eval_codd.dit.training.settings import DiTTrainingConfig
from lm_eval_codd.outputs import check_folder
from lm_eval_codd.settings.fields import facts_of
from lm_eval_codd.training.cli import make_parser

_EXAMPLE: Final = """\
example:
  lm-eval-codd dit train --algo mdlm --data texts.jsonl --tokenizer gpt2 --length 128 --output small-mdlm

Writes config.json and model.safetensors with the averaged weights into OUTPUT, which `pretrained=OUTPUT` and
codd.load_dit read, and OUTPUT/training.json. Texts are packed into rows; lists of ids are rows as they stand.
Weights are trained in float32 on one device."""


def main(argv: list[str] | None = None) -> int:
    """Train a model; the exit status."""
    facts = {field.name: facts_of(field) for field in fields(DiTTrainingConfig)}
    parser = make_parser(
        "lm-eval-codd dit train",
        "Train a DUO, MDLM, SEDD, D3PM or AR from nothing.",
        _EXAMPLE,
        DiTTrainingConfig,
        helps={name: fact.help for name, fact in facts.items()},
        choices={name: fact.choices for name, fact in facts.items() if fact.choices},
        output="folder for the model, made when missing",
    )
    given = vars(parser.parse_args(argv))
    output, resume = Path(given.pop("output")).expanduser(), given.pop("resume")
    config = DiTTrainingConfig(**given)
    check_folder("--output", output)

    from lm_eval_codd.dit.training.run import train_dit
    from lm_eval_codd.training.run_folder import is_finished

    was_finished = is_finished(output)
    report = train_dit(config, output, resume=resume)
    first, last = report["history"][0], report["figures"]
    what = "nats" if config.algo == "ar" else "bound, nats"
    print(
        f"{what} per token of held-out rows: {last['bound']:.4f}, standard error {last['bound_stderr']:.4f} "
        f"(before training {first['bound']:.4f})"
    )
    print(f"finished already, nothing was changed in {output}" if was_finished else f"wrote {output}")
    return 0
