"""Links, headings and paths in README.md and the other pages are there."""

import re
from functools import cache
from pathlib import PurePosixPath

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, spans

_PATH = re.compile(r"(\./)?[\w.*-]+(/[\w.*-]+)*(/|\.(py|sh|yaml|md|cfg|toml|txt|jsonl|json|csv|png|html))")
_OF_ANY_NAME = re.compile(r"\b(NAME|SOURCE)\b")
# Of other repositories, of a user's own data and checkpoints, of the folders that runs write, and patterns.
_ELSEWHERE = {
    *("eval.py", "LLaDA/decoding.py", "dataset/countdown_cd3_test.jsonl", "dataset/4x4_test_sudoku.csv"),
    *("open-dcoder-0.5B/", "buggy_datasets/", "ptb/validation.jsonl", "lambada/test.jsonl", "crb.jsonl"),
    *("gpqa_synthetic/train.jsonl", "adapter_config.json", "../", "results_*.json", "log.txt", "progress.json"),
}


@cache
def places() -> frozenset[str]:
    """Every way to name a file or a folder of the project: its path from any folder above it on."""
    folders = ("lm_eval_codd", "tests", "docs", "scripts", "tasks", "results")
    paths = [ROOT, *ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    parts = [path.relative_to(ROOT).parts for path in paths]
    return frozenset("/".join(one[first:]) for one in parts for first in range(len(one)))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in links(page):
        name, _, anchor = target.partition("#")
        found = (ROOT / page).parent / name if name else ROOT / page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(str(PurePosixPath(found.resolve().relative_to(ROOT)))), target


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_backticks_is_there(page):
    named = {span for span in spans(page) if _PATH.fullmatch(span) and not _OF_ANY_NAME.search(span)} - _ELSEWHERE
    assert {path for path in named if path.removeprefix("./").rstrip("/") not in places()} == set()


def test_pages_have_links_and_paths_to_look_at():
    assert sum(len(links(page)) for page in PAGES) > 100
    named = {span for page in PAGES for span in spans(page) if _PATH.fullmatch(span)}
    assert len(named) > 50
    assert named >= _ELSEWHERE


def test_every_page_of_docs_is_linked_from_the_readme():
    linked = set(links("README.md"))
    assert {page for page in PAGES if page.startswith("docs/")} <= {target.partition("#")[0] for target in linked}


def test_anchors_are_those_of_github(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("# A `b_c`, d's (e)\n## [Link](x.md) / two\n## Twice\n## Twice\n```\n# no\n```\n")
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    assert anchors("page.md") == {"a-b_c-ds-e", "link--two", "twice", "twice-1"}
