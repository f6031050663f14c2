"""What the demo of dependent tokens says at its end, and that docs/coupling.md says what its reference holds."""

from pathlib import Path

import pytest

from lm_eval_codd.catalogue import COUPLING_CONTROL, COUPLING_JOINT
from lm_eval_codd.launch.demo import difference_text
from lm_eval_codd.launch.demos import DEMOS
from lm_eval_codd.reporting.cells import BASE, group_runs
from lm_eval_codd.reporting.pairs import compare_outcomes, pooled
from lm_eval_codd.reporting.reference import read_references
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.stats import mcnemar
from tests.reporting.synthetic import write_run

ROOT = Path(__file__).parents[2]
DEMO = DEMOS["coupling"]
STEPS = (20, 4, 2, 1)
KINDS = {"joint": COUPLING_JOINT, "control": COUPLING_CONTROL}
BASE_OUTCOMES = [1] * 4 + [0] * 16
CODD_OUTCOMES = {"joint": [1] * 12 + [0] * 8, "control": [0] + [1] * 4 + [0] * 15}


def rows(page: str) -> list[list[str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


class TestTables:
    @pytest.fixture
    def tables(self, tmp_path):
        for kind, benchmarks in KINDS.items():
            for benchmark in benchmarks:
                for steps in (1, 20):
                    settings = {"benchmark": benchmark, "steps": steps, "gen_length": 20, "block_length": 20}
                    write_run(tmp_path, BASE_OUTCOMES, checkpoint="demo_coupling", **settings)
                    codd = CODD_OUTCOMES[kind]
                    write_run(tmp_path, codd, checkpoint="demo_coupling", circuit="demo_coupling", **settings)
        (group,) = group_runs(read_folder(tmp_path).runs)
        return DEMO.tables(group)

    def test_of_both_kinds_are_pooled_and_paired(self, tables):
        table = tables[0]
        assert table.header == ["tasks, n = 100 a kind", "right answers in %", "20 steps", "1 step"]
        assert [row[:3] for row in table.rows[:-1]] == [
            ["joint", "backbone", "20.0"],
            ["joint", "CoDD", "60.0"],
            ["joint", "difference (McNemar's p)", "+40.0 (< 0.0001)"],
            ["control", "backbone", "20.0"],
            ["control", "CoDD", "20.0"],
            ["control", "difference (McNemar's p)", "+0.0 (1)"],
        ]
        assert table.rows[-1][:2] == ["joint less control", "difference (95 % interval)"]
        assert table.rows[-1][2].startswith("+40.0 (+")

    def test_of_every_task_have_both_accuracies_and_a_p(self, tables):
        by_task = tables[1]
        assert by_task.header == ["task, n = 20", "kind", "20 steps", "1 step"]
        assert [row[:2] for row in by_task.rows] == [
            [benchmark.removeprefix("coupling_"), kind]
            for kind, benchmarks in KINDS.items()
            for benchmark in benchmarks
        ]
        assert by_task.rows[0][2] == f"20, 60 ({mcnemar(8, 0):.4f})"
        assert by_task.rows[-1][2] == "20, 20 (1.00)"


@pytest.fixture(scope="module")
def outcomes():
    """(benchmark, system, steps) -> which items are right."""
    references = read_references(DEMO.reference)
    return {(one.key.benchmark, one.key.system, one.key.steps): one.outcomes for one in references}


class TestTheReference:
    def test_has_every_task_with_and_without_the_circuit_at_each_number_of_steps(self, outcomes):
        tasks = [*COUPLING_JOINT, *COUPLING_CONTROL]
        wanted = {(task, system, steps) for task in tasks for system in (BASE, "CoDD") for steps in STEPS}
        assert outcomes.keys() == wanted

    def test_is_what_the_pooled_table_in_docs_says(self, outcomes):
        found = rows("docs/coupling.md")
        for kind, benchmarks in KINDS.items():
            for system, name in ((BASE, "backbone"), ("CoDD", "CoDD")):
                right = [
                    [value for task in benchmarks for value in outcomes[task, system, steps].values()]
                    for steps in STEPS
                ]
                assert [kind, name, *(f"{100 * sum(values) / len(values):.1f}" for values in right)] in found
            pairs = [
                pooled(
                    [
                        compare_outcomes(outcomes[task, BASE, steps], outcomes[task, "CoDD", steps])
                        for task in benchmarks
                    ]
                )
                for steps in STEPS
            ]
            assert [kind, "difference (McNemar's p)", *map(difference_text, pairs)] in found

    def test_is_what_the_table_of_every_task_in_docs_says(self, outcomes):
        found = {row[0]: row for row in rows("docs/coupling.md")}
        for kind, benchmarks in KINDS.items():
            for benchmark in benchmarks:
                cells = found[benchmark.removeprefix("coupling_")]
                assert cells[1] == kind
                for cell, steps in zip(cells[2:], STEPS, strict=True):
                    base, codd = (outcomes[benchmark, system, steps] for system in (BASE, "CoDD"))
                    shares = [f"{100 * sum(one.values()) / len(one):.0f}" for one in (base, codd)]
                    assert cell.startswith(f"{', '.join(shares)} (")
