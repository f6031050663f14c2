import math
from itertools import product

import numpy as np
import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.reporting.equivalence import LEVEL, equivalence_of, score_statistic
from lm_eval_codd.reporting.formats import to_markdown
from lm_eval_codd.reporting.pairs import Pair, compare_outcomes, compare_runs
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.samples import Key
from tests.reporting.synthetic import outcomes, write_run

scipy_stats = pytest.importorskip("scipy.stats")


def pair(better: int, worse: int, n: int):
    keys = [Key(number, "d", "p") for number in range(n)]
    first = [0.0] * better + [1.0] * worse + [1.0] * (n - better - worse)
    second = [1.0] * better + [0.0] * worse + [1.0] * (n - better - worse)
    return compare_outcomes(dict(zip(keys, first, strict=True)), dict(zip(keys, second, strict=True)))


class TestTheScoreTest:
    @pytest.mark.parametrize(("better", "worse", "n", "shift"), [(3, 9, 40, 0.05), (0, 2, 30, -0.1), (6, 1, 25, 0.2)])
    def test_has_the_variance_of_the_likeliest_share_under_the_hypothesis(self, better, worse, n, shift):
        """Found by numbers here, in closed form there."""
        optimize = pytest.importorskip("scipy.optimize")

        def loss(share):
            up, rest = share + shift, 1 - 2 * share - shift
            chances = ((better, up), (worse, share), (n - better - worse, rest))
            if any(chance < 0 or (count and chance == 0) for count, chance in chances):
                return math.inf
            return -sum(count * math.log(chance) for count, chance in chances if count)

        lowest, highest = max(0.0, -shift), (1 - shift) / 2
        share = optimize.minimize_scalar(loss, bounds=(lowest, highest), options={"xatol": 1e-12}, method="bounded").x
        wanted = (better - worse - n * shift) / math.sqrt(n * (2 * share + shift - shift**2))
        assert score_statistic(better, worse, n, shift) == pytest.approx(wanted, rel=1e-4)

    def test_of_no_difference_is_mcnemars_statistic(self):
        assert score_statistic(12, 5, 80, 0.0) == pytest.approx((12 - 5) / math.sqrt(12 + 5))

    @pytest.mark.parametrize("turning", [0.1, 0.3])
    def test_calls_no_difference_of_the_margin_equivalent_more_often_than_it_may(self, turning):
        """Over every outcome of 60 items whose true difference is the margin itself."""
        n, margin = 60, 0.1
        up, down = (turning + margin) / 2, (turning - margin) / 2
        wrong = 0.0
        for better, worse in product(range(n + 1), range(n + 1)):
            if better + worse <= n and equivalent(better, worse, n, margin):
                wrong += scipy_stats.multinomial.pmf([better, worse, n - better - worse], n, [up, down, 1 - up - down])
        assert wrong < LEVEL + 0.015


def equivalent(better, worse, n, margin):
    lower = score_statistic(better, worse, n, -margin) > scipy_stats.norm.ppf(1 - LEVEL)
    return lower and score_statistic(better, worse, n, margin) < scipy_stats.norm.ppf(LEVEL)


class TestTheVerdict:
    @pytest.mark.parametrize(
        ("better", "worse", "n", "verdict"),
        [
            (0, 0, 300, "equivalent"),
            (0, 0, 100, "cannot tell (needs n = 268)"),
            (40, 45, 5000, "equivalent"),
            (3, 20, 300, "worse"),
            (85, 3, 300, "better"),
            # 5.85 standard errors' worth: 0.1 * (1.645 + 1.282)^2 / 0.01^2.
            (10, 10, 200, "cannot tell (needs n = 8564)"),
        ],
    )
    def test_of_a_margin_of_one_point(self, better, worse, n, verdict):
        assert str(equivalence_of(pair(better, worse, n), 0.01)) == verdict

    def test_agrees_with_its_interval(self):
        for better, worse, n in ((0, 0, 300), (5, 9, 900), (40, 45, 5000), (30, 60, 9000)):
            found = equivalence_of(pair(better, worse, n), 0.01)
            assert (found.verdict == "equivalent") == (found.low > -0.01 and found.high < 0.01)
            assert score_statistic(better, worse, n, found.low) == pytest.approx(1.6449, abs=1e-3)
            assert score_statistic(better, worse, n, found.high) == pytest.approx(-1.6449, abs=1e-3)

    def test_holds_with_as_many_items_as_were_asked_for(self):
        """Where there is no difference, about four times of five."""
        n = equivalence_of(pair(10, 10, 200), 0.01).needed
        draws = np.random.default_rng(0).multinomial(n, [0.05, 0.05, 0.9], size=400)
        share = np.mean([equivalent(int(better), int(worse), n, 0.01) for better, worse, _ in draws])
        assert 0.75 < share < 0.85

    def test_asks_for_more_than_there_are(self):
        """0.9 points of difference, and items enough for a difference of 0."""
        found = equivalence_of(pair(400, 490, 10_000), 0.01)
        assert found.verdict == "worse"
        found = equivalence_of(pair(475, 525, 10_000), 0.01)
        assert found.verdict == "cannot tell" and found.needed > 10_000

    @pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
    def test_needs_a_margin_that_is_one(self, margin):
        with pytest.raises(ValueError, match="must be above 0 and below 1"):
            equivalence_of(pair(1, 1, 10), margin)

    def test_of_graded_items_is_statsmodels_paired_tost(self, tmp_path):
        weightstats = pytest.importorskip("statsmodels.stats.weightstats")
        generator = np.random.default_rng(1)
        first = generator.integers(0, 11, 80) / 10
        second = np.clip(first + generator.integers(-1, 2, 80) / 10, 0, 1)
        write_run(tmp_path, first.tolist(), benchmark="mbpp")
        write_run(tmp_path, second.tolist(), benchmark="mbpp", circuit="pc")
        compared = compare_runs(*sorted(read_folder(tmp_path).runs, key=lambda run: run.has_circuit))
        for margin in (0.01, 0.03, 0.1):
            wanted, *_ = weightstats.ttost_paired(second, first, -margin, margin)
            assert equivalence_of(compared, margin).p == pytest.approx(wanted, rel=1e-6)

    @pytest.mark.parametrize("n", [2, 267, 268])
    def test_of_graded_items_none_of_which_changed_is_that_of_items_that_score_0_or_1(self, n):
        graded = Pair(n, 0, 0, 0.0, 1.0, 0.0, 0.0, None, 0.0, is_graded=True)
        found, wanted = equivalence_of(graded, 0.01), equivalence_of(pair(0, 0, n), 0.01)
        assert found == wanted
        assert str(found) == ("equivalent" if n == 268 else "cannot tell (needs n = 268)")

    @pytest.mark.parametrize(
        ("changes", "verdict"),
        [
            ((0.0, 0.001), "cannot tell (needs n = 5)"),
            ((0.001, 0.002), "cannot tell (needs n = 5)"),
            ((0.001, 0.001), "cannot tell (needs n = 5)"),
            ((-0.5, -0.51), "cannot tell (needs n = 5)"),
            ((0.5, 0.51, 0.5, 0.51), "cannot tell (needs n = 5)"),
            ((0.001, 0.002, 0.001, 0.002, 0.001), "equivalent"),
            ((-0.5, -0.51, -0.5, -0.51, -0.5), "worse"),
            ((0.5, 0.51, 0.5, 0.51, 0.5), "better"),
        ],
    )
    def test_of_graded_items_is_no_surer_than_an_exact_test_of_their_signs(self, tmp_path, changes, verdict):
        for name, sign in (("a", -1), ("b", 1)):
            write_run(tmp_path, [0.4 + sign * change / 2 for change in changes], benchmark="mbpp", name=name)
        found = equivalence_of(compare_runs(*sorted(read_folder(tmp_path).runs, key=lambda run: run.name)), 0.01)
        assert str(found) == verdict
        assert found.p >= scipy_stats.binomtest(len(changes), len(changes), alternative="greater").pvalue
        is_told = not verdict.startswith("cannot tell")
        assert (math.isfinite(found.low), math.isfinite(found.high)) == (is_told, is_told)


class TestTheTable:
    @pytest.fixture
    def results(self, tmp_path):
        write_run(tmp_path, [1] * 350 + [0] * 50, steps=128)
        write_run(tmp_path, [1] * 350 + [0] * 50, steps=64)
        write_run(tmp_path, [1] * 300 + [0] * 100, steps=32)
        write_run(tmp_path, outcomes(400, 350), steps=128, cache="dual", name="cached")
        write_run(tmp_path, [1] * 350 + [0] * 50, decoder="cad", name="cad", config={"mean_nfe": 50.0})
        return tmp_path

    def lines(self, results, margin=1.0):
        built = build_report(read_folder(results), margin=margin)
        (table,) = [table for table in built.tables if "is anything lost" in table.title]
        return {(line[2], line[3]): line[-1] for line in table.rows}

    def test_holds_each_cheaper_decode_against_what_it_stands_in_for(self, results):
        found = self.lines(results)
        exact = "low_confidence, 128 steps"
        assert found["low_confidence, 64 steps", exact] == "equivalent"
        assert found["low_confidence, 32 steps", exact] == "worse"
        assert found["low_confidence, 128 cache=dual †", exact].startswith("cannot tell (needs n = ")
        assert found["cad, adaptive", "low_confidence, 64 steps"] == "equivalent"

    def test_has_the_margin_that_is_asked_for(self, results):
        assert self.lines(results, margin=50.0)["low_confidence, 32 steps", "low_confidence, 128 steps"] == "equivalent"

    def test_is_not_there_where_nothing_is_cheaper(self, tmp_path):
        write_run(tmp_path, [1, 0])
        assert not any("anything lost" in to_markdown(table) for table in build_report(read_folder(tmp_path)).tables)

    def test_has_no_interval_of_graded_items_that_are_too_few(self, tmp_path):
        for steps, scores in ((128, [0.5, 0.25]), (64, [0.5, 0.251])):
            write_run(tmp_path, scores, benchmark="mbpp", steps=steps)
        (table,) = [table for table in build_report(read_folder(tmp_path)).tables if "anything lost" in table.title]
        assert table.rows[0][4:] == ["2", "+0.05", "-", "0.25", "cannot tell (needs n = 5)"]

    def test_without_answers_says_that_there_is_no_test(self, tmp_path):
        write_run(tmp_path, [1, 0], steps=128)
        write_run(tmp_path, [1, 0], steps=64, with_samples=False)
        assert self.lines(tmp_path)["low_confidence, 64 steps", "low_confidence, 128 steps"] == "- [a]"

    def test_a_margin_that_is_none_is_refused(self, results, capsys):
        assert main(["report", str(results), "--margin", "0"]) != 0
        assert "`--margin 0` must be above 0 and below 100, in points" in capsys.readouterr().err
