import json
import re

import pytest

from lm_eval_codd.reporting.frame import as_script_data
from lm_eval_codd.reporting.page import build_page
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests.browser import CHROMIUM, visit
from tests.reporting.synthetic import outcomes, write_run

pytest.importorskip("matplotlib")

HOSTILE = (
    "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"> {} \u2028 &amp;"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    results = tmp_path_factory.mktemp("results")
    write_run(results, [1, 1, 0, 0, 0], prompt=HOSTILE, answer="A says {}", name="a")
    write_run(results, [1, 0, 1, 1, 0], prompt=HOSTILE, answer=HOSTILE, circuit="il18/pc", name="b")
    write_run(results, [1, 0, 0, 0, 0], steps=128, prompt=HOSTILE, name="c")
    folder = read_folder(results)
    return build_page(build_report(folder), folder, "Results <here>")


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


class TestTheData:
    def test_cannot_end_its_script(self):
        text = as_script_data({"a": "</script><!-- & \u2028 \ud800"})
        assert not set("<>&\u2028") & set(text)
        assert json.loads(text)["a"].startswith("</script><!-- & \u2028")

    def test_has_every_run_with_its_settings_and_answers(self, page):
        data = data_of(page)
        assert [run["name"] for run in data["runs"]] == ["a", "b", "c"]
        assert data["runs"][1]["settings"]["pc_frac"] == 0.3
        assert [score for score, *_ in data["answers"][0].values()] == [1.0, 1.0, 0.0, 0.0, 0.0]
        assert len(data["documents"]) == 5
        assert data["documents"][0]["prompt"] == HOSTILE.replace("{}", "0")
        assert data["left_out"] == 0

    def test_has_of_a_decoder_the_settings_that_it_reads(self, tmp_path):
        write_run(tmp_path, [1, 0], name="cad", decoder="cad")
        folder = read_folder(tmp_path)
        (run,) = data_of(build_page(build_report(folder), folder, "t"))["runs"]
        assert next(iter(run["settings"].items())) == ("decoder", "cad")
        assert {"max_per_step", "threshold", "gen_length"} <= run["settings"].keys()
        assert not {"variant", "eta", "alg", "num_steps", "pc_frac"} & run["settings"].keys()

    def test_prefers_the_documents_where_base_and_codd_differ(self, tmp_path, monkeypatch):
        monkeypatch.setattr("lm_eval_codd.reporting.page._MAX_ANSWERS", 0)
        monkeypatch.setattr("lm_eval_codd.reporting.page._LEAST_A_RUN", 2)
        write_run(tmp_path, [1, 1, 1, 0, 1], name="a")
        write_run(tmp_path, [1, 1, 1, 1, 0], circuit="il18/pc", name="b")
        folder = read_folder(tmp_path)
        data = data_of(build_page(build_report(folder), folder, "t"))
        assert sorted(document["id"] for document in data["documents"]) == [3, 4]
        assert data["left_out"] == 3


class TestApproximateRuns:
    def test_say_so_where_runs_are_listed_by_their_steps(self, tmp_path):
        write_run(tmp_path, [1, 0], steps=64)
        write_run(tmp_path, [1, 0], steps=64, cache="dual", name="cached")
        folder = read_folder(tmp_path)
        page = build_page(build_report(folder), folder, "Results")
        data = json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
        assert {run["name"]: run["steps"] for run in data["runs"]}["cached"] == "64 cache=dual †"
        assert sorted(str(run["steps"]) for run in data["runs"]) == ["64", "64 cache=dual †"]


class TestThePage:
    def test_asks_for_nothing_outside_of_itself(self, page):
        assert "default-src 'none'" in page
        skeleton = page.replace(re.search(r'<script id="data".*?</script>', page, re.DOTALL)[0], "")
        assert not re.search(r"https?://|src=|@import|url\(", skeleton)


SCRIPT = """
const log = [];
const note = (name, value) => log.push([name, value]);
const by = (id) => document.getElementById(id);
const change = (id, value) => { by(id).value = value; by(id).dispatchEvent(new Event("change")); };
note("title", document.title);
note("tables", document.querySelectorAll("#tables table").length);
note("images", [...document.querySelectorAll("#plots img")].every((image) => image.src.startsWith("data:")));
const names = () => [...document.querySelectorAll("#runs tr.run td:first-child")].map((cell) => cell.textContent);
const sort = (name) => [...document.querySelectorAll("#runs th button")].find((b) => b.textContent === name).click();
const heads = [...document.querySelectorAll("#runs th")].map((head) => head.textContent);
const firstRun = [...document.querySelectorAll("#runs tr.run")][0];
note("listed", Object.fromEntries([...firstRun.children].map((cell, i) => [heads[i], cell.textContent])));
sort("percent"); note("ascending", names());
sort("percent"); note("descending", names());
note("aria", document.querySelector("#runs th[aria-sort]").getAttribute("aria-sort"));
document.querySelector("#runs tr.run").click();
note("settings", document.querySelector("#runs .details").textContent.includes("pc_temperature"));
note("chosen", [by("run-a").selectedOptions[0].text, by("run-b").selectedOptions[0].text]);
const listed = () => [...by("list").querySelectorAll("button")].map((button) => button.textContent);
note("differ", listed());
change("filter", "a"); note("only a", listed());
change("filter", "all"); note("all", listed().length);
by("list").querySelectorAll("button")[2].click();
note("item", [...by("item").querySelectorAll("pre")].map((pre) => pre.textContent));
note("verdicts", [...by("item").querySelectorAll("h3 span")].map((span) => span.textContent));
by("search").value = "A says 4"; by("search").dispatchEvent(new Event("input"));
note("search", listed());
note("injected", document.querySelectorAll("main script, #item img").length);
tell(Object.fromEntries(log));
"""


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory) -> dict:
    return visit(page, SCRIPT, tmp_path_factory.mktemp("browser"))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
class TestInABrowser:
    def test_it_loads(self, seen):
        assert seen["title"] == "Results <here>"
        assert seen["tables"] >= 4
        assert seen["images"]

    def test_it_sorts(self, seen):
        assert seen["ascending"] == ["c", "a", "b"]
        assert seen["descending"] == ["b", "a", "c"]
        assert seen["aria"] == "descending"

    def test_it_lists_runs_with_their_metric_and_how_many_answers_it_could_not_read(self, seen):
        assert seen["listed"]["metric"] == "exact_match,flexible-extract"
        assert seen["listed"]["percent"] == "40"
        assert seen["listed"]["unreadable"] == "0"

    def test_it_shows_a_runs_settings(self, seen):
        assert seen["settings"]

    def test_it_starts_with_a_base_and_its_codd(self, seen):
        assert seen["chosen"] == ["base, 64 steps: 40.0 %", "CoDD, 64 steps: 60.0 %"]

    def test_it_filters(self, seen):
        assert seen["differ"] == ["1  A ✓  B ✗", "2  A ✗  B ✓", "3  A ✗  B ✓"]
        assert seen["only a"] == ["1  A ✓  B ✗"]
        assert seen["all"] == 5
        assert seen["search"] == ["4  A ✗  B ✗"]

    def test_it_shows_an_item_with_both_answers_as_text(self, seen):
        prompt, target, *answers = seen["item"]
        assert (prompt, target) == (HOSTILE.replace("{}", "2"), "target 2")
        assert answers == ["A says 2", "2", HOSTILE.replace("{}", "2"), "2"]
        assert seen["verdicts"] == ["wrong", "right"]
        assert seen["injected"] == 0


def test_the_file_itself_has_title_and_order(tmp_path):
    write_run(tmp_path, outcomes(20, 10))
    folder = read_folder(tmp_path)
    page = build_page(build_report(folder), folder, "A <b> {{data}}\x1b")
    assert "<title>A &lt;b&gt; &#123;&#123;data}}\ufffd</title>" in page
    places = [page.index(f'<section id="{name}">') for name in ("plots", "items", "tables", "runs")]
    assert places == sorted(places)


TEMPLATES = """
const chosen = (name) => document.getElementById(name).selectedOptions[0].text;
tell({ a: chosen("run-a"), b: chosen("run-b"), count: document.getElementById("count").textContent });
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_runs_of_two_templates_are_never_chosen_to_stand_side_by_side(tmp_path):
    """The widest gap is between the base of one template and CoDD of the other, which share no prompt."""
    results = tmp_path / "results"
    for template, base, codd in (("paper", 2, 3), ("stock", 8, 9)):
        for circuit, right in ((None, base), ("il18/pc", codd)):
            name = f"{template}{circuit is None}"
            folder = write_run(
                results, [1] * right + [0] * (10 - right), circuit=circuit, name=name, prompt=f"{template} {{}}"
            )
            (path,) = folder.glob("results_*.json")
            data = json.loads(path.read_text())
            if template != "paper":
                data["configs"]["codd_gsm8k"]["metadata"]["template"] = template
            path.write_text(json.dumps(data))
    folder = read_folder(results)
    found = visit(build_page(build_report(folder), folder, "t"), TEMPLATES, tmp_path)
    assert found["count"].startswith("1 of 10 documents that both runs answered")
    assert found["a"].startswith("base") and found["b"].startswith("CoDD")
    assert ("template=stock" in found["a"]) == ("template=stock" in found["b"])
