import subprocess
import sys
from xml.etree import ElementTree

import pytest

from lm_eval_codd.__main__ import main
from tests.atlas.test_codd_tables import PAPER
from tests.reporting.synthetic import outcomes, write_run


@pytest.fixture
def results(tmp_path):
    write_run(tmp_path / "results", outcomes(1319, 427))
    write_run(tmp_path / "results", outcomes(1319, 457), circuit="il18/llada-gsm-pc")
    write_run(tmp_path / "results", outcomes(100, 40), benchmark="gpqa")
    return tmp_path / "results"


class TestReport:
    def test_prints_markdown_with_what_is_left_out(self, results, capsys):
        assert main(["report", str(results), "--table", "1"]) == 0
        out = capsys.readouterr().out
        assert "32.37 ± 1.29" in out
        assert "not in table 1: llada_gpqa_low_confidence_steps64: 100 documents, the benchmark has 448" in out

    @pytest.mark.parametrize(
        ("style", "start"), [("csv", "table,rule,"), ("latex", "\\begin{table}"), ("html", "<table>")]
    )
    def test_other_formats_are_alone_on_the_output(self, results, capsys, style, start):
        (results / "notes.txt").write_text("mine")
        assert main(["report", str(results), "--format", style]) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith(start)
        assert "no runs" not in captured.out
        assert "1 other files and folders are no runs" in captured.err

    def test_writes_a_file(self, results, tmp_path, capsys):
        path = tmp_path / "new" / "t.tex"
        assert main(["report", str(results), "--format", "latex", "--output", str(path)]) == 0
        assert path.read_text().startswith("\\begin{table}")
        assert capsys.readouterr().out == f"wrote {path}\n"

    def test_of_nothing_says_so(self, tmp_path, capsys):
        assert main(["report", str(tmp_path)]) == 2
        assert capsys.readouterr().err == f"lm-eval-codd report: no runs with a score in `{tmp_path}`\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere"], "`nowhere` is not a folder"),
            ([], "the following arguments are required: results"),
            ([".", "--table", "7"], "`--table 7` is not known; use one of 1, 2, 3, 4, 5, 6"),
            ([".", "--tabel", "1"], "unknown flag `--tabel`; did you mean `--table` or "),
        ],
    )
    def test_errors_are_one_line(self, arguments, message, capsys):
        assert main(["report", *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"lm-eval-codd report: {message}")
        assert err.count("\n") == 1

    def test_a_file_that_cannot_be_written_is_an_error(self, results, capsys):
        assert main(["report", str(results), "--output", str(results)]) == 2
        assert f"`--output {results}` is a folder; give a file" in capsys.readouterr().err


class TestCheck:
    def check(self, results, *arguments):
        return main(["check", str(results), "--against", str(PAPER), *arguments])

    def test_consistent_is_0_and_says_what_it_could_have_seen(self, results, capsys):
        assert self.check(results, "--table", "1") == 0
        out = capsys.readouterr().out
        assert "The smallest difference that could have been seen at level 0.01" in out
        assert "cells: drops of 5.1 to 5.2 points" in out
        assert out.splitlines()[-1].startswith("OK: all consistent at level 0.01; 2 cells and 1 gains")

    def test_a_regression_is_1(self, tmp_path, capsys):
        write_run(tmp_path, outcomes(1319, 300))
        assert self.check(tmp_path) == 1
        out = capsys.readouterr().out
        assert "BELOW" in out
        assert out.splitlines()[-1].startswith("REGRESSION: 1 inconsistent")

    def test_nothing_to_compare_is_2(self, tmp_path, capsys):
        assert self.check(tmp_path) == 2
        assert "nothing to compare" in capsys.readouterr().out

    def test_writes_junit(self, results, tmp_path, capsys):
        write_run(results, outcomes(1319, 300), alg="margin")
        assert self.check(results, "--table", "1", "--junit", str(tmp_path / "check.xml")) == 1
        root = ElementTree.parse(tmp_path / "check.xml").getroot()
        suites = {suite.get("name"): suite for suite in root}
        assert (suites["cells"].get("tests"), suites["cells"].get("failures")) == ("3", "1")
        (failed,) = (case for case in suites["cells"] if case.find("failure") is not None)
        assert failed.get("name") == "table1 base margin gsm8k 64"
        assert suites["refused"].find("testcase/skipped") is not None

    def test_appends_a_summary(self, results, tmp_path):
        path = tmp_path / "summary.md"
        path.write_text("before\n")
        self.check(results, "--table", "1", "--summary", str(path))
        text = path.read_text()
        assert text.startswith("before\n### ✅ OK: all consistent")
        assert text.count("<details>") == text.count("</details>") == 5

    def test_makes_and_uses_a_reference_of_its_own(self, results, tmp_path, capsys):
        path = tmp_path / "reference.yaml"
        assert main(["check", str(results), "--update", str(path)]) == 0
        assert main(["check", str(results), "--against", str(path)]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"wrote {path} with 3 runs\n")
        assert "McNemar's exact test, item by item" in out

    def test_of_an_empty_folder_leaves_a_reference_as_it_is(self, tmp_path):
        (tmp_path / "empty").mkdir()
        path = tmp_path / "reference.yaml"
        path.write_text("mine")
        assert main(["check", str(tmp_path / "empty"), "--update", str(path)]) == 2
        assert path.read_text() == "mine"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give either `--against`"),
            (["--against", "nowhere.yaml"], "`--against nowhere.yaml` is no file and no source; sources are cad, codd"),
            (["--against", "llada:x"], "`llada:x`: no such cell; `./eval.sh --paper llada --dry-run` lists them"),
            (["--against", "llada:"], "`llada:` has an empty name of a cell"),
            (["--against", "wino", "--assume", "gamma=-1"], "`--assume gamma=-1`: `gamma=-1` is out of range"),
            (["--against", "llada", "--assume", "eta=1"], "`--assume eta`: no chosen cell leaves it unsaid"),
            (["--against", str(PAPER), "--table", "3"], "`--table table3`"),
            (["--against", str(PAPER), "--level", "2"], "`--level 2` must be above 0 and below 1"),
        ],
    )
    def test_errors_are_one_line(self, results, arguments, message, capsys):
        assert main(["check", str(results), *arguments]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


class TestStart:
    @pytest.mark.parametrize("command", ["report", "check"])
    def test_neither_imports_tensors_nor_lm_eval(self, results, command):
        more = ["--against", str(PAPER)] if command == "check" else []
        code = (
            f"import sys; from lm_eval_codd.__main__ import main; main({[command, str(results), *more]!r}); "
            "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not {"torch", "transformers", "lm_eval", "datasets", "scipy", "matplotlib"} & set(done.stderr.split())

    @pytest.mark.parametrize("command", ["report", "check"])
    def test_help_shows_examples_and_exit_statuses(self, command, capsys):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        assert f"lm-eval-codd {command} results/" in out
        assert "xit" in out
