"""Verdicts on published cells as text, as JUnit XML, and as the summary that GitHub shows beside a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from lm_eval_codd.reporting.atlas_verdict import DIFFERS, NOT_COMPARABLE, NOT_RUN, REPRODUCED
from lm_eval_codd.reporting.check_parts import count_cases, folded, seen_from, suite_of, xml_text
from lm_eval_codd.reporting.formats import markdown_line, to_markdown
from lm_eval_codd.reporting.stats import DetectableChange
from lm_eval_codd.reporting.table import Table
from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from lm_eval_codd.reporting.atlas_verdict import AtlasCheck, Judged, Reading

__all__ = ["as_junit", "as_summary", "as_text", "seen_of"]

_HEADER: Final = ("cell", "measured [interval]", "printed", "difference", "seen from", "verdict", "remarks")
_HOW: Final = (
    "A figure is reproduced where the interval of the run holds it (Wilson's, or by the standard error). All intervals "
    "hold together at level {level:g}. Seen from: the smallest differences that would have been outside."
)


def as_text(check: AtlasCheck) -> str:
    """Everything, the conclusion last."""
    parts = [to_markdown(table) for table in _tables(check)]
    for title, lines in _lists(check):
        parts.append("\n".join([f"{title}:", *(f"  {one_line(line)}" for line in lines)]))
    return "\n\n".join([*parts, one_line(check.conclusion())])


def as_summary(check: AtlasCheck) -> str:
    """GitHub-flavoured Markdown: the conclusion first, long lists folded."""
    icon = {0: "✅", 1: "❌"}.get(check.exit_status, "⚠️")
    parts = [f"### {icon} {markdown_line(check.conclusion())}"]
    parts += [to_markdown(table) for table in _tables(check)]
    for title, lines in _lists(check):
        parts.append(folded(f"{title}: {len(lines)}", "\n".join(f"- {markdown_line(line)}" for line in lines)))
    return "\n\n".join(parts) + "\n"


def as_junit(check: AtlasCheck) -> str:
    """A test case for each cell: a failure where it differs, skipped where there is nothing to compare."""
    root = ElementTree.Element("testsuites", name=xml_text(f"lm-eval-codd check against {check.against}"))
    suite = suite_of(root, "cells")
    for one in check.cells:
        case = ElementTree.SubElement(suite, "testcase", classname=one.verdict, name=xml_text(one.planned.label))
        if one.fails:
            ElementTree.SubElement(case, "failure", message=xml_text(_sentence(one)))
        elif one.verdict not in (REPRODUCED, DIFFERS):
            ElementTree.SubElement(case, "skipped", message=xml_text(one.verdict))
        ElementTree.SubElement(case, "system-out").text = xml_text(_sentence(one))
    count_cases(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def seen_of(reading: Reading) -> str:
    """The smallest differences that would have been seen, in the cell's unit: `-1.9 / +2.1`."""
    drop, rise = (None if value is None else value / 100 for value in reading.seen)
    return seen_from(DetectableChange(drop, rise))


def _tables(check: AtlasCheck) -> list[Table]:
    rows = [_row(one) for one in check.cells if one.readings]
    if not rows:
        return []
    title = f"Cells of {check.against} that were measured"
    return [Table(title, _HEADER, rows, 1, [_HOW.format(level=check.level)])]


def _row(one: Judged) -> list[str]:
    reading = one.readings[0]
    others = [str(other) for other in one.readings[1:]]
    remarks = [*one.reasons, *(f"other figure: {other}" for other in others), *one.unverified, *one.others]
    return [
        one.cell.id,
        str(reading),
        one.cell.figure,
        f"{one.difference:+.2f}",
        seen_of(reading),
        one.verdict.upper() if one.fails else one.verdict,
        "; ".join(remarks),
    ]


def _lists(check: AtlasCheck) -> list[tuple[str, Sequence[str]]]:
    apart = [one for one in check.cells if one.verdict == NOT_COMPARABLE]
    implausible = [one for one in check.cells if one.cell.is_implausible and not one.readings]
    not_run = [one for one in check.cells if one.verdict == NOT_RUN]
    lists = [
        ("Not comparable", [f"{one.cell.id} ({one.cell.figure}): {'; '.join(one.reasons)}" for one in apart]),
        ("Implausible", [f"{one.cell.id} ({one.cell.figure}): {'; '.join(one.reasons)}" for one in implausible]),
        ("Not run", _by_reason(not_run)),
        ("Left out", check.notes),
    ]
    return [(title, lines) for title, lines in lists if lines]


def _by_reason(cells: Iterable[Judged]) -> list[str]:
    grouped: dict[str, list[str]] = {}
    for one in cells:
        grouped.setdefault("; ".join(one.reasons), []).append(one.cell.id)
    return [f"{reason}: {' '.join(names)}" for reason, names in grouped.items()]


def _sentence(one: Judged) -> str:
    told = [one.verdict, f"printed {one.cell.figure}"]
    if one.readings:
        told += [f"measured {one.readings[0]}", f"could see {seen_of(one.readings[0])}"]
    return "; ".join([*told, *one.reasons, *one.unverified, *one.others])
