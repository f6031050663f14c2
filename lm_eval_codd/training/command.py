"""A command that trains: its flags are its settings, and it says what came out and where it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from lm_eval_codd.files.outputs import check_folder
from lm_eval_codd.settings.fields import facts_of
from lm_eval_codd.training.cli import make_parser

Figures = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainingCommand:
    """One of them.

    Attributes:
        name: as a user types it.
        does: what, in a sentence.
        example: below its flags.
        settings: a dataclass whose fields have facts.
        output: the help of `--output`.
        train: "module:function", called with settings, folder and `resume`; imported once the flags are checked.
        says: of settings and the figures before and after, what is printed.
        loads: of settings, what else is to be known to load the result.
    """

    name: str
    does: str
    example: str
    settings: type
    output: str
    train: str
    says: Callable[[Any, Figures, Figures], str]
    loads: Callable[[Any], str] = lambda settings: ""

    def __call__(self, argv: list[str] | None = None) -> int:
        """Train; the exit status."""
        facts = {field.name: facts_of(field) for field in fields(self.settings)}
        parser = make_parser(
            f"lm-eval-codd {self.name}",
            self.does,
            self.example,
            self.settings,
            helps={name: fact.help for name, fact in facts.items()},
            choices={name: fact.choices for name, fact in facts.items() if fact.choices},
            output=self.output,
        )
        given = vars(parser.parse_args(argv))
        output, resume = Path(given.pop("output")).expanduser(), given.pop("resume")
        settings = self.settings(**given)
        check_folder("--output", output)

        from lm_eval_codd.training.run_folder import is_finished

        module, _, function = self.train.partition(":")
        was_finished = is_finished(output)
        report = getattr(import_module(module), function)(settings, output, resume=resume)
        print(self.says(settings, report["history"][0], report["figures"]))
        done = f"finished already, nothing was changed in {output}" if was_finished else f"wrote {output}"
        print(done + self.loads(settings))
        return 0
