import pytest

from lm_eval_codd.atlas.codd_tables import read_published
from lm_eval_codd.reporting.against_paper import check_against_paper
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.stats import fisher
from tests.atlas.test_codd_tables import PAPER
from tests.reporting.synthetic import ROWS, outcomes, write_run

PC = "il18/llada-pc"


@pytest.fixture(scope="module")
def published():
    return read_published(PAPER)


def write_table(results, published, table="table1", *, shift=lambda cell: 0, **fields):
    """A run for each cell of a table of LLaDA, `shift` right answers off the published count; no samples."""
    for cell in published:
        if cell.table == table:
            write_run(
                results,
                outcomes(cell.n, max(0, cell.correct + shift(cell))),
                benchmark=cell.benchmark,
                alg=cell.alg,
                steps=cell.steps,
                circuit=None if cell.system == "base" else PC,
                with_samples=False,
                **fields,
            )


def check(results, published, **options):
    options = {"against": "paper", "level": 0.01, "table": "table1", **options}
    return check_against_paper(read_folder(results), published, **options)


class TestAgainstThePaper:
    def test_its_own_numbers_are_consistent(self, tmp_path, published):
        write_table(tmp_path, published)
        found = check(tmp_path, published)
        assert (len(found.cells), len(found.gains), found.missing, found.refused) == (72, 36, [], [])
        assert {c.verdict(0.01) for c in (*found.cells, *found.gains)} == {"consistent"}
        assert found.exit_status == 0

    def test_an_approximate_run_fills_no_cell_and_is_named(self, tmp_path, published):
        write_run(tmp_path, outcomes(1319, 900), steps=64, cache="dual", name="cached", with_samples=False)
        write_run(tmp_path, outcomes(1319, 900), threshold=0.9, name="sure", with_samples=False)
        found = check(tmp_path, published)
        assert (len(found.cells), found.exit_status) == (0, 2)
        assert found.refused == [
            "cached: approximate (cache=dual), the paper's decodes are exact",
            "sure: approximate (threshold=0.9), the paper's decodes are exact",
        ]

    def test_a_lost_cell_is_a_regression(self, tmp_path, published):
        lost = ("margin", "CoDD", "gsm8k", 128)
        drop = -120
        shift = lambda c: drop if (c.alg, c.system, c.benchmark, c.steps) == lost else 0  # noqa: E731
        write_table(tmp_path, published, shift=shift)
        found = check(tmp_path, published)
        assert [c.label for c in found.failed if "base" not in c.label] == ["table1 CoDD margin gsm8k 128"]
        assert found.exit_status == 1
        (cell,) = (c for c in found.cells if c.verdict(0.01) == "below")
        assert cell.p == pytest.approx(fisher(880 + drop, 1319, 880, 1319))
        assert cell.adjusted == pytest.approx(72 * cell.p)

    def test_lost_gains_are_regressions_where_they_can_be_seen(self, tmp_path, published):
        shift = lambda c: -150 if c.system == "CoDD" and c.benchmark == "gsm8k" else 0  # noqa: E731
        write_table(tmp_path, published, shift=shift)
        labels = [c.label for c in check(tmp_path, published).gains if c.verdict(0.01) == "below"]
        assert "table1 CoDD margin gsm8k 64 - base" in labels

    def test_above_the_paper_is_told_and_no_regression(self, tmp_path, published):
        shift = lambda c: 200 if (c.alg, c.benchmark, c.steps) == ("margin", "gsm8k", 64) else 0  # noqa: E731
        write_table(tmp_path, published, shift=shift)
        found = check(tmp_path, published)
        assert sum(c.verdict(0.01) == "above" for c in found.cells) == 2
        assert found.exit_status == 0
        assert "2 above" in found.conclusion()

    def test_a_difference_too_small_to_see_is_consistent_and_said_to_be_unseen(self, tmp_path, published):
        write_table(tmp_path, published, shift=lambda c: -15)
        found = check(tmp_path, published)
        assert found.exit_status == 0
        drops = [c.detectable.drop for c in found.cells if c.detectable.drop is not None]
        assert 0.03 < min(drops) < max(drops) < 0.12

    def test_missing_cells_are_listed(self, tmp_path, published):
        write_run(tmp_path, outcomes(1319, 941), alg="low_confidence", steps=256)
        found = check(tmp_path, published)
        assert len(found.cells) == 1
        assert "table1 base low_confidence: math500 256 128 64, gsm8k 128 64, gpqa 256 128 64, mbpp 256 128 64" in (
            found.missing
        )

    def test_all_tables_are_checked_when_none_is_asked_for(self, tmp_path, published):
        write_run(tmp_path, outcomes(1319, 941), alg="low_confidence", steps=256)
        missing = check(tmp_path, published, table=None).missing
        assert {"table2: all 60 cells", "table6: all 72 cells", "table4: all 46 cells"} <= set(missing)

    def test_a_table_without_accuracies_is_an_error(self, tmp_path, published):
        with pytest.raises(ValueError, match="table3"):
            check(tmp_path, published, table="table3")


class TestWhatIsRefused:
    @pytest.mark.parametrize("n", [198, 447, 546])
    def test_gpqa_without_448_rows(self, tmp_path, published, n):
        write_run(tmp_path, outcomes(n, 40), benchmark="gpqa")
        found = check(tmp_path, published)
        assert found.refused == [f"llada_gpqa_low_confidence_steps64: {n} documents, the benchmark has {ROWS['gpqa']}"]
        assert found.exit_status == 2

    def test_stand_in_rows(self, tmp_path, published):
        write_run(tmp_path, outcomes(448, 40), benchmark="gpqa", published=False)
        assert "not the published ones" in check(tmp_path, published).refused[0]

    def test_a_limit(self, tmp_path, published):
        write_run(tmp_path, outcomes(100, 40), limit=100)
        assert "100 documents, the benchmark has 1319" in check(tmp_path, published).refused[0]

    def test_another_protocol(self, tmp_path, published):
        write_run(tmp_path, outcomes(1319, 400), gen_length=256, change={"n-shot": {"codd_gsm8k": 5}})
        (line,) = check(tmp_path, published).refused
        assert "gen_length=256 is not the paper's" in line
        assert "num_fewshot=5 is not the paper's" in line

    def test_two_runs_of_one_cell(self, tmp_path, published):
        for name in ("one", "two"):
            write_run(tmp_path, outcomes(1319, 427), name=name)
        found = check(tmp_path, published)
        assert found.refused == ["table1 base low_confidence gsm8k 64: 2 runs of the same settings: one, two"]


class TestMarks:
    def test_of_the_reference_are_carried(self, tmp_path, published):
        write_table(tmp_path, published)
        marks = {c.label: c.marks for c in check(tmp_path, published).cells}
        assert marks["table1 CoDD margin gsm8k 64"] == ("best of grid",)
        assert marks["table1 base margin gsm8k 64"] == ()

    def test_of_a_grid_of_ones_own_are_carried(self, tmp_path, published):
        for frac in (0.3, 0.5):
            write_run(tmp_path, outcomes(1319, 533), alg="margin", circuit=PC, pc_frac=frac)
        (cell,) = check(tmp_path, published).cells
        assert cell.marks[-1].startswith("run: best of 2 settings")

    def test_suspect_cells_decide_nothing(self, tmp_path, published):
        write_run(
            tmp_path,
            outcomes(1319, 190),
            alg="random",
            family="dream",
            paradigm="block",
            circuit=PC,
            checkpoint="Dream-org/Dream-v0-Instruct-7B",
        )
        found = check(tmp_path, published, table="table6")
        (cell,) = found.cells
        assert cell.verdict(0.01) == "below"
        assert set(cell.marks) == {"suspect: gains 17.60 between neighbours of about 0.3", "best of grid", "rounded"}
        assert found.exit_status == 0
        assert "1 suspect references aside" in found.conclusion()

    def test_a_point_of_an_ablation_is_compared_with_its_own_cell(self, tmp_path, published):
        for tau, correct in ((0.1, 109), (0.2, 97)):
            write_run(
                tmp_path,
                outcomes(448, correct),
                benchmark="gpqa",
                alg="random",
                steps=256,
                circuit=PC,
                pc_frac=0.3,
                pc_temperature=tau,
            )
        cells = check(tmp_path, published, table="table4").cells
        assert [c.label.split("random ")[1] for c in cells] == [
            "gpqa 256 pc_frac=0.3 pc_temperature=0.1",
            "gpqa 256 pc_frac=0.3 pc_temperature=0.2",
        ]
        assert [c.difference for c in cells] == [0.0, 0.0]
