from pathlib import Path

import pytest

from lm_eval_codd.atlas.codd_tables import read_published

PAPER = Path(__file__).parents[2] / "results" / "paper" / "codd_tables.yaml"
ROUNDED = {
    ("table2", "base", "margin", "gsm8k", 64),
    ("table6", "CoDD", "random", "gsm8k", 64),
    ("table6", "CoDD", "entropy", "gsm8k", 256),
}


@pytest.fixture(scope="module")
def cells():
    return read_published(PAPER)


def place(cell):
    return cell.table, cell.system, cell.alg, cell.benchmark, cell.steps


class TestThePapersTables:
    def test_have_all_their_cells(self, cells):
        count = {table: sum(cell.table == table for cell in cells) for table in {cell.table for cell in cells}}
        assert count == {"table1": 72, "table2": 60, "table6": 72, "table4": 46, "table5": 36}

    def test_are_k_of_n_within_rounding(self, cells):
        """A figure with two decimals is some k of n; the three that are not were rounded to one decimal."""
        off = {place(cell) for cell in cells if abs(cell.percent - 100 * cell.correct / cell.n) > 0.0051}
        assert off == ROUNDED
        assert all(abs(cell.percent - 100 * cell.correct / cell.n) <= 0.051 for cell in cells)

    def test_mark_those_that_were_rounded(self, cells):
        assert {place(cell) for cell in cells if cell.is_rounded} == ROUNDED

    def test_mark_the_best_of_a_grid(self, cells):
        best = [cell for cell in cells if "best of grid" in cell.marks]
        assert {(cell.table, cell.system) for cell in best} == {("table1", "CoDD"), ("table6", "CoDD")}
        assert len(best) == 36 + 24

    def test_mark_what_is_suspect(self, cells):
        suspect = [place(cell)[:4] for cell in cells if cell.is_suspect]
        assert suspect.count(("table2", "base", "margin", "gpqa")) == 3
        assert suspect.count(("table2", "base", "random", "gsm8k")) == 1
        assert suspect.count(("table6", "CoDD", "random", "gsm8k")) == 1
        assert ("table2", "CoDD", "entropy", "gpqa") not in suspect
        assert {cell.alg for cell in cells if cell.table == "table5" and cell.is_suspect} == {"low_confidence"}

    def test_codd_cells_of_table_1_are_the_best_of_table_4(self, cells):
        """What `best of grid` says, on the two rules that Table 4 has."""
        for cell in cells:
            if cell.table == "table1" and cell.system == "CoDD" and cell.benchmark == "gpqa" and cell.alg != "margin":
                grid = [c.percent for c in cells if c.table == "table4" and (c.alg, c.steps) == (cell.alg, cell.steps)]
                assert cell.percent == max(grid)


TABLE = """
benchmarks: {gsm8k: {rows: 3}}
tables: {table1: {model: llada, paradigm: block, rows: [{system: llada, alg: margin, acc: {gsm8k: {64: 1.5}}}]}}
"""


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [", "line [12], is no YAML"),
            ("a: " + "[" * 100_000, "line 1, is nested more than 100 levels deep"),
            ("{a: " * 50_000, "is nested more than 100 levels deep"),
            (
                "benchmarks: {}\ntables: &all\n  table1: *all\n",
                r"line 3, refers to itself \(`\*all` inside",
            ),
            ("a: 2026-13-01", "is no YAML: month must be in 1..12"),
            ("- 1", "holds no mapping"),
            ("tables: {}", "no file of references"),
            ("benchmarks: {gsm8k: {rows: 3}}\ntables: {table1: {rows: [{acc: {gsm8k: {64: 1.0}}}]}}", "laid out"),
            ("benchmarks: [gsm8k]\ntables: {}", "laid out"),
            ("benchmarks: {gsm8k: 3}\ntables: {}", "laid out"),
            (TABLE.replace("1.5", "[1.5]"), r"laid out .*: the percent of .* is \[1.5\]"),
            (TABLE.replace("rows: 3", "rows: 0"), "laid out .*: the n of .* is 0"),
            (TABLE.replace("64:", "many:"), "laid out .*: the steps of .* is 'many'"),
        ],
    )
    def test_are_refused_in_one_line(self, tmp_path, text, message):
        path = tmp_path / "other.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            read_published(path)
        assert "\n" not in str(error.value)
