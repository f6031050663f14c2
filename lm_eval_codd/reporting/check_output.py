"""A check as text, as JUnit XML, and as the summary that GitHub shows beside a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lm_eval_codd.reporting.check_parts import count_cases, folded, seen_from, suite_of, xml_text
from lm_eval_codd.reporting.formats import markdown_line, to_markdown
from lm_eval_codd.reporting.table import Table, probability
from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from lm_eval_codd.reporting.verdict import Check, Comparison

__all__ = ["as_junit", "as_summary", "as_text"]

_HEADER = ("measured", "reference", "points", "p", "p adjusted", "seen from", "verdict", "remarks")


def as_text(check: Check) -> str:
    """Everything, the conclusion last."""
    parts = [to_markdown(table) for table in _tables(check)]
    for title, lines in _lists(check):
        parts.append("\n".join([f"{title}:", *(f"  {one_line(line)}" for line in lines)]))
    if check.cells:
        parts.append(detectable_line(check))
    return "\n\n".join([*parts, one_line(check.conclusion())])


def as_summary(check: Check) -> str:
    """GitHub-flavoured Markdown: the conclusion first, long lists folded."""
    icon = {0: "✅", 1: "❌"}.get(check.exit_status, "⚠️")
    parts = [f"### {icon} {markdown_line(check.conclusion())}"]
    if check.cells:
        parts.append(detectable_line(check))
    if check.failed:
        parts.append(to_markdown(_table("Regressions", "result", check.failed, check.level)))
    for table in _tables(check):
        parts.append(folded(table.title, to_markdown(table)))
    for title, lines in _lists(check):
        parts.append(folded(f"{title}: {len(lines)}", "\n".join(f"- {markdown_line(line)}" for line in lines)))
    return "\n\n".join(parts) + "\n"


def as_junit(check: Check) -> str:
    """A test case for each comparison; missing and refused ones are skipped tests."""
    root = ElementTree.Element("testsuites", name=xml_text(f"lm-eval-codd check against {check.against}"))
    for name, comparisons in (("cells", check.cells), ("gains", check.gains)):
        suite = suite_of(root, name)
        for comparison in comparisons:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=xml_text(comparison.label))
            if comparison.fails(check.level):
                message = f"{comparison.verdict(check.level)} the reference: {_sentence(comparison)}"
                ElementTree.SubElement(case, "failure", message=xml_text(message))
            ElementTree.SubElement(case, "system-out").text = xml_text(_sentence(comparison))
        count_cases(suite)
    for name, lines in (("missing", check.missing), ("refused", check.refused)):
        suite = suite_of(root, name)
        for line in lines:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=xml_text(line))
            ElementTree.SubElement(case, "skipped", message=name)
        count_cases(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def detectable_line(check: Check) -> str:
    """The smallest differences that the check could have seen, over all of its cells."""
    parts = [_range_of("cells", check.cells)] + ([_range_of("gains", check.gains)] if check.gains else [])
    return (
        f"The smallest difference that could have been seen at level {check.level:g}, corrected for the number of "
        f"comparisons: {'; '.join(parts)}. Smaller ones count as consistent, real or not."
    )


def _tables(check: Check) -> list[Table]:
    tables = []
    if check.cells:
        title = f"Cells against {check.against}: {check.cell_test}, Holm over {len(check.cells)}"
        tables.append(_table(title, "cell", check.cells, check.level))
    if check.gains:
        title = f"Gains of CoDD over base: {check.gain_test}, Holm over {len(check.gains)}"
        tables.append(_table(title, "gain", check.gains, check.level))
    return tables


def _table(title: str, what: str, comparisons: Sequence[Comparison], level: float) -> Table:
    rows = [_row(comparison, level) for comparison in comparisons]
    return Table(title, [what, *_HEADER], rows, 1)


def _row(comparison: Comparison, level: float) -> list[str]:
    verdict = comparison.verdict(level)
    if verdict != "consistent":
        verdict = verdict.upper() if comparison.fails(level) else verdict
    return [
        comparison.label,
        comparison.measured,
        comparison.reference,
        f"{100 * comparison.difference:+.2f}",
        probability(comparison.p),
        probability(comparison.adjusted),
        seen_from(comparison.detectable),
        verdict,
        "; ".join(comparison.marks),
    ]


def _lists(check: Check) -> list[tuple[str, Sequence[str]]]:
    lists = [
        ("Graded by (metric,filter)", check.metrics),
        ("Not compared", check.refused),
        ("Without a run", check.missing),
        ("Differs from the reference, or left out", check.notes),
    ]
    return [(title, lines) for title, lines in lists if lines]


def _range_of(name: str, comparisons: Sequence[Comparison]) -> str:
    drops = [comparison.detectable.drop for comparison in comparisons]
    seen = sorted(drop for drop in drops if drop is not None)
    if not seen:
        return f"{name}: no drop at all"
    blind = f", none at all in {len(drops) - len(seen)} of {len(drops)}" if len(seen) < len(drops) else ""
    return f"{name}: drops of {100 * seen[0]:.1f} to {100 * seen[-1]:.1f} points{blind}"


def _sentence(comparison: Comparison) -> str:
    remarks = f"; {'; '.join(comparison.marks)}" if comparison.marks else ""
    return (
        f"measured {comparison.measured}, reference {comparison.reference}, adjusted p "
        f"{probability(comparison.adjusted)}, could see {seen_from(comparison.detectable)} points{remarks}"
    )
