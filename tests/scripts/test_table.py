import json
import math

import pytest
from benchmarks.table import Row, show, write_json


class TestGoals:
    @pytest.mark.parametrize(
        ("value", "goal", "met"),
        [
            (30.0, ">= 30", True),
            (29.9, ">= 30", False),
            (5.0, "<= 5", True),
            (5.1, "<= 5", False),
            (0.0, "= 0", True),
            (12.5, "= 0", False),
            (math.nan, "<= 5", False),
            (3.0, "", None),
            ("refused", "", None),
        ],
    )
    def test_a_figure_is_held_against_its_goal(self, value, goal, met):
        assert Row("figure", value, goal=goal).met is met

    @pytest.mark.parametrize("row", [Row("a.b", 1.0, goal="at least 3"), Row("a.b", "refused", goal=">= 3")])
    def test_a_goal_that_cannot_be_compared_is_an_error(self, row):
        with pytest.raises(ValueError, match=r"`goal=.*` of `a\.b`"):
            _ = row.met

    def test_the_table_says_met_or_missed(self, capsys):
        show([Row("fast", 31.24, "x", ">= 30"), Row("slow", 12345.6, "ms", "<= 5", "a note"), Row("word", "none")])
        heading, fast, slow, word = capsys.readouterr().out.splitlines()
        assert heading.split() == ["figure", "value", "goal", "note"]
        assert fast.split() == ["fast", "31.24", "x", ">=", "30", "met"]
        assert slow.split() == ["slow", "12,350", "ms", "<=", "5", "MISSED", "a", "note"]
        assert word.split() == ["word", "none"]


class TestJson:
    def test_figures_are_nested_by_the_dots(self, tmp_path):
        path = tmp_path / "figures.json"
        rows = [Row("decode.ratio", 31.23456, "x", ">= 30"), Row("decode.exact.nfe", 40), Row("harness.s", 1e-9)]
        write_json(rows, path)
        written = json.loads(path.read_text())
        assert written["decode"] == {"ratio": 31.23, "exact": {"nfe": 40}}
        assert written["harness"]["s"] == 1e-9
        assert written["about"]["decode.ratio"] == {"unit": "x", "goal": ">= 30", "met": True, "note": ""}

    def test_it_says_what_it_was_measured_with(self, tmp_path):
        write_json([], tmp_path / "figures.json", command=["decode", "--seed", "3"])
        written = json.loads((tmp_path / "figures.json").read_text())
        assert written["command"] == "decode --seed 3"
        machine = written["machine"]
        assert {"processor", "cores", "threads", "python", "torch", "transformers", "code", "gpus"} <= machine.keys()

    @pytest.mark.parametrize("names", [("a", "a"), ("a.b", "a"), ("a", "a.b")])
    def test_two_figures_in_one_place_are_an_error(self, tmp_path, names):
        with pytest.raises(ValueError, match="figure `a"):
            write_json([Row(name, 1.0) for name in names], tmp_path / "figures.json")
