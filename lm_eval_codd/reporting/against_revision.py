"""Runs of the Code Revision Benchmark against published means over its cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from lm_eval_codd.code_revision.scopes import METRICS, SCOPES, Scope
from lm_eval_codd.reporting.cells import BASE, group_runs, system_of
from lm_eval_codd.reporting.protocol import short_name
from lm_eval_codd.reporting.revision import cell_of, macro, rows_of
from lm_eval_codd.reporting.samples import grading_of
from lm_eval_codd.reporting.stats import DetectableChange
from lm_eval_codd.reporting.verdict import Check, Comparison, corrected

if TYPE_CHECKING:
    from lm_eval_codd.atlas.revision_means import PublishedMeans
    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder

__all__ = ["check_against_revision"]

_NORMAL: Final = NormalDist()


def check_against_revision(folder: Folder, published: PublishedMeans, *, against: str, level: float) -> Check:
    """Each mean over cells of a published checkpoint against the published one.

    Both are taken for samples of as many programs. They are the same programs, so the true difference varies less than
    assumed, and the test errs on the side of "consistent".
    """
    runs, refused = [], []
    for run in folder.runs:
        if run.value is None or not run.settings or cell_of(run) is None:
            continue
        if reasons := _objections(run, published):
            refused.append(f"{run.name} ({run.task}): {'; '.join(reasons)}")
        else:
            runs.append(run)
    found = [one for group in group_runs(runs) for one in _measured(group, published, refused)]
    # Holm's first step is the strictest, see `check_against_paper`.
    cells = [_compare(*one, level / len(found)) for one in found]
    seen = {label for label, *_ in found}
    return Check(
        against=against,
        level=level,
        cells=corrected(cells),
        missing=_missing_lines(published, seen),
        metrics=grading_of(runs),
        refused=list(dict.fromkeys(refused)),
        notes=[f"left out: {problem}" for problem in folder.problems],
        cell_test="z-test of two means over cells",
        gain_test="",
    )


def _published(published: PublishedMeans) -> Iterator[tuple[str, str, Scope, str, float]]:
    """Label, checkpoint, scope, metric and figure of every published mean."""
    for checkpoint, scores in published.models.items():
        for scope in SCOPES:
            for name, value in scores.get(scope.title, {}).items():
                yield f"{_name(checkpoint)} {scope.title} {name}", checkpoint, scope, name, value


def _objections(run: Run, published: PublishedMeans) -> list[str]:
    """Why a run is no measurement of the published means."""
    reasons = []
    if _name(run.checkpoint) not in map(_name, published.models):
        reasons.append(f"no published figures of {short_name(run.checkpoint)}, of {', '.join(published.models)} alone")
    if system_of(run) != BASE:
        reasons.append(f"no published figures of {system_of(run)}")
    if run.peft is not None:
        reasons.append("no published figures with an adapter")
    for name, value in published.settings.items():
        given = run.settings.get(name)
        if given != value:
            reasons.append(f"{name}={given}, the published runs have {value}")
    if run.has_other_rows:
        reasons.append("its programs or their tests are not the published ones")
    if run.limit is not None or run.is_partial:
        reasons.append(f"{run.n} programs of {run.total}")
    return reasons


def _measured(group: Group, published: PublishedMeans, refused: list[str]) -> Iterator[tuple[str, float, float, float]]:
    """Label, measured mean, its standard error and the published one, for each that the group's runs are enough for."""
    for title, runs, refusals in rows_of(group):
        refused += [f"{title}: {reason}" for reason in refusals]
        checkpoint = _name(next(iter(runs.values())).checkpoint) if runs else None
        for label, of, scope, name, reference in _published(published):
            inside = [run for cell, run in runs.items() if scope.has(cell)]
            if _name(of) != checkpoint or not inside:
                continue
            programs = sum(run.n or 0 for run in inside)
            expected = published.programs.get(scope.title, programs)
            mean = macro(inside, METRICS[name])
            if len(inside) < len(scope.cells):
                refused.append(f"{label}: {len(inside)} of {len(scope.cells)} cells")
            elif programs != expected:
                refused.append(f"{label}: {programs} programs, the published ones are {expected}")
            elif mean.stderr is None or math.isnan(mean.value):
                refused.append(f"{label}: a cell has no such figure, or no standard error of it")
            else:
                yield label, mean.value, mean.stderr, reference


def _missing_lines(published: PublishedMeans, seen: set[str]) -> list[str]:
    """A line for each figure without a run, or for a checkpoint when all of its figures are missing."""
    lines = []
    for checkpoint in published.models:
        labels = [label for label, of, *_ in _published(published) if of == checkpoint]
        missing = [label for label in labels if label not in seen]
        lines += [f"{checkpoint}: all {len(labels)} figures"] if missing == labels else missing
    return lines


def _compare(label: str, measured: float, stderr: float, reference: float, level: float) -> Comparison:
    # The published standard error is not known; that of as many programs is.
    spread = math.sqrt(2) * stderr
    difference = measured - reference
    p = 2 * (1 - _NORMAL.cdf(abs(difference) / spread)) if spread else float(difference == 0)
    seen = spread * _NORMAL.inv_cdf(1 - level / 2)
    return Comparison(
        label=label,
        measured=f"{measured:.4f} ± {stderr:.4f}",
        reference=f"{reference:.4f}",
        difference=difference,
        p=p,
        detectable=DetectableChange(seen, seen),
    )


def _name(checkpoint: str | None) -> str:
    """A checkpoint by its last part: a copy in a folder of that name is this one."""
    return short_name(checkpoint).rpartition("/")[2]
