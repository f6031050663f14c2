import csv
import io
import math
import random

import numpy as np
import pytest

from lm_eval_codd.grading.pass_at_k import pass_at_k
from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.clustered import Estimate, clustered_mean, quantile_of_t
from lm_eval_codd.reporting.formats import cells_as_csv
from lm_eval_codd.reporting.pairs import compare_runs
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.stats import wilson
from tests.reporting.synthetic import write_run

scipy_stats = pytest.importorskip("scipy.stats")


def drawn(sizes, seed=0):
    """Clusters whose values are alike: each has a chance of its own."""
    generator = random.Random(seed)
    chances = [generator.random() for _ in sizes]
    return [[float(generator.random() < p) for _ in range(size)] for p, size in zip(chances, sizes, strict=True)]


class TestClusteredMean:
    @pytest.mark.parametrize("sizes", [[10] * 40, [1] * 60, [1, 2, 3, 4, 5] * 9, [7] * 2])
    def test_has_the_error_of_a_regression_on_a_constant_with_clusters(self, sizes):
        api = pytest.importorskip("statsmodels.api")
        clusters = drawn(sizes)
        values = np.concatenate(clusters)
        groups = np.repeat(np.arange(len(sizes)), sizes)
        fitted = api.OLS(values, np.ones_like(values)).fit(cov_type="cluster", cov_kwds={"groups": groups})
        found = clustered_mean(clusters)
        assert found.mean == pytest.approx(fitted.params[0], rel=1e-12)
        assert found.stderr == pytest.approx(fitted.bse[0], rel=1e-9)
        assert (found.clusters, found.n) == (len(sizes), sum(sizes))

    def test_of_one_value_a_cluster_is_the_usual_error(self):
        generator = random.Random(3)
        values = [generator.gauss(0.3, 1) for _ in range(50)]
        found = clustered_mean([value] for value in values)
        assert found.stderr == pytest.approx(scipy_stats.sem(values), rel=1e-12)
        wanted = scipy_stats.ttest_1samp(values, 0)
        assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
        assert found.interval(0.9) == pytest.approx(tuple(wanted.confidence_interval(0.9)), rel=1e-9)

    def test_is_not_fooled_by_answers_that_repeat_each_other(self):
        once = [[1.0], [0.0], [1.0], [1.0]]
        ten = [value * 10 for value in once]
        assert clustered_mean(ten).stderr == pytest.approx(clustered_mean(once).stderr)

    def test_of_one_document_knows_no_error(self):
        found = clustered_mean([[1.0, 0.0]])
        assert found == Estimate(0.5, math.inf, 1, 2)
        assert found.interval() == (-math.inf, math.inf) and found.p == 1

    def test_of_nothing_is_an_error(self):
        with pytest.raises(ValueError, match="no values"):
            clustered_mean([[]])

    @pytest.mark.parametrize("n", [2, 3, 8])
    def test_is_no_surer_than_an_exact_test_of_the_documents_signs(self, n):
        wanted = scipy_stats.binomtest(n, n).pvalue
        assert clustered_mean([[1.0]] * n).p == pytest.approx(wanted, rel=1e-12)
        assert clustered_mean([[1.0, 1.0, 0.99]] * (n - 1) + [[1.0]]).p == pytest.approx(wanted, rel=1e-12)
        assert clustered_mean([[0.0]] * n).p == 1

    @pytest.mark.parametrize("clusters", [[[0.0]] * 40, [[1.0]] * 40, [[0.5], [0.6], [0.4], [0.5], [0.4]]])
    def test_says_no_smallest_difference_where_nothing_varies_or_documents_are_too_few(self, clusters):
        assert clustered_mean(clusters).seen_from(0.05) is None

    @pytest.mark.parametrize(("coverage", "least"), [(0.95, 6), (0.9, 5)])
    def test_has_no_interval_of_so_few_documents_that_their_signs_could_rule_out_nothing(self, coverage, least):
        for n in (2, least - 1, least):
            for changes in ([[1.0]] * n, [[1.0]] * (n - 1) + [[0.9]]):
                bounds = clustered_mean(changes).interval(coverage)
                assert (bounds != (-math.inf, math.inf)) == (n == least)
                signs = scipy_stats.binomtest(n, n).pvalue
                assert (bounds[0] > 0) == (signs < 1 - coverage)

    def test_quantiles_are_scipys(self):
        assert quantile_of_t(0.975, 9) == pytest.approx(scipy_stats.t.ppf(0.975, 9), rel=1e-12)


class TestWilson:
    @pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (3, 8), (290, 300), (1, 1)])
    def test_equals_statsmodels(self, correct, n):
        proportion = pytest.importorskip("statsmodels.stats.proportion")
        assert wilson(correct, n) == pytest.approx(proportion.proportion_confint(correct, n, method="wilson"), abs=1e-9)

    @pytest.mark.parametrize(("correct", "n"), [(0, 10), (7, 9), (40, 40)])
    def test_equals_scipys(self, correct, n):
        wanted = scipy_stats.binomtest(correct, n).proportion_ci(0.9, method="wilson")
        assert wilson(correct, n, coverage=0.9) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


class TestSeveralAnswers:
    """Documents with several answers score their mean, so that they are no coins."""

    SCORES = (
        [0.1, 0.4, 0.8, 1.0, 0.0, 0.3, 0.5, 0.9, 0.2, 0.6],
        [0.2, 0.4, 1.0, 1.0, 0.1, 0.2, 0.9, 0.9, 0.6, 0.9],
    )

    @pytest.fixture
    def runs(self, tmp_path):
        for scores, circuit in zip(self.SCORES, (None, "il18/llada-mbpp-pc"), strict=True):
            write_run(tmp_path, scores, benchmark="mbpp", circuit=circuit)
        return sorted(read_folder(tmp_path).runs, key=lambda run: run.has_circuit)

    def test_are_compared_by_a_paired_t_test_over_documents(self, runs):
        pair = compare_runs(*runs)
        wanted = scipy_stats.ttest_rel(self.SCORES[1], self.SCORES[0])
        assert pair.is_graded and (pair.n, pair.better, pair.worse) == (10, 6, 1)
        assert pair.p == pytest.approx(wanted.pvalue, rel=1e-9)
        assert (pair.low, pair.high) == pytest.approx(tuple(wanted.confidence_interval(0.95)), rel=1e-9)

    def test_show_what_could_have_been_seen(self, runs):
        """A difference just as large has p = 0.05 with this spread."""
        pair = compare_runs(*runs)
        scale = pair.difference / pair.seen_from
        error = (pair.high - pair.difference) / scipy_stats.t.ppf(0.975, 9)
        assert 2 * scipy_stats.t.sf(pair.difference / scale / error, 9) == pytest.approx(0.05, rel=1e-9)

    def test_none_of_which_changed_could_have_shown_nothing(self, tmp_path):
        for circuit in (None, "il18/llada-mbpp-pc"):
            write_run(tmp_path, [0.5, 0.25] * 20, benchmark="mbpp", circuit=circuit)
        pair = compare_runs(*read_folder(tmp_path).runs)
        assert (pair.is_graded, pair.p, pair.seen_from) == (True, 1, None)

    def test_have_no_interval_where_they_are_too_few(self, tmp_path):
        for scores, circuit in (([0.1] * 5, None), ([0.5, 0.5, 0.6, 0.5, 0.5], "il18/llada-mbpp-pc")):
            write_run(tmp_path, scores, benchmark="mbpp", circuit=circuit)
        found = read_folder(tmp_path)
        (compared,) = [table for table in build_report(found).tables if "95% interval" in table.header]
        shown = dict(zip(compared.header, compared.rows[0], strict=True))
        assert (shown["points"], shown["95% interval"], shown["p"][:4]) == ("+42.00", "-", "0.06")
        lines = list(csv.DictReader(io.StringIO(cells_as_csv(group_runs(found.runs)))))
        (line,) = [line for line in lines if line["gain"]]
        assert (line["gain"], line["gain_low"], line["gain_high"]) == ("42.0000", "", "")


class TestPassAtK:
    def test_has_the_error_of_documents_as_clusters(self):
        """lm-eval's own figure, sd / sqrt(n) over documents, is the clustered one of all answers for pass@1."""
        answers = drawn([10] * 30, seed=5)
        of_documents = [pass_at_k(10, int(sum(answer)), 1) for answer in answers]
        assert scipy_stats.sem(of_documents) == pytest.approx(clustered_mean(answers).stderr, rel=1e-12)
