from itertools import product
from math import comb

import numpy as np
import pytest

from lm_eval_codd.reporting.stats import (
    detectable_change,
    detectable_change_of_gain,
    fisher,
    gain_difference,
    holm,
    mcnemar,
    paired_interval,
    smallest_net_change,
)

scipy_stats = pytest.importorskip("scipy.stats")


class TestFisher:
    @pytest.mark.parametrize(
        ("a", "n", "b", "m"), [(3, 10, 8, 12), (0, 8, 10, 12), (0, 5, 5, 5), (0, 4, 0, 9), (471, 1319, 600, 1319)]
    )
    def test_equals_scipys(self, a, n, b, m):
        assert fisher(a, n, b, m) == pytest.approx(scipy_stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue, rel=1e-6)

    def test_equals_scipys_on_every_small_table(self):
        for a, b in product(range(7), range(10)):
            wanted = scipy_stats.fisher_exact([[a, 6 - a], [b, 9 - b]]).pvalue
            assert fisher(a, 6, b, 9) == pytest.approx(wanted, rel=1e-9)


class TestMcNemar:
    @pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 5), (12, 3), (0, 30), (200, 120)])
    def test_equals_the_binomial_test(self, better, worse):
        wanted = scipy_stats.binomtest(better, better + worse, 0.5).pvalue if better + worse else 1.0
        assert mcnemar(better, worse) == pytest.approx(wanted, rel=1e-9)


class TestGainDifference:
    def brute(self, base, codd, n, other_base, other_codd, other_n):
        """Every pair of tables with the margins of the observed one, weighted as if all odds ratios were one."""
        total = codd + other_codd
        weights = {}
        for k in range(n + 1):
            parts = (n, k), (n, base + codd - k), (other_n, total - k), (other_n, other_base + other_codd - total + k)
            if all(0 <= chosen <= size for size, chosen in parts):
                weights[k] = np.prod([float(comb(*part)) for part in parts])
        likely = sum(w for w in weights.values() if w <= weights[codd] * (1 + 1e-9))
        return likely / sum(weights.values())

    def test_equals_enumeration(self):
        for base, codd, other_base, other_codd in product(range(6), range(6), range(5), range(5)):
            arguments = (base, codd, 5, other_base, other_codd, 4)
            assert gain_difference(*arguments) == pytest.approx(self.brute(*arguments), rel=1e-9)

    def test_sees_a_lost_gain_only_when_it_is_large(self):
        assert gain_difference(180, 180, 500, 180, 190, 500) > 0.3
        assert gain_difference(180, 180, 500, 180, 280, 500) < 1e-4


class TestHolm:
    def test_equals_the_published_procedure(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_never_exceeds_one_and_takes_none(self):
        assert holm([0.9, 0.8]) == [1.0, 1.0]
        assert holm([]) == []


class TestPairedInterval:
    def test_equals_drawing_items(self):
        n, better, worse = 200, 40, 15
        items = np.array([1] * better + [-1] * worse + [0] * (n - better - worse))
        draws = np.random.default_rng(5).choice(items, size=(20_000, n)).mean(axis=1)
        assert paired_interval(better, worse, n) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.006)

    def test_is_the_same_every_time(self):
        assert paired_interval(9, 4, 50) == paired_interval(9, 4, 50)


class TestWhatCouldBeSeen:
    def test_is_the_nearest_count_that_is_significant(self):
        level = 0.01 / 72
        change = detectable_change(180, 500, 500, level)
        drop, rise = round(change.drop * 500), round(change.rise * 500)
        assert fisher(180 - drop, 500, 180, 500) <= level < fisher(180 - drop + 1, 500, 180, 500)
        assert fisher(180 + rise, 500, 180, 500) <= level < fisher(180 + rise - 1, 500, 180, 500)

    def test_is_seven_to_eleven_points_at_the_papers_sizes(self):
        assert detectable_change(941, 1319, 1319, 0.01 / 72).drop == pytest.approx(0.07, abs=0.002)
        assert detectable_change(180, 500, 500, 0.01 / 72).drop == pytest.approx(0.114, abs=0.002)

    def test_is_nothing_where_even_zero_right_is_consistent(self):
        assert detectable_change(11, 500, 500, 0.01 / 72).drop is None

    def test_of_a_gain_is_the_nearest_that_is_significant(self):
        change = detectable_change_of_gain(180, 500, 180, 205, 500, 0.001)
        drop = round(change.drop * 500)
        assert gain_difference(180, 205 - drop, 500, 180, 205, 500) <= 0.001
        assert gain_difference(180, 206 - drop, 500, 180, 205, 500) > 0.001

    @pytest.mark.parametrize("discordant", [0, 12, 30, 31])
    def test_of_items_is_the_smallest_significant_imbalance(self, discordant):
        net = smallest_net_change(discordant, 0.001)
        turned = max(discordant, net)
        worse = (turned - net) // 2
        assert mcnemar(turned - worse, worse) <= 0.001
        assert mcnemar(turned - worse - 1, worse + 1) > 0.001
