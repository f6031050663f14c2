import json
from pathlib import Path

import pytest

from lm_eval_codd.launch.devices import Slot
from lm_eval_codd.runs import record
from lm_eval_codd.runs.estimate import from_past, read_past, stated
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name

GPU = Slot("gpu 0", "cuda:0", {}, "H200")
CPU = Slot("cpu", "cpu", {}, "2 of 2 cores")


def run(more: str = "", task: str = "gsm8k"):
    return parse_run(f"--model_alias llada --task {task} {more}")


def finish(output_dir: Path, done, slot: Slot, seconds: float, **config) -> str:
    """A finished run's folder; `seconds` is its wall time."""
    folder = output_dir / run_name(done)
    results = {"n-samples": {done.task: {"effective": done.num_rows}}, "config": config}
    about = {"device": slot.device, "hardware": slot.hardware, "num_forward": done.num_forward, "task": done.task}
    about |= {"status": "finished", "identity": done.identity(), "seconds": seconds, "results": "results_1.json"}
    record.write(folder, about)
    (folder / "results_1.json").write_text(json.dumps(results))
    return folder.name


class TestFromPastRuns:
    def test_time_grows_with_forward_passes_and_rows(self, tmp_path):
        finish(tmp_path, run("--num_steps 64 --limit 10"), GPU, 99.0, decoding_seconds=30.0, requests=10)
        found = from_past(read_past(tmp_path))(run("--num_steps 256 --limit 100"), GPU)
        assert found.seconds == pytest.approx(3.0 * 4 * 100)
        assert "12 s a row" in found.source

    def test_wall_time_is_taken_where_the_model_has_not_counted(self, tmp_path):
        finish(tmp_path, run("--num_steps 64 --limit 10"), GPU, 50.0)
        assert from_past(read_past(tmp_path))(run("--num_steps 64"), GPU).seconds == pytest.approx(5 * 1319)

    def test_the_nearest_run_counts(self, tmp_path):
        for more, seconds in (
            ("--num_steps 64", 1.0),
            ("--num_steps 128", 2.5),
            ("--num_steps 128 --pc_ckpt a/b", 9.0),
        ):
            finish(tmp_path, run(more), GPU, 0.0, decoding_seconds=seconds, requests=1)
        finish(tmp_path, run("--num_steps 256 --gen_length 256"), GPU, 0.0, decoding_seconds=77.0, requests=1)
        estimate = from_past(read_past(tmp_path))
        assert estimate(run("--num_steps 256"), GPU).seconds / 1319 == pytest.approx(5.0)
        assert estimate(run("--num_steps 64"), GPU).seconds / 1319 == pytest.approx(1.0)
        assert estimate(run("--num_steps 256 --pc_ckpt c/d"), GPU).seconds / 1319 == pytest.approx(18.0)

    def test_another_checkpoint_or_kind_of_device_says_nothing(self, tmp_path):
        finish(tmp_path, run(), GPU, 50.0)
        estimate = from_past(read_past(tmp_path))
        assert estimate(run("--llada_ckpt own/llada"), GPU) is None
        assert estimate(run(), CPU) is None
        assert estimate(run(task="triviaqa"), GPU) is None

    def test_whatever_else_lies_in_the_folder_is_passed_over(self, tmp_path):
        name = finish(tmp_path, run(), GPU, 50.0)
        (tmp_path / "notes.txt").touch()
        for number, content in enumerate(
            ["", "{", "[]", '{"status": "finished"}', '{"status": "finished", "results": 3}']
        ):
            (tmp_path / f"torn{number}").mkdir()
            (tmp_path / f"torn{number}" / "run.json").write_text(content)
        torn = finish(tmp_path, run("--num_steps 64"), GPU, 50.0)
        (tmp_path / torn / "results_1.json").write_text('{"n-samples": ')
        assert [past.name for past in read_past(tmp_path)] == [name]
        assert read_past(tmp_path / "none") == []


class TestWhereTheConfidencesDecideOnTheSteps:
    def test_the_same_rule_has_shown_what_it_takes(self, tmp_path):
        counted = {"decoding_seconds": 20.0, "requests": 10, "mean_nfe": 80.0}
        finish(tmp_path, run("--threshold 0.9"), GPU, 0.0, **counted)
        estimate = from_past(read_past(tmp_path))
        found = estimate(run("--threshold 0.9 --limit 100"), GPU)
        assert (found.seconds, found.is_bound) == (pytest.approx(200.0), False)
        half = estimate(run("--threshold 0.9 --gen_length 256 --limit 100"), GPU)
        assert (half.seconds, half.is_bound) == (pytest.approx(100.0), False)

    def test_another_rule_gives_an_upper_bound_of_a_step_a_token(self, tmp_path):
        counted = {"decoding_seconds": 20.0, "requests": 10, "mean_nfe": 80.0}
        finish(tmp_path, run("--threshold 0.9"), GPU, 0.0, **counted)
        found = from_past(read_past(tmp_path))(run("--threshold 0.8 --limit 100"), GPU)
        assert (found.seconds, found.is_bound) == (pytest.approx(200.0 * 512 / 80), True)
        exact = from_past(read_past(tmp_path))(run("--num_steps 64 --limit 100"), GPU)
        assert (exact.seconds, exact.is_bound) == (pytest.approx(200.0 * 64 / 80), False)

    def test_a_past_block_run_under_another_rule_gives_a_bound(self, tmp_path):
        def block(rule: str):
            text = "--model_alias masked_lm --masked_lm_ckpt a/b --family sdar --task gsm8k --limit 100"
            return parse_run(f"{text} --decoder block_diffusion --block_length 4 --threshold 0.9 {rule}")

        counted = {"decoding_seconds": 20.0, "requests": 10, "mean_nfe": 80.0}
        finish(tmp_path, block("--rule sdar --remask dynamic"), GPU, 0.0, **counted)
        estimate = from_past(read_past(tmp_path))
        found = [estimate(block(rule), GPU).is_bound for rule in ("--rule sdar --remask dynamic", "--rule sdar_greedy")]
        assert found == [False, True]

    def test_an_exact_run_bounds_one_with_a_cache_and_none_is_told_by_it(self, tmp_path):
        finish(tmp_path, run("--num_steps 64"), GPU, 0.0, decoding_seconds=2.0, requests=1)
        found = from_past(read_past(tmp_path))(run("--num_steps 64 --cache dual --limit 100"), GPU)
        assert (found.seconds, found.is_bound) == (pytest.approx(200.0), True)
        finish(tmp_path, run("--num_steps 128 --cache dual"), GPU, 0.0, decoding_seconds=1.0, requests=1)
        estimate = from_past(read_past(tmp_path))
        cached = estimate(run("--num_steps 64 --cache dual --limit 100"), GPU)
        assert (cached.seconds, cached.is_bound) == (pytest.approx(50.0), False)
        assert estimate(run("--num_steps 128 --limit 100"), GPU).seconds == pytest.approx(400.0)
        cached_alone = [past for past in read_past(tmp_path) if "cache" in past.name]
        assert from_past(cached_alone)(run("--num_steps 128 --limit 100"), GPU) is None

    def test_a_stated_figure_gives_a_bound(self):
        found = stated(0.05)(run("--threshold 0.9 --limit 10"), GPU)
        assert (found.seconds, found.is_bound) == (pytest.approx(0.05 * 512 * 10), True)


class TestStated:
    def test_is_seconds_a_forward_pass_of_a_row(self):
        assert stated(0.05)(run("--num_steps 64 --limit 10"), GPU).seconds == pytest.approx(0.05 * 64 * 10)
        assert stated(0.05)(run(task="triviaqa"), GPU) is None

    @pytest.mark.parametrize("figure", [0.0, -1.0, float("nan"), float("inf")])
    def test_must_be_above_zero(self, figure):
        with pytest.raises(ValueError, match=r"`--seconds_per_forward .*` must be above 0"):
            stated(figure)
