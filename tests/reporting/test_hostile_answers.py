"""Answers that try to leave their place on the page, and pages of very many or very long answers."""

import json
import re

import pytest

from lm_eval_codd.reporting import page as pages
from lm_eval_codd.reporting.page import build_page
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests.browser import CHROMIUM, visit
from tests.reporting.synthetic import write_run

pytest.importorskip("matplotlib")

HOSTILE = (
    "</script><script>document.title='broken'</script><!-- <script> ]]> <img src=x onerror=\"document.title='broken'\">"
    "{{data}} ${document.title='broken'} \x1b[2J\x1b]0;broken\x07 \x00 \u202egnp.exe\u2066 \u2028 \u2029 "
)
LONG = "x" * 200_000


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    results = tmp_path_factory.mktemp("results")
    write_run(results, [1, 0, 0], prompt=HOSTILE, answer=HOSTILE + "{}", name="a")
    write_run(results, [0, 1, 0], prompt=HOSTILE, answer=HOSTILE + LONG, circuit="il18/pc", name="b")
    folder = read_folder(results)
    return build_page(build_report(folder), folder, HOSTILE + "\ud800 \udc00")


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


class TestSize:
    def test_a_long_text_is_cut_in_its_middle_and_says_so(self, page):
        _, answer, _ = data_of(page)["answers"][1]["0"]
        assert len(answer) < 21_000
        assert "characters, which are in the samples file ...]" in answer
        assert answer.startswith(HOSTILE[:20])
        assert answer.endswith("x" * 10_000)

    def test_many_long_answers_stay_within_the_pages_bytes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pages, "_MAX_BYTES", 1 << 20)
        write_run(tmp_path, [1, 0] * 100, answer="y" * 15_000, name="a")
        write_run(tmp_path, [1] * 199 + [1], answer="z" * 15_000, circuit="il18/pc", name="b")
        folder = read_folder(tmp_path)
        page = build_page(build_report(folder), folder, "t")
        data = data_of(page)
        texts = sum(len(text) for answers in data["answers"] for _, *two in answers.values() for text in two)
        assert 500_000 < texts < 1 << 20
        assert data["left_out"] == 200 - len(data["documents"])
        # Those that tell the two runs apart come first.
        assert all(document["id"] % 2 for document in data["documents"])

    def test_one_document_is_shown_however_long(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pages, "_MAX_BYTES", 1)
        write_run(tmp_path, [1, 0, 1], name="a")
        folder = read_folder(tmp_path)
        assert len(data_of(build_page(build_report(folder), folder, "t"))["documents"]) == 1


SEE = """
const seen = {};
document.getElementById("filter").value = "all";
document.getElementById("filter").dispatchEvent(new Event("change"));
document.getElementById("list").querySelectorAll("button")[0].click();
const item = document.getElementById("item");
seen.title = document.title;
seen.markup = document.querySelectorAll("main script, main img[src=x], #item img").length;
seen.texts = [...item.querySelectorAll("pre")].map((one) => one.textContent);
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
seen.tall = document.getElementById("list").querySelectorAll("li").length;
tell(seen);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_hostile_answers_in_a_browser(page, tmp_path):
    seen = visit(page, SEE, tmp_path, width=390)
    assert "broken" not in seen["title"].replace("document.title='broken'", "").replace("]0;broken", "")
    assert seen["markup"] == 0
    prompt, _, first, *_ = seen["texts"]
    assert prompt.startswith(HOSTILE[:40])
    assert not set("\x00\x07\x1b\u202e\u2066") & set(prompt + first)
    assert "\ufffd" in prompt
    assert seen["wide"] <= 0
    assert seen["tall"] == 3


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_list_of_many_documents_is_drawn_in_parts(tmp_path):
    write_run(tmp_path / "runs", [1, 0] * 400, answer="{}", name="a")
    folder = read_folder(tmp_path / "runs")
    count = """
    const rows = () => document.querySelectorAll("#list li").length;
    document.getElementById("filter").value = "all";
    document.getElementById("filter").dispatchEvent(new Event("change"));
    const before = rows();
    document.querySelector("#list button.more").click();
    tell([before, rows(), document.querySelector("#list button.more") === null]);
    """
    assert visit(build_page(build_report(folder), folder, "t"), count, tmp_path) == [501, 800, True]
