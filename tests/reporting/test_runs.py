import json
import shutil

import pytest

from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.reference import identity_of
from lm_eval_codd.reporting.runs import read_folder, read_runs
from tests.reporting.synthetic import GOLDEN, STAMP, outcomes, write_run


class TestARealRun:
    @pytest.fixture
    def run(self, tmp_path):
        folder = tmp_path / "NAME"
        folder.mkdir()
        record = json.loads((GOLDEN / "run.json").read_text())
        shutil.copy(GOLDEN / "run.json", folder)
        shutil.copy(GOLDEN / "results.json", folder / record["results"])
        shutil.copy(
            GOLDEN / "samples.jsonl",
            folder / record["results"].replace("results_", "samples_codd_gsm8k_").replace(".json", ".jsonl"),
        )
        return next(iter(read_runs(folder)), None)

    def test_says_what_was_scored(self, run):
        assert (run.benchmark, run.metric, run.value, run.n, run.total) == (
            "gsm8k",
            "exact_match,flexible-extract",
            0.0,
            3,
            1319,
        )
        assert (run.limit, run.is_partial, run.has_other_rows, run.correct) == ("limit 3", True, False, 0)

    def test_says_what_it_was_made_with(self, run):
        assert (run.family, run.settings["alg"], run.settings["num_steps"]) == ("llada", "low_confidence", 8)
        assert (run.checkpoint, run.circuit, run.dtype, run.hardware) == ("tiny", None, "float32", "cpu (x86_64)")
        assert run.checkpoint_identity.startswith("sha256:")
        assert run.system_prompt == "You are a helpful assistant."
        assert run.chat_template_sha.startswith("02f5d920")
        assert {"torch", "lm_eval", "lm_eval_codd", "transformers"} <= run.versions.keys()

    def test_says_what_it_cost(self, run):
        assert run.nfe == 8.0
        assert run.seconds == 41.2
        assert 0 < run.seconds_per_sample < 1

    def test_finds_its_samples(self, run):
        assert run.samples.is_file()


class TestAFolder:
    def test_counts_what_is_no_run(self, tmp_path):
        write_run(tmp_path, [1, 0], name="b")
        write_run(tmp_path, [1, 0], name="a")
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "empty").mkdir()
        (tmp_path / ".hidden").mkdir()
        folder = read_folder(tmp_path)
        assert [run.name for run in folder.runs] == ["a", "b"]
        assert folder.num_foreign == 2

    def test_names_a_truncated_file_and_reads_the_others(self, tmp_path):
        write_run(tmp_path, [1, 0], name="whole")
        broken = write_run(tmp_path, [1, 0], name="broken") / f"results_{STAMP}.json"
        broken.write_bytes(broken.read_bytes()[:500])
        (write_run(tmp_path, [1], name="no_record") / "run.json").write_text('{"name"')
        folder = read_folder(tmp_path)
        assert [run.name for run in folder.runs] == ["whole"]
        assert len(folder.problems) == 2
        assert str(broken) in folder.problems[0]
        assert "no_record/run.json is truncated" in folder.problems[1]

    def test_may_be_one_runs_own(self, tmp_path):
        folder = write_run(tmp_path, [1, 0], name="a")
        assert [run.name for run in read_folder(folder).runs] == ["a"]

    def test_that_does_not_exist_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="is not a folder"):
            read_folder(tmp_path / "nowhere")

    def test_with_a_failed_run_shows_no_score_of_it(self, tmp_path):
        write_run(tmp_path, [1, 0], status="failed")
        (run,) = read_folder(tmp_path).runs
        assert (run.status, run.value) == ("failed", None)

    def test_counts_no_right_answers_where_a_document_has_several(self, tmp_path):
        folder = write_run(tmp_path, [0.75, 0.25, 1, 0])
        path = next(folder.glob("results_*.json"))
        data = json.loads(path.read_text())
        data["configs"]["codd_gsm8k"]["repeats"] = 4
        path.write_text(json.dumps(data))
        (run,) = read_folder(tmp_path).runs
        assert (run.value, run.correct, run.binomial_stderr) == (0.5, None, 0.01)


class TestLmEvalAlone:
    def test_tells_runs_in_one_folder_apart_and_takes_the_latest_of_each(self, tmp_path):
        together = tmp_path / "together"
        together.mkdir()
        for stamp, steps, right in (("1", 64, [0, 0]), ("2", 128, [1, 0]), ("3", 64, [1, 1])):
            folder = write_run(tmp_path / "parts", right, steps=steps, name=stamp)
            shutil.copy(folder / f"results_{STAMP}.json", together / f"results_{stamp}.json")
        runs = read_folder(together).runs
        assert {run.settings["num_steps"]: run.value for run in runs} == {64: 1.0, 128: 0.5}

    @pytest.mark.parametrize(
        "argument",
        [{"planner": "owner/name"}, {"tokenizer": "/a/b"}, {"add_bos_token": True}, {"chat_template_args": {"a": 1}}],
    )
    def test_tells_runs_apart_by_what_their_model_was_given(self, tmp_path, argument):
        write_run(tmp_path, outcomes(20, 10), name="without", config={"chat_template_args": {}, "planner": None})
        write_run(tmp_path, outcomes(20, 12), name="with", config=argument)
        folder = read_folder(tmp_path)
        assert [bool(run.model_arguments) for run in folder.runs] == [True, False]
        ((name, value),) = argument.items()
        (given,) = (group for group in group_runs(folder.runs) if name in group.title)
        assert f"{name}={value if name in ('planner', 'add_bos_token') else ''}" in given.title
        assert len({repr(identity_of(run)) for run in folder.runs}) == 2
        alone = tmp_path / "alone"
        alone.mkdir()
        for run in ("without", "with"):
            (tmp_path / run / "run.json").unlink()
            (alone / f"results_{run}.json").write_bytes(next((tmp_path / run).glob("results_*.json")).read_bytes())
        assert len(read_folder(alone).runs) == 2

    @pytest.mark.parametrize("shots, apart", [(5, True), (0, False)])
    def test_tells_runs_apart_whose_examples_stand_in_one_turn(self, tmp_path, shots, apart):
        """Where there are examples, and a chat template to make turns with."""
        for name, turns in (("turns", True), ("one", False)):
            change = {"fewshot_as_multiturn": turns, "n-shot": {"codd_gsm8k": shots}}
            write_run(tmp_path, outcomes(20, 10), name=name, change=change)
        groups = group_runs(read_folder(tmp_path).runs)
        assert len(groups) == (2 if apart else 1)
        assert any("fewshot_as_multiturn=False" in group.title for group in groups) is apart

    def test_reads_every_task_of_a_file_without_sharing_its_cost(self, tmp_path):
        folder = write_run(tmp_path, [1, 0], name="a")
        (folder / "run.json").unlink()
        path = folder / f"results_{STAMP}.json"
        data = json.loads(path.read_text())
        for part in ("results", "configs", "n-samples"):
            data[part]["codd_math500"] = data[part]["codd_gsm8k"]
        path.write_text(json.dumps(data))
        runs = read_folder(tmp_path).runs
        assert sorted(run.benchmark for run in runs) == ["gsm8k", "math500"]
        assert {run.nfe for run in runs} == {None}

    def test_settings_of_a_task_win(self, tmp_path):
        write_run(tmp_path, [1], config={"settings_of_tasks": {"codd_gsm8k": {"gen_length": 99}}})
        assert read_folder(tmp_path).runs[0].settings["gen_length"] == 99


class TestFigures:
    def test_counts_right_answers_from_the_mean(self, tmp_path):
        write_run(tmp_path, outcomes(1319, 471))
        (run,) = read_folder(tmp_path).runs
        assert run.correct == 471
        assert run.binomial_stderr == pytest.approx((471 / 1319 * 848 / 1319 / 1319) ** 0.5)

    def test_has_no_count_where_documents_score_fractions(self, tmp_path):
        write_run(tmp_path, [1, 0, 0.25])
        (run,) = read_folder(tmp_path).runs
        assert run.correct is None
        assert run.binomial_stderr == run.stderr

    def test_seconds_are_of_one_device(self, tmp_path):
        write_run(tmp_path, [1, 0], config={"decoding_seconds": 10.0, "world_size": 2})
        assert read_folder(tmp_path).runs[0].seconds_per_sample == 10.0
