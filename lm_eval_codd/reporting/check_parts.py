"""Pieces of a check's outputs: JUnit suites, folded parts of a summary, and what a comparison could have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lm_eval_codd.terminal.clean_text import one_line

if TYPE_CHECKING:
    from lm_eval_codd.reporting.stats import DetectableChange

__all__ = ["count_cases", "folded", "seen_from", "suite_of", "xml_text"]


def seen_from(change: DetectableChange) -> str:
    """In points: `-1.9 / +2.1`."""
    drop, rise = ("none" if value is None else f"{100 * value:.1f}" for value in change)
    return f"-{drop} / +{rise}".replace("-none", "none").replace("+none", "none")


def folded(title: str, text: str) -> str:
    """A part of a summary that is opened by its title."""
    return f"<details><summary>{_html(title)}</summary>\n\n{text}\n\n</details>"


def _html(text: str) -> str:
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;")


def suite_of(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """A new suite of test cases."""
    return ElementTree.SubElement(root, "testsuite", name=name)


def count_cases(suite: ElementTree.Element) -> None:
    """Write the suite's numbers of cases, failures and skipped ones, once all are in it."""
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))


def xml_text(text: str) -> str:
    """One line without characters that XML has not."""
    return one_line(text)
