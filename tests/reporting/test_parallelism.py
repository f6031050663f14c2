import math

import pytest

from lm_eval_codd.reporting.parallelism import accuracy_under_parallelism, counted
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import write_run


class TestTheScore:
    def test_of_one_point_is_a_rectangle(self):
        assert accuracy_under_parallelism([(2.0, 70.0)], 80.0) == 140.0

    def test_of_a_flat_best_line_is_the_area_under_it(self):
        assert accuracy_under_parallelism([(1.0, 80.0), (3.0, 80.0), (5.0, 80.0)], 80.0) == pytest.approx(400.0)

    def test_weighs_lost_accuracy(self):
        """Written out: 1 * 80 + (3 - 1) / 2 * (80 + 76 * exp(-3 * (1 - 76 / 80)))."""
        wanted = 80 + (80 + 76 * math.exp(-0.15))
        assert accuracy_under_parallelism([(3.0, 76.0), (1.0, 80.0)], 80.0) == pytest.approx(wanted)

    def test_leaves_out_what_lies_more_than_five_points_below_the_least_parallel(self):
        points = [(1.0, 80.0), (2.0, 74.9), (3.0, 75.0)]
        assert counted(points) == [(1.0, 80.0), (3.0, 75.0)]

    def test_counts_no_accuracy_above_the_best_twice(self):
        assert accuracy_under_parallelism([(1.0, 50.0), (2.0, 90.0)], 80.0) == pytest.approx(
            50 + (90 + 50 * math.exp(-3 * (1 - 50 / 80))) / 2
        )

    @pytest.mark.parametrize(("points", "best"), [([], 80.0), ([(1.0, 0.0)], 0.0)])
    def test_needs_a_point_and_a_best(self, points, best):
        with pytest.raises(ValueError, match="AUP needs"):
            accuracy_under_parallelism(points, best)


class TestTheTable:
    def write(self, results, right, steps, **given):
        write_run(
            results, [1] * right + [0] * (100 - right), steps=steps, config={"mean_answer_tokens": 128.0}, **given
        )

    def table(self, results):
        found = [table for table in build_report(read_folder(results)).tables if table.title.endswith("parallelism")]
        return found[0] if found else None

    def test_has_a_line_a_rule_and_system_with_and_without_end_tokens(self, tmp_path):
        for steps, base, codd in ((128, 80, 80), (64, 70, 78)):
            self.write(tmp_path, base, steps)
            self.write(tmp_path, codd, steps, circuit="pc")
        rows = self.table(tmp_path).rows
        assert rows[0] == ["gsm8k", "low_confidence", "base", "1 of 2", "1.00 to 1.00", "80.0", "320.0", "80.00"]
        codd = accuracy_under_parallelism([(1.0, 80.0), (2.0, 78.0)], 80.0)
        # Answers of 512 positions, four times as many as tokens before the end.
        ends = accuracy_under_parallelism([(4.0, 80.0), (8.0, 78.0)], 80.0)
        assert rows[1][3:] == ["2 of 2", "1.00 to 2.00", f"{codd:.1f}", f"{ends:.1f}", "80.00"]

    def test_is_not_there_without_a_curve(self, tmp_path):
        self.write(tmp_path, 80, 128)
        assert self.table(tmp_path) is None

    def test_of_nothing_right_shows_no_score(self, tmp_path):
        self.write(tmp_path, 0, 128)
        self.write(tmp_path, 0, 64)
        assert self.table(tmp_path).rows[0][5:7] == ["-", "-"]
