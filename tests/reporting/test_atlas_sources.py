"""Every cell of every source, as its own run would leave it: the verdict on it, and on what was run otherwise."""

import json
from functools import cache

import pytest

from lm_eval_codd.atlas.plan import plan_cells
from lm_eval_codd.atlas.source import source_names
from tests.atlas.results_of import right_answers, write_cell, write_means, write_values
from tests.reporting.judged import check, one

# Sources without a share of answers that can be run: figures of another kind, and means over tasks.
WITHOUT_SHARES = ("cad", "crb", "diffucoder", "duo", "open_dllm", "p2")


@cache
def ready_of(source):
    """The cells of a source that can be run: shares of answers, and figures of another kind."""
    plan = plan_cells([source])
    cells = [*plan.ready, *plan.by_lm_eval]
    others = [cell for cell in cells if cell.recipe.lm_eval or cell.cell.tasks]
    return [cell for cell in cells if cell not in others], others


class TestEveryCell:
    """Of every source: its cells as their own runs would leave them."""

    @pytest.mark.parametrize("source", source_names())
    def test_that_was_run_as_published_and_gave_the_figure_is_reproduced(self, source, tmp_path):
        """Every setting that the cell's run has comes back out of its results; no other run is taken for it."""
        shares, others = ready_of(source)
        for number, cell in enumerate(shares):
            write_cell(tmp_path / "results", cell, number=number)
        write_values(tmp_path / "results", [cell for cell in others if cell.recipe.lm_eval])
        found = check(tmp_path / "results", source)
        wanted = {
            cell.cell.id: "implausible" if cell.cell.is_implausible else "reproduced"
            for cell in (*shares, *others)
            if not cell.cell.tasks
        }
        assert {one.cell.id: one.verdict for one in found.cells if one.readings} == wanted
        assert found.exit_status == (0 if "reproduced" in wanted.values() else 2)
        assert {one.verdict for one in found.cells if not one.readings} <= {"not run", "implausible"}

    @pytest.mark.parametrize("source", [name for name in source_names() if name not in ("codd", *WITHOUT_SHARES)])
    def test_that_was_run_otherwise_or_not_at_all_says_so(self, source, tmp_path):
        """One cell lower, one at another temperature, one left out; of CoDD's many are one run."""
        results = tmp_path / "results"
        ready, _ = ready_of(source)
        assert ready
        lower, *rest = [cell for cell in ready if not cell.cell.is_implausible] or [None]
        changed = next((cell for cell in rest if not cell.recipe.run.decodes_nothing), None)
        absent = next((cell for cell in reversed(rest) if cell is not changed), None)
        written = [cell for cell in ready if cell not in (lower, changed, absent)]
        if lower is not None:
            right, n = right_answers(lower)
            write_cell(results, lower, right=right - n // 10, number=1)
        if changed is not None:
            # Another temperature, so that it is no other cell's run either.
            write_cell(results, changed, settings={"temperature": 0.7, "seed": 3}, number=2)
        for number, cell in enumerate(written, start=3):
            write_cell(results, cell, number=number)
        verdicts = {one.cell.id: one.verdict for one in check(results, source).cells}
        expected = {cell.cell.id: "implausible" if cell.cell.is_implausible else "reproduced" for cell in written}
        otherwise = ((lower, "differs"), (changed, "not comparable"))
        expected |= {cell.cell.id: verdict for cell, verdict in otherwise if cell is not None}
        assert {name: verdicts[name] for name in expected} == expected
        assert absent is None or verdicts[absent.cell.id] in ("not run", "not comparable")

    @pytest.mark.parametrize("source", WITHOUT_SHARES)
    def test_that_has_no_share_of_answers_is_of_these_sources(self, source):
        assert not ready_of(source)[0]

    def test_of_duo_is_judged_by_its_band_and_its_settings(self, tmp_path):
        _, cells = ready_of("duo")
        write_values(tmp_path / "higher", cells, change=100.0)
        assert {one.verdict for one in check(tmp_path / "higher", "duo").cells if one.readings} == {"differs"}
        sampled = [cell for cell in cells if ".gen-ppl." in cell.cell.id]
        write_values(tmp_path / "other", sampled, settings={"num_steps": 7})
        found = {one.cell.id: one.verdict for one in check(tmp_path / "other", "duo").cells}
        assert {found[cell.cell.id] for cell in sampled} == {"not comparable"}

    @pytest.mark.parametrize(("group", "number"), [("codd_crb_1", 24), ("codd_crb", 5)])
    def test_that_is_a_mean_over_tasks_is_reproduced_from_their_group(self, group, number, tmp_path):
        cells = [cell for cell in ready_of("crb")[1] if cell.recipe.run.task == group]
        assert len(cells) == number
        for place, cell in enumerate(cells):
            write_means(tmp_path / str(place), [cell])
            assert one(tmp_path / str(place), cell.label).verdict == "reproduced"

    def test_that_is_a_mean_over_tasks_counts_each_task_alike(self, tmp_path):
        """One of twelve tasks is 60 points above the others: by 5 points over tasks, whatever its size."""
        (cell,) = [one for one in ready_of("crb")[1] if one.cell.id == "crb.open-dcoder-0.5b.n1.T4"]
        for large in (False, True):
            folder = tmp_path / f"large={large}"
            path = write_means(folder, [cell])
            data = json.loads(path.read_text())
            for task in data["results"]:
                is_other = task == "codd_crb_mbpp_var_1"
                data["results"][task][cell.candidates[0]] += 0.6 if is_other else 0
                if is_other and large:
                    data["n-samples"][task] = {"original": 9000, "effective": 9000}
            path.write_text(json.dumps(data))
            judged = one(folder, cell.label)
            assert judged.readings[0].value == pytest.approx(cell.cell.value + 5)
            # Errors of a point a task are 0.29 points over twelve, and 0.74 at the level of one comparison.
            assert judged.readings[0].high - judged.readings[0].value == pytest.approx(0.7436, abs=1e-3)
            assert judged.verdict == "differs"

    def test_that_is_a_mean_over_tasks_needs_all_of_them_and_the_published_rows(self, tmp_path):
        (cell,) = [one for one in ready_of("crb")[1] if one.cell.id == "crb.open-dcoder-0.5b.n1.T4"]
        path = write_means(tmp_path / "a", [cell])
        data = json.loads(path.read_text())
        of_one = data["configs"]["codd_crb_mbpp_var_1"]["metadata"]
        of_one["data"] = {"is_published_set": False}
        path.write_text(json.dumps(data))
        judged = one(tmp_path / "a", cell.label)
        assert (judged.verdict, judged.reasons) == (
            "not comparable",
            ("means-000: the rows are not the published ones",),
        )
        path = write_means(tmp_path / "b", [cell])
        path.write_text(path.read_text().replace("codd_crb_mbpp_var_1", "codd_crb_mbpp_var_9"))
        assert one(tmp_path / "b", cell.label).verdict == "not run"

    def test_gets_each_of_the_verdicts(self, tmp_path):
        """Of one source, in one check."""
        results = tmp_path / "results"
        lower, changed, _, *rest = [cell for cell in plan_cells(["d3llm"]).ready if not cell.cell.is_implausible]
        right, n = right_answers(lower)
        write_cell(results, lower, right=right - n // 10)
        write_cell(results, changed, settings={"temperature": 0.7, "seed": 3}, number=1)
        for number, cell in enumerate(rest, start=2):
            write_cell(results, cell, number=number)
        found = check(results, "d3llm")
        assert found.counts["implausible"] == 16
        assert all(found.counts.values()) and len(found.counts) == 5
        assert found.exit_status == 1
        assert found.conclusion().startswith("DIFFERS: ")
