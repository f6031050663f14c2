"""`--paper SOURCE`: published cells as runs, and what is said of those that are none."""

import json

import pytest

from lm_eval_codd.atlas.plan import plan_cells
from lm_eval_codd.atlas.source import source_names
from lm_eval_codd.launch import main
from lm_eval_codd.launch.devices import make_slots
from lm_eval_codd.launch.execute import Execution, Job
from lm_eval_codd.launch.jobs import select
from lm_eval_codd.launch.lock import Lock, take
from lm_eval_codd.launch.slurm.parts import Part, part_of
from tests.launch.conftest import RUNNER


@pytest.fixture
def dry(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("CODD_DATA_DIR", raising=False)

    def launch(*arguments: str) -> tuple[int, str]:
        code = main(["--output_dir", str(tmp_path / "results"), "--gpus", "cpu", "--dry-run", *arguments])
        captured = capsys.readouterr()
        assert not (tmp_path / "results").exists()
        return code, captured.out + captured.err

    return launch


class TestTheList:
    def test_has_every_source_with_its_counts(self, capsys):
        assert main(["--paper", "list"]) == 0
        rows = {line.split()[0]: line.split()[1:6] for line in capsys.readouterr().out.splitlines() if line}
        assert {*source_names(), "all"} < rows.keys()
        for name in source_names():
            plan = plan_cells([name])
            stated = [sum(one.cell.complete == kind for one in plan.all) for kind in ("yes", "up to the metric")]
            run = len(plan.ready) + len(plan.by_lm_eval)
            implausible = sum(one.cell.is_implausible for one in plan.all)
            assert rows[name] == [str(count) for count in (len(plan.all), *stated, run, implausible)]
        assert rows["llada"][:3] == ["129", "49", "22"] and rows["wino"][4] == "3"

    def test_stands_alone(self, capsys):
        assert main(["--paper", "list", "--dry-run"]) == 2
        assert "`--paper list` stands alone" in capsys.readouterr().err


class TestADryRun:
    def test_has_the_runs_what_they_need_and_the_figures(self, dry):
        code, output = dry("--paper", "llada:llada-base.humaneval.pure1024,llada-base.gsm8k.pure1024")
        assert code == 0
        assert "runs: 2;" in output and " 1350656 " in output
        assert "needs checkpoint GSAI-ML/LLaDA-8B-Base  [2 runs]" in output
        assert "needs the rows of humaneval, gsm8k" in output
        assert "needs --confirm_run_unsafe_code: humaneval execute" in output
        assert "llada:llada-base.gsm8k.pure1024" in output and "70.3" in output
        assert "exact_match,strict-match or exact_match,flexible-extract" in output

    @pytest.mark.parametrize("source", source_names())
    def test_of_every_source_names_each_of_its_cells_and_why_those_are_not_run_that_are_not(self, dry, source):
        code, output = dry("--paper", source)
        assert code == 0
        plan = plan_cells([source])
        assert {one.label for one in plan.all} <= set(output.split())
        for one in (*plan.refused, *plan.unstated):
            assert one.recipe.refusal in output and all(phrase in output for phrase in one.recipe.unstated)
        assert ("runs: " in output) == bool(plan.ready)

    def test_names_the_flags_that_say_what_a_source_does_not(self, dry):
        code, output = dry("--paper", "llada15")
        assert code == 0
        assert "prompt, shots, answer extraction  (--assume task=...,num_shot=...)" in output
        assert "llada15:llada-1.5.math.internal" in output

    def test_of_a_source_without_a_run_says_so_and_is_no_error(self, dry):
        code, output = dry("--paper", "p2")
        assert code == 0
        assert "runs:" not in output and "steps, eta, prompts  (--assume num_steps=...,eta=...,task=...)" in output

    def test_runs_what_is_assumed(self, dry):
        code, output = dry("--paper", "codd:table1.codd.margin.gsm8k.*", "--assume", "pc_frac=0.5,pc_temperature=0.2")
        assert code == 0
        assert "runs: 3;" in output and "assumed pc_frac=0.5; assumed pc_temperature=0.2" in output

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--paper", "lada"], "`paper=lada` is not known; use one of list, table1, "),
            (["--paper", "llada:x"], "`llada:x`: no such cell"),
            (["--paper", "llada:"], "`llada:` has an empty name of a cell; write llada alone for all of its cells"),
            (["--paper", "llada:x,"], "`llada:x`: no such cell"),
            (["--paper", "llada:llada-base.gsm8k.*,"], "`llada:llada-base.gsm8k.*,` has an empty name of a cell"),
            (
                ["--paper", "wino", "--assume", "gamma=-1"],
                "`--assume gamma=-1`: `gamma=-1` is out of range; it must be",
            ),
            (["--paper", "wino", "--assume", "gamma=x"], "`--assume gamma=x`: `--gamma x` must be a number"),
            (
                ["--paper", "codd:table1.codd.margin.gsm8k.64", "--assume", "pc_frac=0.5,pc_temperature=7"],
                "`--assume pc_temperature=7`: `pc_temperature=7` is out of range",
            ),
            (["--paper", "llada", "--assume", "eta=1"], "`--assume eta`: no chosen cell leaves it unsaid"),
            (["--demo", "--assume", "eta=1"], "`--assume` is for the cells of a --paper SOURCE"),
        ],
    )
    def test_refuses_what_is_not_there(self, arguments, message, dry):
        code, output = dry(*arguments)
        assert code == 2 and message in output and output.count("\n") == 1


class TestARun:
    def test_without_the_permission_that_it_needs_is_refused(self, capsys, tmp_path):
        code = main(["--output_dir", str(tmp_path), "--gpus", "cpu", "--paper", "llada:llada-base.humaneval.pure1024"])
        assert code == 2 and "say --confirm_run_unsafe_code" in capsys.readouterr().err

    def test_of_no_cell_that_can_be_run_is_refused(self, capsys):
        assert main(["--paper", "p2"]) == 2
        assert capsys.readouterr().err == (
            "lm-eval-codd launch: `--paper p2` has no cell to launch; --dry-run says why\n"
        )

    def test_records_its_cells_and_what_was_assumed_for_them(self, launcher, monkeypatch):
        monkeypatch.setenv("CODD_DATA_DIR", launcher.environment["CODD_DATA_DIR"])
        monkeypatch.setenv("FAKE_RUN", "{}")
        assumed = {"gen_length": "32"}
        ((name, run),) = select([launcher.run_text(steps=16)], [], launcher.results, {}).runs.items()
        job = Job(run, name, launcher.results / name, {}, published={"llada:x": assumed})
        folder = launcher.results / name
        held = take(folder, "now")
        assert isinstance(held, Lock)
        Execution(job, make_slots("cpu")[0], held, RUNNER).close()
        assert json.loads((folder / "run.json").read_text())["published"] == {"llada:x": assumed}

    def test_stands_for_the_cells_of_runs_that_are_the_same(self, tmp_path):
        plan = plan_cells(["codd:table5.codd.random.mbpp.64.*"])
        selection = select([], [], tmp_path, {}, cells=plan.ready)
        cells = [cell for of_run in selection.published.values() for cell in of_run]
        assert sorted(cells) == sorted(planned.label for planned in plan.ready)
        assert len(selection.runs) < len(cells) == 6

    def test_keeps_them_through_a_plan_for_slurm(self, tmp_path):
        plan = plan_cells(["codd:table1.codd.margin.gsm8k.64"], {"pc_frac": "0.5", "pc_temperature": "0.2"})
        selection = select([], [], tmp_path, {}, cells=plan.ready)
        ((name, run),) = selection.runs.items()
        wanted = {"codd:table1.codd.margin.gsm8k.64": {"pc_frac": "0.5", "pc_temperature": "0.2"}}
        assert selection.published[name] == wanted
        job = Job(run, name, tmp_path / name, {}, published=selection.published[name])
        data = json.loads(json.dumps(Part(job).as_data()))
        assert part_of(data, tmp_path).job.published == wanted
