"""Perplexities and other metrics that are no shares: a table of their own, never among the accuracies."""

import json

from lm_eval_codd.reporting.cli import report_main
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.summary import format_table, read_rows
from tests.reporting.synthetic import write_run

BOUND = "lower bound of the log-likelihood, over 32 random masks"
PERPLEXITIES = {
    "word_perplexity,none": 23.456,
    "word_perplexity_stderr,none": 0.4,
    "bits_per_byte,none": 0.81234,
    "bits_per_byte_stderr,none": "N/A",
}


def write_values(
    folder, scores, name="run", *, what=BOUND, estimator="mc", output_type="loglikelihood_rolling", **more
):
    """A finished run of a task with these scores, on likelihoods where `what` says what they are."""
    path = write_run(folder, [1, 0, 1], name=name, with_samples=False, **more)
    (file,) = path.glob("results_*.json")
    results = json.loads(file.read_text())
    ((task, of_task),) = results["configs"].items()
    del of_task["metadata"]["reported"]
    of_task["output_type"] = output_type
    results["results"] = {task: {"alias": task, **scores}}
    if what:
        results["config"]["likelihoods"] = {"what": what, "settings": {"estimator": estimator}}
    file.write_text(json.dumps(results))
    return path


def tables(folder):
    read = read_folder(folder)
    assert not read.problems
    return build_report(read).tables


class TestTable:
    def test_has_values_with_their_errors_and_bounds_marked_and_no_accuracy_table_has_them(self, tmp_path):
        write_values(tmp_path, PERPLEXITIES)
        (table,) = tables(tmp_path)
        assert "values that are no accuracies" in table.title
        assert table.header == (
            ["rule", "system", "gsm8k likelihoods word_perplexity (n=3)", "gsm8k likelihoods bits_per_byte (n=3)"]
        )
        assert [row[:2] for row in table.rows] == [["mc", "base"]]
        assert [text.partition(" [")[0] for text in table.rows[0][2:]] == ["<= 23.46 ± 0.40", "<= 0.8123"]
        assert "lower is better: bits_per_byte, word_perplexity" in table.notes
        assert any("a bound of the log-likelihood" in note for note in table.notes)
        assert any(BOUND in note for note in table.notes)

    def test_what_is_exact_is_no_bound(self, tmp_path):
        what = "log-likelihood by the chain rule in the order `left`"
        write_values(tmp_path, PERPLEXITIES, what=what, estimator="chain")
        (table,) = tables(tmp_path)
        assert table.rows[0][0] == "chain" and table.rows[0][2].startswith("23.46 ± 0.40")
        assert not any("a bound of" in note for note in table.notes)

    def test_stands_beside_the_accuracies_of_the_same_protocol(self, tmp_path):
        scores = {"acc,none": 2 / 3, "acc_stderr,none": 0.3, "perplexity,none": 1.5, "perplexity_stderr,none": 0.1}
        write_values(tmp_path, scores, output_type="loglikelihood")
        accuracy, *_, values = tables(tmp_path)
        title = accuracy.title.partition(": ")[0]
        assert "accuracy in percent" in accuracy.title and values.title.startswith(title)
        assert "66.67" in accuracy.rows[0][2] and "perplexity" not in " ".join(accuracy.header)
        assert "likelihoods" in accuracy.header[2] and accuracy.rows[0][0] == "mc"
        assert values.rows[0][2].startswith("<= 1.5000 ± 0.1000")

    def test_a_circuit_is_a_row_and_so_is_each_of_its_settings(self, tmp_path):
        write_values(tmp_path, PERPLEXITIES, "alone")
        for number, frac in enumerate((0.3, 0.5, 0.5)):
            write_values(tmp_path, PERPLEXITIES, f"circuit{number}", circuit="a/pc", pc_frac=frac, what="an estimate")
        (table,) = tables(tmp_path)
        assert [row[1] for row in table.rows] == ["base", "CoDD", "CoDD pc_frac=0.5"]
        assert table.rows[1][2].startswith("23.46") and table.rows[2][2].startswith("refused")

    def test_generative_perplexity_needs_its_entropy(self, tmp_path):
        more = {"what": "", "output_type": "generate_until"}
        write_values(tmp_path, {"gen_ppl,none": 40.0, "entropy,none": 5.25, "nfe,none": 64.0}, "both", **more)
        (table,) = tables(tmp_path)
        assert table.header[2:] == ["gsm8k 64 gen_ppl (n=3)", "gsm8k 64 entropy (n=3)", "gsm8k 64 nfe (n=3)"]
        assert table.rows[0][2:] == ["40.00", "5.2500", "64.00"]
        write_values(tmp_path / "one", {"gen_ppl,none": 40.0}, "one", **more)
        (table,) = tables(tmp_path / "one")
        assert table.rows[0][2] == "refused [a]" and "says nothing without entropy, nfe" in table.notes[-1]

    def test_what_is_no_number_is_a_problem_that_names_it(self, tmp_path):
        write_values(tmp_path, {"word_perplexity,none": float("nan")})
        (problem,) = read_folder(tmp_path).problems
        assert "word_perplexity,none is nan, which is no value" in problem


class TestLikelihoodRuns:
    def test_settings_of_a_decode_that_did_not_take_place_keep_nothing_apart(self, tmp_path):
        scores = {"acc,none": 2 / 3, "acc_stderr,none": 0.3}
        write_values(tmp_path, scores, "one", output_type="multiple_choice", steps=64)
        write_values(tmp_path, scores, "two", output_type="multiple_choice", steps=32, cache="dual", circuit="a/pc")
        (accuracy, *_) = tables(tmp_path)
        assert [row[:2] for row in accuracy.rows[:2]] == [["mc", "base"], ["mc", "CoDD"]]
        assert len(accuracy.header) == 3 and "cache" not in " ".join([accuracy.title, *accuracy.header])

    def test_the_summary_of_a_run_shows_its_values(self, tmp_path):
        text = format_table(read_rows(write_values(tmp_path, PERPLEXITIES)))
        assert "word_perplexity,none" in text and "<= 23.46" in text and "0.4000" in text


def test_another_models_perplexities_are_remarked(tmp_path):
    path = write_values(tmp_path, PERPLEXITIES, what="")
    (file,) = path.glob("results_*.json")
    results = json.loads(file.read_text())
    del results["config"]["settings"]
    file.write_text(json.dumps(results))
    report = build_report(read_folder(tmp_path))
    assert not report.tables
    assert any("word_perplexity,none 23.46 ± 0.40" in remark for remark in report.remarks)


def test_csv_says_that_it_has_none(tmp_path, capsys):
    write_values(tmp_path, PERPLEXITIES)
    assert report_main([str(tmp_path), "--format", "csv"]) == 0
    assert "run (codd_gsm8k): values that are no accuracies; not in csv" in capsys.readouterr().err
