"""Tasks with a joint answer and controls in the report: side by side, pooled, paired over the same items."""

import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.catalogue import COUPLING_CONTROL, COUPLING_JOINT
from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.coupling import constraint_table, coupling_table
from lm_eval_codd.reporting.coupling_plot import coupling_figure
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.stats import interval_between, mcnemar
from tests.reporting.synthetic import write_run

CIRCUIT = "il18/llada-gsm-pc"
TASKS = (*COUPLING_JOINT, *COUPLING_CONTROL)
# Without a circuit 4 of 20 are right; with one 8 more of the joint ones, and of the controls one turns each way.
BASE = [1] * 4 + [0] * 16
JOINT = [1] * 12 + [0] * 8
CONTROL = [0] + [1] * 4 + [0] * 15


def write(results, tasks=TASKS, steps=(8,), **options):
    for benchmark in tasks:
        for number in steps:
            with_circuit = JOINT if benchmark in COUPLING_JOINT else CONTROL
            settings = {"benchmark": benchmark, "steps": number, "gen_length": 64, **options}
            write_run(results, BASE, **settings)
            write_run(results, with_circuit, circuit=CIRCUIT, **settings)
    (group,) = group_runs(read_folder(results).runs)
    return group


def rows(table):
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


class TestPooled:
    def test_has_both_kinds_and_their_difference_at_each_setting(self, tmp_path):
        table = coupling_table(write(tmp_path, steps=(8, 16)))
        found = rows(table)
        assert [(row["steps"], row["tasks with"]) for row in found] == [
            (steps, kind) for steps in ("16", "8") for kind in ("joint", "control", "joint less control")
        ]
        joint, control, between = found[:3]
        assert (joint["tasks"], joint["base"], joint["CoDD"]) == ("5 of 5", "20.00", "60.00")
        assert (joint["items"], joint["better"], joint["worse"], joint["points"]) == ("100", "40", "0", "+40.00")
        assert (control["items"], control["better"], control["worse"], control["points"]) == ("100", "5", "5", "+0.00")
        assert (joint["p"], control["p"]) == ("<0.0001", "1.00")
        assert between["points"] == "+40.00"
        low, high = (float(bound) for bound in between["95% interval"].split(" to "))
        assert 25 < low < 40 < high < 55

    def test_asks_and_does_not_say_what_comes_out(self, tmp_path):
        table = coupling_table(write(tmp_path))
        assert (
            "does a circuit lift tasks with a joint answer, and leave those with one right answer alone?" in table.title
        )

    def test_p_is_of_the_items_of_all_tasks(self, tmp_path):
        # 2 better and 0 worse in each of five tasks: none alone is significant, together they are.
        for benchmark in COUPLING_JOINT:
            write_run(tmp_path, BASE, benchmark=benchmark, steps=16)
            write_run(tmp_path, [1] * 6 + [0] * 14, benchmark=benchmark, steps=16, circuit=CIRCUIT)
        (group,) = group_runs(read_folder(tmp_path).runs)
        (joint,) = rows(coupling_table(group))
        assert mcnemar(2, 0) == 0.5
        assert float(joint["p"]) == pytest.approx(mcnemar(10, 0), abs=1e-4)

    def test_says_how_many_tasks_there_are_and_why_others_are_left_out(self, tmp_path):
        write(tmp_path, tasks=TASKS[:2])
        write_run(tmp_path, BASE, benchmark=TASKS[2], steps=8, gen_length=64, prompt="one {}")
        write_run(tmp_path, JOINT, benchmark=TASKS[2], steps=8, gen_length=64, prompt="two {}", circuit=CIRCUIT)
        (group,) = group_runs(read_folder(tmp_path).runs)
        table = coupling_table(group)
        (joint,) = rows(table)
        assert joint["tasks"] == "2 of 5"
        assert any(f"left out: {TASKS[2]}: their prompts differ" in note for note in table.notes)

    def test_says_what_may_still_be_where_no_item_turned(self, tmp_path):
        for circuit in (None, CIRCUIT):
            write_run(tmp_path, BASE, benchmark=COUPLING_CONTROL[0], steps=16, circuit=circuit)
        (group,) = group_runs(read_folder(tmp_path).runs)
        table = coupling_table(group)
        assert rows(table)[0]["95% interval"] == "+0.00 to +0.00 [a]"
        # 0 of 20 has a probability of 5% where the share is 13.9 percent.
        assert pytest.approx(0.05, rel=0.01) == (1 - 0.139) ** 20
        assert any("up to 13.9 percent" in note for note in table.notes)

    def test_marks_the_best_of_a_grid(self, tmp_path):
        for frac in (0.5, 0.9):
            write_run(tmp_path, JOINT, benchmark=TASKS[0], steps=16, circuit=CIRCUIT, pc_frac=frac)
        write_run(tmp_path, BASE, benchmark=TASKS[0], steps=16)
        (group,) = group_runs(read_folder(tmp_path).runs)
        table = coupling_table(group)
        assert rows(table)[0]["tasks"] == "1 of 5 [a]"
        assert any("on the test set" in note for note in table.notes)

    def test_is_not_there_without_a_pair(self, tmp_path):
        write_run(tmp_path, BASE, benchmark=TASKS[0])
        write_run(tmp_path, BASE, benchmark="gsm8k")
        write_run(tmp_path, BASE, benchmark="gsm8k", circuit=CIRCUIT)
        for group in group_runs(read_folder(tmp_path).runs):
            assert coupling_table(group) is None


class TestConstraints:
    def test_are_those_of_each_run(self, tmp_path):
        shares = {"correct,none": 0.2, "words,none": 0.75, "order,none": 0.25}
        write_run(tmp_path, BASE, benchmark=TASKS[0], change={"results": {f"codd_{TASKS[0]}": shares}})
        (group,) = group_runs(read_folder(tmp_path).runs)
        (row,) = rows(constraint_table(group))
        assert (row["benchmark"], row["all"], row["words"], row["order"]) == (TASKS[0], "20.00", "75.00", "25.00")
        assert row["rows"] == row["columns"] == row["form"] == "-"

    def test_are_of_no_other_task(self, tmp_path):
        write_run(tmp_path, BASE, benchmark="gsm8k")
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert constraint_table(group) is None


class TestReport:
    def test_has_both_tables_in_every_format(self, tmp_path, capsys):
        write(tmp_path)
        titles = [table.title for table in build_report(read_folder(tmp_path)).tables]
        assert "joint answer" in titles[0]
        assert any("each constraint" in title for title in titles)
        for style in ("markdown", "latex", "html"):
            assert main(["report", str(tmp_path), "--format", style]) == 0
            assert "joint less control" in capsys.readouterr().out


def test_the_interval_of_a_difference_has_the_spread_of_both():
    low, high = interval_between((40, 0, 100), (5, 5, 100))
    assert (low + high) / 2 == pytest.approx(0.4, abs=0.01)
    assert (high - low) / 2 == pytest.approx(1.96 * (0.4 * 0.6 / 100 + 0.1 / 100) ** 0.5, rel=0.05)
    assert interval_between((0, 0, 10), (0, 0, 10)) == (0.0, 0.0)


class TestThePicture:
    def test_has_a_line_for_each_kind_and_system_over_the_steps(self, tmp_path):
        (axes,) = coupling_figure(write(tmp_path, steps=(2, 8))).axes
        lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
        assert lines == {
            "joint answers: backbone": ([2, 8], [20, 20]),
            "joint answers: CoDD": ([2, 8], [60, 60]),
            "controls, one right answer: backbone": ([2, 8], [20, 20]),
            "controls, one right answer: CoDD": ([2, 8], [20, 20]),
        }

    def test_is_none_of_one_number_of_steps_or_other_tasks(self, tmp_path):
        assert coupling_figure(write(tmp_path / "one")) is None
        for circuit in (None, CIRCUIT):
            for steps in (16, 32):
                write_run(tmp_path / "other", BASE, steps=steps, circuit=circuit)
        (group,) = group_runs(read_folder(tmp_path / "other").runs)
        assert coupling_figure(group) is None
