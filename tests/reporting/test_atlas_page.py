"""The page of published figures: what is in it, and that a browser shows it, wide and narrow."""

import json
import re

import pytest

from lm_eval_codd.atlas.plan import assumable, plan_cells
from lm_eval_codd.reporting.atlas_page import build_atlas_page
from lm_eval_codd.reporting.cli import report_main
from lm_eval_codd.reporting.runs import read_folder
from tests.atlas.results_of import right_answers, write_cell
from tests.browser import CHROMIUM, visit
from tests.reporting.synthetic import outcomes, write_run

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"> {}"
MEASURED = "table1.base.margin.gsm8k.64"
SOURCES = ("codd", "llada", "wino")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    results = tmp_path_factory.mktemp("results")
    write_run(results, outcomes(1319, 534), alg="margin", steps=64, prompt=HOSTILE, answer=HOSTILE, name="measured")
    lower = plan_cells(["llada:llada-base.gsm8k.pure1024"]).ready[0]
    write_cell(results, lower, right=right_answers(lower)[0] - 200)
    return build_atlas_page(read_folder(results), "Figures <here>", level=0.01, names=SOURCES)


@pytest.fixture(scope="module")
def data(page) -> dict:
    (found,) = re.findall(r'<script id="data" type="application/json">(.*)</script>', page)
    return json.loads(found)


def cell(data, name):
    return next(one for one in data["cells"] if one["id"] == name)


class TestThePage:
    def test_has_every_cell_with_its_verdict(self, data):
        assert len(data["cells"]) == 286 + 129 + 11
        verdicts = {one["id"]: one["verdict"] for one in data["cells"]}
        assert verdicts[MEASURED] == "reproduced"
        assert verdicts["llada-base.gsm8k.pure1024"] == "differs"
        assert verdicts["wino.gsm8k.eb"] == "implausible"
        assert data["benchmarks"][0] == "gsm8k"

    def test_has_what_runs_a_cell_or_what_must_be_assumed(self, data):
        by_name, by_flags = cell(data, "llada-base.gsm8k.pure1024")["commands"]
        assert by_name == "./eval.sh --paper llada:llada-base.gsm8k.pure1024"
        assert by_flags.startswith("./eval.sh --run '--model_alias llada --llada_ckpt GSAI-ML/LLaDA-8B-Base ")
        (assumed,) = cell(data, "table1.codd.margin.gsm8k.64")["commands"]
        assert assumed.endswith("--assume pc_frac=...,pc_temperature=...")
        unstated = [one for one in plan_cells(["llada"]).unstated if not assumable(one.recipe.unstated)]
        assert unstated and all(cell(data, one.cell.id)["commands"] == [] for one in unstated)

    def test_has_answers_and_what_others_measured(self, data):
        answers = cell(data, MEASURED)["answers"]
        assert len(answers) == 20
        assert answers[3][0] == 3 and answers[3][3].endswith(" 3")
        assert cell(data, "llada-base.gsm8k.pure1024")["others"][0]["by"] == "dLLM"

    def test_asks_for_nothing_outside_and_has_no_markup_of_an_answer(self, page):
        assert "onerror" in page and "<img" not in page
        assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
        assert "default-src 'none'" in page and "<title>Figures &lt;here&gt;</title>" in page

    def test_is_written_by_the_report_for_a_folder_without_runs_too(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("lm_eval_codd.reporting.atlas_page.source_names", lambda: ("wino",))
        (tmp_path / "results").mkdir()
        path = tmp_path / "new" / "atlas.html"
        assert report_main([str(tmp_path / "results"), "--atlas", str(path)]) == 2
        assert f"wrote {path}" in capsys.readouterr().err and "wino.gsm8k.eb" in path.read_text()


SCRIPT = """
const marks = [...document.querySelectorAll('.marks .mark')];
const count = (name) => marks.filter((mark) => mark.dataset.verdict === name && !mark.hidden).length;
const before = count('reproduced');
const first = document.querySelector('#cell h2').textContent;
document.querySelector('#legend input').click();
const hidden = count('reproduced');
document.querySelector('#legend input').click();
marks.find((mark) => mark.title.startsWith('llada-base.gsm8k.pure1024:')).click();
const text = document.getElementById('cell').textContent;
document.querySelector('#cell .link').click();
tell({
  title: document.title, marks: marks.length, before, hidden, first, text,
  other: document.querySelector('#cell h2').textContent,
  current: document.querySelectorAll('.mark[aria-current=true]').length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it(page, width, tmp_path):
    seen = visit(page, SCRIPT, tmp_path, width)
    assert seen["title"] == "Figures <here>"
    assert (seen["marks"], seen["before"], seen["hidden"]) == (426, 1, 0)
    assert seen["first"] == f"{MEASURED}: 40.41"
    assert "differs" in seen["text"] and "gen_length" in seen["text"]
    assert "./eval.sh --paper llada:llada-base.gsm8k.pure1024" in seen["text"]
    assert "Printed for GSAI-ML/LLaDA-8B-Base on gsm8k" in seen["text"]
    assert not seen["other"].startswith("llada-base.gsm8k.pure1024:") and seen["current"] == 1
    assert seen["overflow"] <= 0
