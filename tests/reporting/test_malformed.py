"""Results that are damaged, or written to mislead: named and left out, the others shown."""

import csv
import io
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.reporting.page import build_page
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import STAMP, outcomes, write_run

TASK = "codd_demo"
METRIC = "exact_match,none"
NASTY = "\x1b[2J\x00<script>alert(1)</script>|\u202e\ud800\n"


def change(folder: Path, path: tuple[str, ...], value: object, file: str = f"results_{STAMP}.json") -> Path:
    """Set one value in a file of a run's folder."""
    data = json.loads((folder / file).read_text())
    place = data
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    (folder / file).write_text(json.dumps(data))
    return folder / file


@pytest.fixture
def results(tmp_path):
    """Two runs that are whole."""
    write_run(tmp_path, outcomes(300, 200), benchmark="demo", name="whole")
    write_run(tmp_path, outcomes(300, 250), benchmark="demo", name="whole_pc", circuit="demo")
    return tmp_path


class TestOneMalformedResult:
    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (("results", TASK, METRIC), float("nan"), "exact_match,none is nan, which is no share"),
            (
                ("results", TASK, METRIC),
                5.0,
                "exact_match,none is 5.0, which is no share (0 to 1); tables hold",
            ),
            (("results", TASK, METRIC), -0.1, "exact_match,none is -0.1, which is no share"),
            (
                ("results", TASK, "exact_match_stderr,none"),
                float("inf"),
                "the standard error of exact_match,none is inf",
            ),
            (("config", "settings", "num_steps"), [1], "the setting `num_steps` is [1], which is not a whole number"),
            (("config", "settings", "alg"), {}, "the setting `alg` is {}, which is not text"),
            (("config", "settings", "pc_frac"), float("nan"), "the setting `pc_frac` is nan, which is not a number"),
            (("config", "settings"), "many", "`config.settings` is 'many', which is not a mapping"),
            (("n-samples", TASK, "effective"), "all", f"`n-samples.{TASK}.effective` is 'all', which is not a whole"),
            (("n-samples", TASK, "original"), -1, f"`n-samples.{TASK}.original` is -1, which is not a whole"),
            (("n-samples",), 3, "`n-samples` is 3, which is not a mapping"),
            (("n-shot", TASK), "five", f"`n-shot.{TASK}` is 'five'"),
            (("config", "world_size"), "x", "`config.world_size` is 'x'"),
            (("config", "mean_nfe"), [8], "`config.mean_nfe` is [8]"),
            (("config", "limit"), "half", "`config.limit` is 'half'"),
            (("config", "warnings"), "none", "`config.warnings` is 'none', which is not a list of texts"),
            (("config", "family"), ["llada"], "`config.family` is ['llada'], which is not text"),
            (("configs", TASK, "description"), 7, f"`configs.{TASK}.description` is 7"),
            (("configs", TASK, "metadata"), [], f"`configs.{TASK}.metadata` is [], which is not a mapping"),
            (("date",), "today", "`date` is 'today'"),
            (("results",), [], "`results` is [], which is not a mapping"),
        ],
    )
    def test_is_named_and_left_out_and_the_others_are_shown(self, results, capsys, path, value, message):
        file = change(write_run(results, outcomes(300, 100), benchmark="demo", steps=128, name="broken"), path, value)
        assert main(["report", str(results), "--html", str(results / "page.html")]) == 0
        out = capsys.readouterr().out
        assert "83.33" in out
        assert "demo 128" not in out
        (line,) = [line for line in out.splitlines() if "left out: " in line]
        assert str(file) in line
        assert message in line

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("identity", "config", "num_steps"), "x"),
            (("identity", "config"), 3),
            (("identity", "samples"), ["a", 2]),
            (("identity", "family"), []),
            (("seconds",), "long"),
            (("status",), ["finished"]),
            (("results",), 3),
        ],
    )
    def test_so_is_a_record(self, results, capsys, path, value):
        file = change(write_run(results, [1, 0], benchmark="demo", steps=128, name="broken"), path, value, "run.json")
        assert main(["report", str(results)]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out: " in line]
        assert str(file) in line

    @pytest.mark.parametrize("text", ["[" * 200_000, '{"results": ' * 100_000, "", "null", "\ufeff{}"])
    def test_so_is_a_file_that_is_no_json(self, results, capsys, text):
        broken = write_run(results, [1, 0], benchmark="demo", steps=128, name="broken") / f"results_{STAMP}.json"
        broken.write_text(text)
        assert main(["report", str(results)]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out: " in line]
        assert str(broken) in line

    def test_of_two_tasks_one_is_left(self, tmp_path):
        folder = write_run(tmp_path, [1, 0], benchmark="demo", name="two", with_samples=False)
        (folder / "run.json").unlink()
        data = json.loads((folder / f"results_{STAMP}.json").read_text())
        for part in ("results", "configs", "n-samples", "n-shot"):
            data[part]["codd_gsm8k"] = json.loads(json.dumps(data[part][TASK]))
        data["n-samples"]["codd_gsm8k"]["effective"] = "all"
        (folder / f"results_{STAMP}.json").write_text(json.dumps(data))
        found = read_folder(tmp_path)
        assert [run.task for run in found.runs] == [TASK]
        assert "`n-samples.codd_gsm8k.effective` is 'all'" in found.problems[0]

    def test_check_says_so_too(self, results, capsys):
        assert main(["check", str(results), "--update", str(results / "reference.yaml")]) == 0
        file = change(results / "whole", ("results", TASK, METRIC), float("nan"))
        assert main(["check", str(results), "--against", str(results / "reference.yaml")]) == 0
        out = capsys.readouterr().out
        assert f"left out: {file}" in out
        assert "1 cells" in out

    def test_a_setting_that_a_version_did_not_write_has_its_default(self, results):
        for name in ("alg", "cfg_scale", "pc_temperature", "cache"):
            data = json.loads((results / "whole" / f"results_{STAMP}.json").read_text())
            del data["config"]["settings"][name]
            (results / "whole" / f"results_{STAMP}.json").write_text(json.dumps(data))
        folder = read_folder(results)
        (group,) = build_report(folder).groups
        assert len(group.pairs()) == 1


class TestDamagedSamples:
    @pytest.mark.parametrize(
        "text", ["{", '{"doc_id": "x", "filter": "none", "doc_hash": "", "prompt_hash": ""}\n', ""]
    )
    def test_leave_the_page_without_that_runs_answers(self, results, text):
        path = results / "whole" / f"samples_{TASK}_{STAMP}.jsonl"
        path.write_text(text + path.read_text() * (text == ""))
        folder = read_folder(results)
        page = build_page(build_report(folder), folder, "title")
        assert ("no answers of whole in this page: " in page) == (text != "")
        assert "answer 299" in page

    def test_a_score_that_is_no_number_is_one(self, results):
        path = results / "whole" / f"samples_{TASK}_{STAMP}.jsonl"
        path.write_text(path.read_text().replace('"exact_match": 1.0', '"exact_match": NaN'))
        folder = read_folder(results)
        assert "no answers of whole in this page: " in build_page(build_report(folder), folder, "title")


class Scripts(HTMLParser):
    """Counts elements, and gathers the text of what is no script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


class TestNames:
    @pytest.fixture
    def nasty(self, results):
        """A run whose names hold what terminals, pages and files would take for something else."""
        folder = write_run(
            results, outcomes(300, 100), benchmark="demo", steps=128, checkpoint=f"a/{NASTY}", name="a\x1b[31m|b"
        )
        change(folder, ("config", "warnings"), [NASTY])
        change(folder, ("config", "device_name"), NASTY)
        change(folder, ("config", "family"), f"../{NASTY}")
        return results

    @pytest.mark.parametrize("style", ["markdown", "latex", "html", "csv"])
    def test_are_clean_in_every_format(self, nasty, capsys, style):
        assert main(["report", str(nasty), "--format", style]) == 0
        out = capsys.readouterr().out
        out.encode("utf-8")
        assert "alert(1)" in out
        assert not {"\x1b", "\x00", "\u202e"} & set(out)
        if style == "csv":
            widths = {len(line) for line in csv.reader(io.StringIO(out))}
            assert len(widths) == 1
        if style == "html":
            parser = Scripts()
            parser.feed(out)
            assert "script" not in parser.tags
        if style == "markdown":
            assert "<script>" not in out.replace("\\<", "")

    def test_are_clean_in_the_page_and_its_pictures(self, nasty):
        page = nasty / "page.html"
        plots = nasty / "plots"
        assert main(["report", str(nasty), "--html", str(page), "--plots", str(plots)]) == 0
        parser = Scripts()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.tags.count("script") == 2
        for picture in plots.glob("*.svg"):
            ElementTree.fromstring(picture.read_bytes())
        assert {path.parent for path in nasty.rglob("*.svg")} == {plots}

    def test_are_clean_in_what_check_writes(self, nasty, capsys):
        reference, junit, summary = nasty / "r.yaml", nasty / "j.xml", nasty / "s.md"
        assert main(["check", str(nasty), "--update", str(reference)]) == 0
        files = ["--junit", str(junit), "--summary", str(summary)]
        assert main(["check", str(nasty), "--against", str(reference), *files]) == 0
        ElementTree.fromstring(junit.read_bytes())
        for text in (capsys.readouterr().out, summary.read_text(encoding="utf-8")):
            assert not {"\x1b", "\x00", "\u202e"} & set(text)

    def test_a_folder_that_is_no_utf8_is_shown(self, results, capfd):
        write_run(results, [1, 0], benchmark="demo", steps=128, name="plain").rename(
            os.fsdecode(os.fsencode(results) + b"/not\xffutf8")
        )
        assert main(["report", str(results), "--format", "csv"]) == 0
        assert "not\ufffdutf8" in capfd.readouterr().out
