"""Published figures as one page: source by benchmark, each cell coloured by its verdict and opening what it is.

Like a report's page it asks for nothing outside of itself, and everything in it travels as JSON that becomes text.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.atlas.plan import assumable
from lm_eval_codd.atlas.source import read_source, source_names
from lm_eval_codd.reporting.against_atlas import check_against_atlas
from lm_eval_codd.reporting.atlas_output import seen_of
from lm_eval_codd.reporting.atlas_verdict import VERDICTS
from lm_eval_codd.reporting.frame import framed
from lm_eval_codd.reporting.page import cut
from lm_eval_codd.reporting.samples import read_items, read_outcomes
from lm_eval_codd.terminal.clean_text import one_line, without_homes

if TYPE_CHECKING:
    from lm_eval_codd.reporting.atlas_verdict import Judged
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder

__all__ = ["build_atlas_page"]

# Answers of a cell in the page, over all cells, and characters of one text.
_A_CELL: Final = 20
_ALL: Final = 4000
_LONGEST: Final = 2000


def build_atlas_page(folder: Folder, title: str, *, level: float, names: Sequence[str] | None = None) -> str:
    """The whole page as HTML.

    Args:
        folder: of the runs.
        title: in words.
        level: of the intervals of a source's cells together.
        names: sources; None for all.
    """
    checks = {name: check_against_atlas(folder, name, level=level) for name in names or source_names()}
    cells: list[dict[str, Any]] = []
    left = _ALL
    for check in checks.values():
        for judged in check.cells:
            answers = _answers(judged)[: max(0, left)]
            left -= len(answers)
            cells.append({**_describe(judged), "answers": answers})
    counted = Counter(cell["benchmark"] for cell in cells)
    measured = Counter(cell[key] for cell in cells if cell["readings"] for key in ("source", "benchmark"))
    data = {
        "title": one_line(without_homes(title)),
        "level": level,
        "verdicts": VERDICTS,
        "sources": [
            {"name": name, "about": read_source(name).about, "conclusion": check.conclusion()}
            for name, check in sorted(checks.items(), key=lambda item: (not measured[item[0]], item[0]))
        ],
        "benchmarks": sorted(counted, key=lambda name: (not measured[name], -counted[name], name)),
        "cells": without_homes(cells),
    }
    return framed("atlas", data["title"], data, styles=("page",))


def _describe(judged: Judged) -> dict[str, Any]:
    cell, recipe = judged.cell, judged.planned.recipe
    facts = {
        "method": cell.method,
        "harness": cell.harness,
        "task": cell.task,
        "shots": cell.shots,
        "template": cell.template,
        "metric": cell.metric,
        "documents": cell.n,
        "printed in": cell.where,
        "not stated": ", ".join(cell.unknown),
        "not stated, seldom decisive": ", ".join(cell.minor),
        "k of n": cell.check,
        "note": cell.note,
    }
    return {
        "id": cell.id,
        "source": judged.planned.source,
        "benchmark": cell.benchmark,
        "model": cell.model,
        "figure": cell.figure,
        "value": cell.value,
        "verdict": judged.verdict,
        "can_run": recipe.is_ready,
        "reasons": list(judged.reasons),
        "run": None if judged.measured is None else judged.measured.run.name,
        "readings": [
            {"metric": one.metric, "text": str(one), "difference": one.value - cell.value, "seen": seen_of(one)}
            for one in judged.readings
        ],
        "facts": {name: value for name, value in facts.items() if value not in (None, "")},
        "settings": {name: str(value) for name, value in cell.settings.items()},
        "commands": _commands(judged),
        "others": [
            {"by": one.by, "value": str(one.value), "where": one.where, "differs": one.differs}
            for one in cell.reproduces
        ],
    }


def _commands(judged: Judged) -> list[str]:
    """What runs the cell: its name, and the same with every flag; with what has to be assumed where something is."""
    planned, recipe = judged.planned, judged.planned.recipe
    if recipe.unstated:
        names = assumable(recipe.unstated)
        values = ",".join(f"{name}=..." for name in names or ())
        return [f"./eval.sh --paper {planned.label} --assume {values}"] if values else []
    if recipe.run is None:
        return []
    assumed = ",".join(f"{name}={value}" for name, value in recipe.assumed.items())
    by_name = f"./eval.sh --paper {planned.label}{f' --assume {shlex.quote(assumed)}' if assumed else ''}"
    return [by_name, f"./eval.sh --run {shlex.quote(_flags(recipe.flags))}"]


def _flags(flags: Mapping[str, Any]) -> str:
    return " ".join(
        f"--{name} {shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))}"
        for name, value in flags.items()
    )


def _answers(judged: Judged) -> list[list[Any]]:
    """The first answers of the run that was read: document, score, prompt, answer, what the filter made of it."""
    if judged.measured is None or not judged.readings:
        return []
    metric = judged.readings[0].metric
    run = next((run for run in judged.measured.runs if run.metric == metric and run.samples is not None), None)
    return [] if run is None else _first(run)


def _first(run: Run) -> list[list[Any]]:
    try:
        keys = sorted(read_outcomes(run))[:_A_CELL]
        items = list(read_items(run, keys))
    except ValueError:  # a damaged file, which the report's own page names
        return []
    return [
        [item.key.doc_id, item.score, *(cut(text, _LONGEST) for text in (item.prompt, item.answer, item.extracted))]
        for item in items
    ]
