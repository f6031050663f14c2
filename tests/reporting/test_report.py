import csv
import io

import pytest

from lm_eval_codd.reporting.cells import BASE, CellKey, group_runs
from lm_eval_codd.reporting.formats import cells_as_csv, to_html, to_latex, to_markdown
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.table import Table
from tests.reporting.synthetic import outcomes, write_run

PC = "il18/llada-gsm-pc"


def report(results, table=None):
    return build_report(read_folder(results), table)


def groups(results):
    return group_runs(read_folder(results).runs)


def text(built) -> str:
    return "\n".join(to_markdown(table) for table in built.tables)


def row(built, title: str, *labels: str) -> list[str]:
    """The row that starts with these labels, of the first table whose title has this in it."""
    table = next(table for table in built.tables if title in table.title)
    return next(line[len(labels) :] for line in table.rows if tuple(line[: len(labels)]) == labels)


class TestAccuracy:
    def test_has_base_codd_and_their_paired_difference(self, tmp_path):
        write_run(tmp_path, [1] * 40 + [0] * 60)
        write_run(tmp_path, [1] * 60 + [0] * 40, circuit=PC)
        built = report(tmp_path)
        assert row(built, "accuracy", "low_confidence", "base") == ["40.00 ± 4.90"]
        assert row(built, "accuracy", "low_confidence", "CoDD") == ["60.00 ± 4.90"]
        assert row(built, "accuracy", "low_confidence", "CoDD - base") == ["+20.00 (p <0.0001)"]
        assert row(built, "same items", "gsm8k", "64")[2:7] == ["100", "20", "0", "+20.00", "+12.00 to +28.00"]

    def test_says_what_its_comparisons_could_have_seen(self, tmp_path):
        write_run(tmp_path, [1] * 40 + [0] * 60)
        write_run(tmp_path, [1] * 60 + [0] * 40, circuit=PC)
        built = report(tmp_path)
        table = next(table for table in built.tables if "same items" in table.title)
        # Of 20 items that turn, 15 one way are significant and 14 are not.
        assert table.rows[0][table.header.index("seen from")] == "10.00"
        assert any(note.startswith("seen from: the smallest difference in points") for note in table.notes)

    def test_of_few_right_or_wrong_answers_has_an_interval_in_place_of_an_error(self, tmp_path):
        write_run(tmp_path, [1] * 91 + [0] * 9)
        write_run(tmp_path, [1] * 90 + [0] * 10, circuit=PC)
        built = report(tmp_path)
        assert row(built, "accuracy", "low_confidence", "base") == ["91.00 (83.77 to 95.19)"]
        assert row(built, "accuracy", "low_confidence", "CoDD") == ["90.00 ± 3.00"]
        assert "in brackets: Wilson's 95% interval" in text(built)

    def test_is_in_the_papers_order(self, tmp_path):
        for number, (alg, benchmark, steps) in enumerate(
            [("margin", "gsm8k", 64), ("random", "math500", 64), ("random", "math500", 256), ("random", "gsm8k", 64)]
        ):
            write_run(tmp_path, [1, 0], alg=alg, benchmark=benchmark, steps=steps, name=str(number))
        (table, *_) = report(tmp_path).tables
        assert [line[0] for line in table.rows] == ["random", "margin"]
        assert list(table.header[2:]) == ["math500 256 (n=2)", "math500 64 (n=2)", "gsm8k 64 (n=2)"]

    def test_of_other_prompts_shows_no_difference(self, tmp_path):
        write_run(tmp_path, [1, 0])
        write_run(tmp_path, [1, 1], circuit=PC, prompt="Other {}")
        built = report(tmp_path)
        assert row(built, "accuracy", "low_confidence", "CoDD - base") == ["refused [a]"]
        assert "[a] no difference: their prompts differ" in text(built)

    def test_without_samples_shows_a_difference_that_is_marked(self, tmp_path):
        write_run(tmp_path, [1, 0], with_samples=False)
        write_run(tmp_path, [1, 1], circuit=PC, with_samples=False)
        built = report(tmp_path)
        assert row(built, "accuracy", "low_confidence", "CoDD - base") == ["+50.00 [a]"]
        assert "no paired test: llada_gsm8k_low_confidence_steps64 has no samples file" in text(built)

    def test_of_another_use_of_the_circuit_is_a_row_of_its_own(self, tmp_path):
        write_run(tmp_path, [1, 0], circuit=PC)
        write_run(tmp_path, [1, 1], circuit=PC, pc_sampling="any_order")
        built = report(tmp_path)
        assert row(built, "accuracy", "low_confidence", "CoDD pc_sampling=any_order") == ["100.00 (34.24 to 100.00)"]


class TestApproximateRuns:
    @pytest.fixture
    def results(self, tmp_path):
        """Exact and approximate decodes of 20 documents; the approximate ones get one, two and three more wrong."""
        write_run(tmp_path, [1] * 10 + [0] * 10)
        write_run(tmp_path, [1] * 8 + [0] * 12, steps=32)
        write_run(tmp_path, [1] * 9 + [0] * 11, cache="dual", name="cached")
        write_run(tmp_path, [1] * 11 + [0] * 9, cache="dual", circuit=PC, name="cached_pc")
        write_run(tmp_path, [1] * 7 + [0] * 13, cache="dual", threshold=0.9, steps=32, name="both")
        return tmp_path

    def test_have_columns_of_their_own_that_are_marked_and_explained(self, results):
        built = report(results)
        columns = ["gsm8k 64", "gsm8k 32", "gsm8k 64 cache=dual †", "gsm8k cache=dual threshold=0.9 †"]
        accuracy = next(table for table in built.tables if "accuracy" in table.title)
        assert list(accuracy.header[2:]) == [f"{column} (n=20)" for column in columns]
        shares = [cell.split(" ")[0] for cell in row(built, "accuracy", "low_confidence", "base")]
        assert shares == ["50.00", "40.00", "45.00", "35.00"]
        for table in built.tables:
            assert table.notes[0].startswith("† approximate: a cache, or a rule on confidences")

    def test_leave_tables_without_them_as_they_are(self, tmp_path):
        write_run(tmp_path, [1, 0])
        assert "†" not in text(report(tmp_path))

    def test_are_compared_with_a_base_of_the_same_approximation_only(self, results):
        (pair,) = next(table for table in report(results).tables if "CoDD against base" in table.title).rows
        assert pair[1:8] == ["64 cache=dual †", "low_confidence", "CoDD", "20", "2", "0", "+10.00"]

    def test_are_compared_with_the_exact_decode_of_as_many_steps_or_of_the_most(self, results):
        write_run(results, [1] * 12 + [0] * 8, circuit=PC)
        table = next(table for table in report(results).tables if "approximate against exact" in table.title)
        assert [line[1:9] for line in table.rows] == [
            ["64 cache=dual †", "64", "low_confidence", "base", "20", "0", "1", "-5.00"],
            ["64 cache=dual †", "64", "low_confidence", "CoDD", "20", "0", "1", "-5.00"],
            ["cache=dual threshold=0.9 †", "64", "low_confidence", "base", "20", "0", "3", "-15.00"],
        ]

    def test_are_the_same_where_only_steps_differ_that_a_threshold_does_not_read(self, tmp_path):
        for steps in (32, 64):
            write_run(tmp_path, [1, 0], steps=steps, threshold=0.9, name=f"steps{steps}")
        assert "2 runs of the same settings: steps32, steps64" in text(report(tmp_path))

    def test_with_a_cache_in_the_full_paradigm_are_told_apart_by_their_blocks(self, tmp_path):
        for length in (32, 64):
            write_run(tmp_path, [1, 0], paradigm="full", cache="dual", block_length=length, name=f"length{length}")
        (group,) = groups(tmp_path)
        assert [column.schedule for column in group.columns] == [
            "64 cache=dual †",
            "64 cache=dual block_length=64 †",
        ]

    def test_stand_in_no_table_of_the_paper(self, tmp_path):
        write_run(tmp_path, outcomes(1319, 900))
        write_run(tmp_path, outcomes(1319, 1000), cache="dual", name="cached")
        built = report(tmp_path, 1)
        assert list(built.tables[0].header[2:]) == ["gsm8k 64 (n=1319)"]
        assert built.remarks == ["not in table 1: cached: approximate (cache=dual), the paper's decodes are exact"]

    def test_say_in_the_csv_what_they_are(self, results):
        lines = {line["run"]: line for line in csv.DictReader(io.StringIO(cells_as_csv(groups(results))))}
        assert (lines["cached"]["steps"], lines["cached"]["approximations"]) == ("64", "cache=dual")
        assert (lines["both"]["steps"], lines["both"]["approximations"]) == ("", "cache=dual threshold=0.9")
        assert lines["cached_pc"]["gain"] == "10.0000"


class TestWhatIsNeverMixed:
    def test_another_protocol_has_a_table_of_its_own(self, tmp_path):
        write_run(tmp_path, [1, 0], name="a")
        write_run(tmp_path, [1, 1], name="b", gen_length=256, circuit=PC)
        titles = [group.title for group in groups(tmp_path)]
        assert len(titles) == 2
        assert any("gen_length=256" in title for title in titles)

    def test_a_limit_has_a_table_of_its_own_that_says_so(self, tmp_path):
        write_run(tmp_path, [1, 0], name="a")
        write_run(tmp_path, [1], name="b", limit=1, circuit=PC)
        titles = [group.title for group in groups(tmp_path)]
        assert sum("limit 1: no scores of the benchmarks" in title for title in titles) == 1

    def test_another_dtype_has_a_table_of_its_own(self, tmp_path):
        write_run(tmp_path, [1, 0], name="a")
        write_run(tmp_path, [1, 1], name="b", circuit=PC, config={"model_dtype": "float32"})
        assert len(groups(tmp_path)) == 2

    @pytest.mark.parametrize(
        ("change", "config", "mark"),
        [
            ({"chat_template_sha": "0f"}, {}, "other chat template: 0f"),
            ({"system_instruction": "Be brief."}, {}, "other system prompt: Be brief."),
            ({}, {"versions": {"torch": "2.6.0"}}, "other torch: 2.6.0 (most here: 2.13.0+cpu)"),
            ({}, {"checkpoint_identity": "sha256:1"}, "other checkpoint content: sha256:1"),
            ({}, {"warnings": ["the circuit never acted"]}, "the circuit never acted"),
        ],
    )
    def test_other_surroundings_are_marked(self, tmp_path, change, config, mark):
        for steps in (64, 128):
            write_run(tmp_path, [1, 0], steps=steps)
        write_run(tmp_path, [1, 0], steps=256, change=change, config=config)
        (group,) = groups(tmp_path)
        marks = {key.steps: cell.marks for key, cell in group.cells.items()}
        assert marks[64] == marks[128] == ()
        assert any(found.startswith(mark) for found in marks[256])
        assert "[a]" in text(report(tmp_path))

    def test_partial_data_is_marked(self, tmp_path):
        write_run(tmp_path, [1, 0], total=5)
        assert "partial: 2 of 5 documents" in text(report(tmp_path))

    def test_other_rows_than_the_published_are_marked(self, tmp_path):
        write_run(tmp_path, [1, 0], published=False)
        assert "not the benchmark's published rows" in text(report(tmp_path))

    def test_two_runs_of_the_same_settings_are_refused(self, tmp_path):
        write_run(tmp_path, [1, 0], name="one")
        write_run(tmp_path, [1, 1], name="two")
        built = report(tmp_path)
        assert row(built, "accuracy", "low_confidence", "base") == ["refused [a]"]
        assert "[a] 2 runs of the same settings: one, two" in text(built)

    def test_two_circuits_in_one_cell_are_refused(self, tmp_path):
        write_run(tmp_path, [1, 0], circuit=PC, pc_frac=0.3)
        write_run(tmp_path, [1, 1], circuit="il18/other", pc_frac=0.5)
        assert "runs with different circuits: il18/llada-gsm-pc, il18/other" in text(report(tmp_path))


class TestTheGrid:
    @pytest.fixture
    def results(self, tmp_path):
        for number, (frac, tau) in enumerate([(0.3, 0.1), (0.3, 0.2), (0.5, 0.1), (0.5, 0.2)]):
            write_run(tmp_path, outcomes(100, 20 + number), circuit=PC, pc_frac=frac, pc_temperature=tau)
        return tmp_path

    def test_shows_its_best_as_such(self, results):
        (group,) = groups(results)
        (cell,) = group.cells.values()
        assert cell.run.correct == 23
        assert "best of 4 settings of pc_frac and pc_temperature on the test set" in cell.marks

    def test_is_shown_whole(self, results):
        built = report(results)
        assert row(built, "over pc_frac", "0.3") == ["20.00 ± 4.00", "21.00 ± 4.07"]
        assert row(built, "over pc_frac", "0.5") == ["22.00 ± 4.14", "23.00 ± 4.21"]

    def test_is_in_the_csv_a_line_a_run(self, results):
        lines = list(csv.DictReader(io.StringIO(cells_as_csv(groups(results)))))
        assert [line["percent"] for line in lines] == ["20.0000", "21.0000", "22.0000", "23.0000"]
        assert [line["is_shown"] for line in lines] == ["0", "0", "0", "1"]


class TestCost:
    def test_has_seconds_with_their_overhead_and_nfe(self, tmp_path):
        write_run(tmp_path, [1, 0], config={"decoding_seconds": 4.0})
        write_run(tmp_path, [1, 0], circuit=PC, config={"decoding_seconds": 4.2})
        built = report(tmp_path)
        assert row(built, "seconds", "low_confidence", "CoDD") == ["2.10"]
        assert row(built, "seconds", "low_confidence", "CoDD overhead") == ["+5.0%"]
        assert row(built, "NFE", "low_confidence", "base") == ["64.0 (0.50)"]

    @pytest.mark.parametrize(("deviation", "shown"), [(0.01, "+5.0%"), (1.0, "+5.0% [a]")])
    def test_an_overhead_below_the_noise_of_the_times_is_marked(self, tmp_path, deviation, shown):
        for circuit, seconds in ((None, 4.0), (PC, 4.2)):
            config = {"decoding_seconds": seconds, "seconds_deviation": deviation, "batch_size": 1}
            write_run(tmp_path, [1, 0], circuit=circuit, config=config)
        built = report(tmp_path)
        assert row(built, "seconds", "low_confidence", "CoDD overhead") == [shown]
        assert ("not to be told from no overhead" in text(built)) == ("[a]" in shown)

    @pytest.mark.parametrize(("alone", "mark"), [(False, "the device did other work"), (None, "was not recorded")])
    def test_times_that_are_no_speeds_are_marked(self, tmp_path, alone, mark):
        write_run(tmp_path, [1, 0], config={"alone_on_device": alone})
        built = report(tmp_path)
        assert row(built, "seconds", "low_confidence", "base")[0].endswith(" [a]")
        (line,) = next(table for table in built.tables if "cost of an answer" in table.title).rows
        assert line[8].endswith(" [a]") and line[9].endswith(" [a]") and "[" not in "".join(line[:8])
        assert text(built).count(mark) == 2

    def test_is_in_one_table_with_what_it_was_taken_on(self, tmp_path):
        config = {"decoding_seconds": 4.0, "mean_answer_tokens": 100.0, "batch_size": 8}
        write_run(tmp_path, [1, 0], config=config)
        labels = ("gsm8k", "64", "low_confidence", "base")
        figures = ["50.00", "64.00", "1.56", "8.00", "50", "2", "2", "8", "cpu (x86_64)"]
        assert row(report(tmp_path), "cost of an answer", *labels) == figures

    def test_of_different_hardware_has_no_overhead(self, tmp_path):
        write_run(tmp_path, [1, 0])
        write_run(tmp_path, [1, 0], circuit=PC, config={"device_name": "NVIDIA H200"})
        built = report(tmp_path)
        assert row(built, "seconds", "low_confidence", "CoDD overhead") == ["refused [a]"]
        assert "different hardware (cpu (x86_64) and NVIDIA H200)" in text(built)


class TestATableOfThePaper:
    def test_has_only_runs_of_its_protocol_and_says_why_others_are_not_in_it(self, tmp_path):
        write_run(tmp_path, outcomes(1319, 400), name="fits")
        write_run(tmp_path, [1, 0], name="limited", limit=2, steps=128)
        write_run(tmp_path, outcomes(448, 90), benchmark="gpqa", name="stand-in", published=False)
        write_run(tmp_path, outcomes(1319, 400), name="short", gen_length=256, steps=256)
        built = report(tmp_path, 1)
        (group,) = built.groups
        assert list(group.cells) == [CellKey("low_confidence", BASE, "gsm8k", 64)]
        remarks = "\n".join(built.remarks)
        assert "limited: 2 documents, the benchmark has 1319" in remarks
        assert "stand-in: its rows are not the published ones" in remarks
        assert "short: gen_length=256 is not the paper's" in remarks

    def test_is_of_one_family_and_paradigm(self, tmp_path):
        dream = {"family": "dream", "checkpoint": "Dream-org/Dream-v0-Instruct-7B", "alg": "entropy"}
        write_run(tmp_path, outcomes(500, 161), benchmark="math500", **dream)
        write_run(tmp_path, outcomes(500, 192), benchmark="math500", paradigm="block", name="block", **dream)
        assert [group.paradigm for group in report(tmp_path, 2).groups] == ["full"]
        assert [group.paradigm for group in report(tmp_path, 6).groups] == ["block"]
        assert not report(tmp_path, 1).tables
        assert all("seconds" in table.title or "NFE" in table.title for table in report(tmp_path, 3).tables)

    def test_four_is_the_grid_on_gpqa(self, tmp_path):
        for frac in (0.3, 0.5):
            write_run(tmp_path, outcomes(448, 97), benchmark="gpqa", circuit=PC, pc_frac=frac, pc_temperature=0.1)
        (table,) = report(tmp_path, 4).tables
        assert [line[0] for line in table.rows] == ["0.3", "0.5"]
        assert not report(tmp_path, 5).tables


class TestRemarks:
    def test_tell_what_is_in_no_table(self, tmp_path):
        write_run(tmp_path, [1, 0], name="stopped", status="interrupted")
        write_run(tmp_path, [1, 0], name="other", config={"settings": {}})
        (tmp_path / "notes.txt").write_text("mine")
        remarks = "\n".join(report(tmp_path).remarks)
        assert "not finished: stopped (interrupted)" in remarks
        assert "not a model of this package: other" in remarks
        assert "1 other files and folders are no runs" in remarks


class TestFormats:
    TABLE = Table("A & <b>", ["rule", "50% | x"], [["low_confidence", "1.00 ± 0.10 [a]"]], 1, ["[a] p < 0.1"])

    def test_markdown_keeps_its_columns(self):
        assert to_markdown(self.TABLE).splitlines() == [
            r"**A & \<b>**",
            "",
            "| rule           |        50% \\| x |",
            "| -------------- | --------------: |",
            "| low_confidence | 1.00 ± 0.10 [a] |",
            "",
            "[a] p < 0.1",
        ]

    def test_latex_escapes_what_it_must(self):
        latex = to_latex(self.TABLE)
        assert r"\caption{A \& \textless{}b\textgreater{}}" in latex
        assert r"rule & 50\% | x \\" in latex
        assert r"low\_confidence & 1.00 $\pm$ 0.10 [a] \\" in latex

    def test_html_escapes_what_it_must(self):
        html = to_html(self.TABLE)
        assert "<caption>A &amp; &lt;b&gt;</caption>" in html
        assert "<td>low_confidence</td>" in html
