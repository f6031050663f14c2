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
    def test_every_figure_is_there_by_its_name(self, tmp_path):
        path = tmp_path / "figures.json"
        write_json([Row("decode.ratio", 31.23456, "x", ">= 30"), Row("harness.s", 1e-9)], path)
        figures = json.loads(path.read_text())["figures"]
        about = {"name": "decode.ratio", "value": 31.23, "unit": "x", "goal": ">= 30", "met": True, "note": ""}
        assert figures["decode.ratio"] == about
        assert figures["harness.s"]["value"] == 1e-9

    def test_it_says_what_it_was_measured_with(self, tmp_path):
        write_json([], tmp_path / "figures.json", command=["decode", "--seed", "3"])
        written = json.loads((tmp_path / "figures.json").read_text())
        assert written["command"] == "decode --seed 3"
        machine = written["machine"]
        assert {"processor", "cores", "threads", "python", "torch", "transformers", "code", "gpus"} <= machine.keys()
