"""Runs against own references: the same items, answered again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.reporting.cells import BASE
from lm_eval_codd.reporting.pairs import Pair, compare_outcomes
from lm_eval_codd.reporting.reference import Reference, identity_of, short_key, surroundings_of
from lm_eval_codd.reporting.samples import Key, Outcomes, grading_of, read_outcomes, unreadable_marks
from lm_eval_codd.reporting.stats import DetectableChange, mcnemar, smallest_net_change
from lm_eval_codd.reporting.verdict import Check, Comparison, corrected

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder

__all__ = ["check_against_own"]

_VERSION: Final = "version of "


@dataclass(frozen=True)
class _Measured:
    reference: Reference
    run: Run
    outcomes: Outcomes
    pair: Pair


def check_against_own(folder: Folder, references: Sequence[Reference], *, against: str, level: float) -> Check:
    """Each run against the reference of the same settings, on the items that both have."""
    measured, refused, missing = [], [], []
    for reference in references:
        alike = [run for run in folder.runs if run.value is not None and identity_of(run) == reference.identity]
        runs = [run for run in alike if run.metric == reference.metric] or alike
        if not runs:
            missing.append(reference.name)
        elif len(runs) > 1:
            names = ", ".join(run.name for run in runs)
            refused.append(f"{reference.name}: {len(runs)} runs of the same settings: {names}")
        elif isinstance(found := _measure(reference, runs[0]), str):
            refused.append(f"{runs[0].name}: {found}")
        else:
            measured.append(found)
    known = [reference.identity for reference in references]
    refused += [
        f"{run.name}: the reference has no run with these settings"
        for run in folder.runs
        if run.value is not None and run.settings and identity_of(run) not in known
    ]
    gains = _gains(measured)
    return Check(
        against=against,
        level=level,
        cells=corrected([_compare(one, level / len(measured)) for one in measured]),
        gains=corrected([_compare_gain(*pair, level / len(gains)) for pair in gains]),
        missing=missing,
        metrics=grading_of(one.run for one in measured),
        refused=refused,
        notes=[*(f"left out: {problem}" for problem in folder.problems), *_differences(measured)],
        cell_test="McNemar's exact test, item by item",
        gain_test="exact sign test, item by item",
    )


def _measure(reference: Reference, run: Run) -> _Measured | str:
    """The comparison, or why there is none."""
    if run.metric != reference.metric:
        return f"its metric is {run.metric}, the reference's {reference.metric}"
    try:
        outcomes = {short_key(key): score for key, score in read_outcomes(run).items()}
        return _Measured(reference, run, outcomes, compare_outcomes(reference.outcomes, outcomes))
    except ValueError as error:
        return str(error)


def _compare(measured: _Measured, level: float) -> Comparison:
    reference, pair = measured.reference, measured.pair
    marks = [f"{pair.n} of the reference's {len(reference.outcomes)} items"]
    marks = marks if pair.n < len(reference.outcomes) else []
    changed = pair.better + pair.worse
    shared = reference.outcomes.keys() & measured.outcomes.keys()
    return Comparison(
        label=reference.name,
        measured=_share(measured.outcomes, shared),
        reference=_share(reference.outcomes, shared),
        difference=pair.difference,
        p=pair.p,
        detectable=_detectable(changed, pair.n, level),
        marks=(
            *marks,
            *([f"{changed} items changed"] if changed else []),
            *unreadable_marks(measured.run),
            *measured.run.warnings,
        ),
        is_own=True,
    )


def _gains(measured: Sequence[_Measured]) -> list[tuple[_Measured, _Measured]]:
    """(base, CoDD) with the same settings but for the circuit's."""
    bases = {_without_circuit(one.reference): one for one in measured if one.reference.key.system == BASE}
    codd = [one for one in measured if one.reference.key.system != BASE]
    return [(bases[key], one) for one in codd if (key := _without_circuit(one.reference)) in bases]


def _without_circuit(reference: Reference) -> str:
    identity = dict(reference.identity)
    settings = {name: value for name, value in identity.pop("settings").items() if not _is_of_circuit(name)}
    others = sorted((name, value) for name, value in identity.items() if name != "circuit")
    return repr((reference.metric, *others, *sorted(settings.items())))


def _is_of_circuit(name: str) -> bool:
    return name.startswith("pc_") or name == "reverse_frac"


def _compare_gain(base: _Measured, codd: _Measured, level: float) -> Comparison:
    """An item's gain is -1, 0 or 1; the test counts the items where it grew and where it shrank."""
    shared = set.intersection(
        *(set(outcomes) for one in (base, codd) for outcomes in (one.outcomes, one.reference.outcomes))
    )
    now = {key: codd.outcomes[key] - base.outcomes[key] for key in shared}
    then = {key: codd.reference.outcomes[key] - base.reference.outcomes[key] for key in shared}
    grew = sum(now[key] > then[key] for key in shared)
    shrank = sum(now[key] < then[key] for key in shared)
    n = max(1, len(shared))
    return Comparison(
        label=f"{codd.reference.name} - base",
        measured=f"{100 * sum(now.values()) / n:+.2f}",
        reference=f"{100 * sum(then.values()) / n:+.2f}",
        difference=(sum(now.values()) - sum(then.values())) / n,
        p=mcnemar(grew, shrank),
        detectable=_detectable(grew + shrank, n, level),
        is_own=True,
    )


def _detectable(changed: int, n: int, level: float) -> DetectableChange:
    net = smallest_net_change(changed, level)
    return DetectableChange(net / n, net / n) if net <= n else DetectableChange(None, None)


def _differences(measured: Sequence[_Measured]) -> list[str]:
    """What the runs were made with and the references were not, each difference once."""
    lines: dict[str, int] = {}
    for one in measured:
        now, then = _flat(surroundings_of(one.run)), _flat(one.reference.surroundings)
        # What a reference does not have is from before it was written down; another version's absence is a difference.
        for name in {*then, *(name for name in now if name.startswith(_VERSION))}:
            if now.get(name) != then.get(name):
                line = f"{name}: {now.get(name)} here, {then.get(name)} in the reference"
                lines[line] = lines.get(line, 0) + 1
    return [f"{line} ({count} of {len(measured)} runs)" for line, count in sorted(lines.items())]


def _flat(surroundings: Mapping[str, Any]) -> dict[str, Any]:
    versions = surroundings.get("versions") or {}
    return {**surroundings, **{f"{_VERSION}{name}": version for name, version in versions.items()}, "versions": None}


def _share(outcomes: Outcomes, keys: set[Key]) -> str:
    correct = sum(outcomes[key] == 1 for key in keys)
    return f"{100 * correct / len(keys):.2f} ({correct}/{len(keys)})"
