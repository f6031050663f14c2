"""The launcher as a user meets it: a process, with fake runs in place of lm-eval."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.conftest import PATIENCE


def wait_for(condition: Callable[[], object]) -> object:
    """What the condition gives as soon as it gives something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class TestScheduling:
    def test_the_longest_run_starts_first_and_one_slot_runs_one_at_a_time(self, launcher):
        code, _ = launcher([launcher.run_text(steps=steps) for steps in (16, 64, 32)])
        assert code == 0
        assert launcher.order() == ["start 64", "end 64", "start 32", "end 32", "start 16", "end 16"]

    def test_two_slots_work_side_by_side_and_the_next_run_starts_as_one_frees(self, launcher):
        # The longest does not end before the shortest, which is started last, has answered.
        fake = {"64": {"until": str(launcher.results / "computed.txt")}, "16": {"answers": 1}}
        code, _ = launcher([launcher.run_text(steps=steps) for steps in (16, 64, 32)], gpus="cpu,cpu", fake=fake)
        assert code == 0
        order = launcher.order()
        assert order.index("end 32") < order.index("start 16") < order.index("end 64")

    def test_a_cpu_slot_hides_the_gpus_and_holds_its_share_of_the_cores(self, launcher):
        launcher([launcher.run_text(steps=16)], gpus="cpu,cpu")
        where = json.loads((launcher.results / "order.txt").read_text().splitlines()[0].split(maxsplit=2)[2])
        cores = len(os.sched_getaffinity(0))
        assert where == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(max(1, cores // 2))}


class TestAFailedRun:
    def test_is_named_with_the_end_of_its_log_while_the_others_go_on(self, launcher):
        text = "\n".join(f"line {number}" for number in range(40)) + "\nbar 10%\rbar 99%\nRuntimeError: out of memory"
        fake = {"64": {"fail": 3, "print": text}}
        code, output = launcher([launcher.run_text(steps=steps) for steps in (16, 64, 32)], fake=fake)
        assert code == 1
        assert launcher.order()[-1] == "end 16"
        tail = [line for line in output.splitlines() if line.startswith("    | ")]
        assert tail[-2:] == ["    | bar 99%", "    | RuntimeError: out of memory"]
        assert len(tail) == 15
        first = next(line for line in output.splitlines() if "failed   " in line)
        assert re.search(r"failed   steps64 after \d+ s: RuntimeError: out of memory \(exit status 3\)$", first)
        last = output.splitlines()[-1]
        assert "1 of 3 runs failed: llada_gsm8k_low_confidence_steps64_ckpt-tiny-llada" in last
        assert last.endswith(": RuntimeError: out of memory (exit status 3)")
        records = launcher.records()
        assert (records[64]["status"], records[64]["exit_status"]) == ("failed", 3)
        assert records[16]["status"] == records[32]["status"] == "finished"

    def test_that_wrote_no_results_has_failed_whatever_its_exit_status(self, launcher):
        code, output = launcher([launcher.run_text(steps=16)], fake={"16": {"mute": True}})
        assert code == 1
        assert "wrote no results" in output

    def test_that_wrote_results_which_are_cut_short_has_failed(self, launcher):
        code, output = launcher([launcher.run_text(steps=16)], fake={"16": {"torn": True}})
        assert code == 1
        assert ".json is cut short)" in output
        assert launcher([launcher.run_text(steps=16)])[0] == 0

    def test_leaves_no_process_behind(self, launcher):
        launcher([launcher.run_text(steps=16)], fake={"16": {"fail": 1, "grandchild": True}})
        pid = int(next(launcher.results.glob("*/grandchild.pid")).read_text())
        wait_for(lambda: not is_alive(pid))


class TestOutput:
    def test_is_a_line_an_event_and_a_table_without_the_childrens_output(self, launcher):
        code, output = launcher([launcher.run_text(steps=16)], "--limit", "8", fake={"16": {"print": "NOISE"}})
        assert code == 0
        assert "NOISE" not in output
        lines = output.splitlines()
        assert "started  llada_gsm8k_low_confidence_steps16" in lines[0]
        assert "on cpu (1/1)" in lines[0]
        assert "finished" in lines[1]
        assert "exact_match,flexible-extract 0.500 ± 0.010 (n=8 of 1319)" in lines[1]
        row = next(line for line in lines if line.startswith("llada_gsm8k"))
        assert row.split()[1:7] == ["codd_gsm8k", "exact_match,flexible-extract", "0.5000*", "0.0100", "8", "15.5"]
        assert "* a part of the task's documents only" in output

    def test_a_run_folder_holds_the_record_the_log_and_the_results(self, launcher):
        launcher([launcher.run_text(steps=16)], fake={"16": {"print": "NOISE"}})
        folder = next(path.parent for path in launcher.results.glob("*/run.json"))
        record = json.loads((folder / "run.json").read_text())
        assert record["status"] == "finished"
        assert (folder / record["results"]).is_file()
        assert record["identity"]["config"]["block_length"] == 32
        assert record["model_args"] == {
            "pretrained": str(launcher.checkpoint),
            "own_defaults": False,
            "alg": "low_confidence",
            "num_steps": 16,
        }
        assert record["command"][-2:] == ["--output_path", str(folder / "results.json")]
        assert record["seconds"] >= 0 and record["ended"] >= record["started"]
        assert record["host"] and record["device"] == "cpu" and "python" in record["versions"]
        assert "NOISE" in (folder / "log.txt").read_text()
        assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


class TestChecksBeforeTheFirstRun:
    def test_one_bad_run_among_good_ones_keeps_all_from_starting(self, launcher):
        bad = [launcher.run_text(steps=100), "--model_alias llada --task 'gsm8k", "--model_alias lada --task gsm8k"]
        code, output = launcher([launcher.run_text(steps=16), *bad])
        assert code == 2
        assert [line.split(":")[1] for line in output.splitlines()] == [" run 2", " run 3", " run 4"]
        assert not launcher.results.exists()

    def test_starts_nothing_where_a_file_is_wrong_and_names_the_runs(self, launcher):
        (launcher.checkpoint / "model.safetensors").unlink()
        code, output = launcher([launcher.run_text(steps=16), launcher.run_text(steps=32)])
        assert code == 2
        assert "has a config.json and no model.safetensors" in output and output.endswith("[2 runs]\n")
        assert not launcher.results.exists()

    def test_runs_that_are_the_same_are_merged_and_said_so(self, launcher):
        code, output = launcher([launcher.run_text(steps=64), launcher.run_text(steps=64, more="--tokens_per_step 8")])
        assert code == 0
        assert launcher.order() == ["start 64", "end 64"]
        assert "run 2 is the same as run 1 and is not repeated" in output

    def test_an_output_folder_that_is_a_file_is_one_line(self, launcher):
        launcher.results.write_text("")
        code, output = launcher([launcher.run_text(steps=16)])
        assert code == 2
        assert output.startswith("lm-eval-codd launch: `--output_dir ")
        assert len(output.splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "there is nothing to run"),
            (["--gpu", "0"], "unknown flag `--gpu`; did you mean `--gpus`"),
            (["--run"], "`--run` needs a value"),
        ],
    )
    def test_a_wrong_command_line_is_one_line(self, launcher, arguments, message):
        program = [sys.executable, "-m", "lm_eval_codd.launch", *arguments]
        process = subprocess.run(program, capture_output=True, text=True, env=launcher.environment, timeout=PATIENCE)
        assert process.returncode == 2
        assert process.stdout == ""
        assert process.stderr.startswith(f"lm-eval-codd launch: {message}")
        assert len(process.stderr.splitlines()) == 1


class TestRunsThatAreThereAlready:
    def test_a_finished_run_is_skipped_and_its_score_still_shown(self, launcher):
        launcher([launcher.run_text(steps=16)])
        code, output = launcher([launcher.run_text(steps=16)])
        assert code == 0
        assert launcher.order() == ["start 16", "end 16"]
        assert "finished already" in output and "--force" in output
        assert "0.5000" in output

    def test_force_runs_it_again_and_keeps_the_older_results(self, launcher):
        launcher([launcher.run_text(steps=16)])
        first = launcher.records()[16]["results"]
        code, _ = launcher([launcher.run_text(steps=16)], "--force")
        assert code == 0
        results = [path.name for path in launcher.results.glob("*/results_*.json")]
        assert len(results) == 2 and first in results
        assert launcher.records()[16]["results"] != first

    def test_forced_without_new_results_has_failed_in_spite_of_the_older_ones(self, launcher):
        launcher([launcher.run_text(steps=16)])
        code, output = launcher([launcher.run_text(steps=16)], "--force", fake={"16": {"mute": True}})
        assert code == 1
        assert "wrote no results" in output

    def test_a_failed_run_is_tried_again(self, launcher):
        launcher([launcher.run_text(steps=16)], fake={"16": {"fail": 1}})
        code, _ = launcher([launcher.run_text(steps=16)])
        assert code == 0
        assert launcher.records()[16]["status"] == "finished"

    def test_a_folder_of_another_run_is_not_written_over(self, launcher):
        launcher([launcher.run_text(steps=16)])
        path = next(launcher.results.glob("*/run.json"))
        record = json.loads(path.read_text())
        record["identity"]["config"]["seed"] = 7
        path.write_text(json.dumps(record))
        code, output = launcher([launcher.run_text(steps=16)])
        assert code == 2
        assert "holds a run with other settings" in output


class TestInterrupts:
    @pytest.mark.parametrize(
        ("number", "status", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "preempted", 143)]
    )
    def test_end_every_child_and_name_what_is_not_finished(self, launcher, tmp_path, number, status, code):
        endless = {"until": str(tmp_path / "never"), "grandchild": True}
        fake = {"64": endless, "32": endless}
        runs = [launcher.run_text(steps=steps) for steps in (64, 32, 16)]
        process = launcher.start(runs, gpus="cpu,cpu", fake=fake)
        while len(list(launcher.results.glob("*/grandchild.pid"))) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        pids = [int(wait_for(path.read_text)) for path in launcher.results.glob("*/grandchild.pid")]
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        wait_for(lambda: not any(map(is_alive, pids)))
        last = output.splitlines()[-1]
        assert f"{status}; not finished: " in last and last.endswith("; the same command goes on")
        assert all(f"steps{steps}_" in last for steps in (64, 32, 16))
        assert {record["status"] for record in launcher.records().values()} == {status}
        assert output.count(f" s: {status}\n") == 2
        assert 16 not in launcher.records()

    @pytest.mark.parametrize("fake", [{"fail": 143}, {"kill": signal.SIGTERM}], ids=["status 143", "SIGTERM"])
    def test_of_a_run_alone_count_as_such_and_the_other_runs_go_on(self, launcher, fake):
        texts = [launcher.run_text(steps=steps) for steps in (32, 16)]
        code, output = launcher(texts, fake={"32": fake})
        assert code == 143
        last = output.splitlines()[-1]
        assert "preempted; not finished: llada_gsm8k_low_confidence_steps32" in last and "steps16" not in last
        assert {steps: record["status"] for steps, record in launcher.records().items()} == {
            32: "preempted",
            16: "finished",
        }
        code, output = launcher(texts)
        assert code == 0 and output.count("skipped  ") == 1

    def test_a_reader_that_goes_away_ends_every_child_too(self, launcher, tmp_path):
        endless = {"until": str(tmp_path / "never"), "grandchild": True}
        fake = {"64": endless, "32": endless, "16": {"until": str(tmp_path / "gone")}}
        runs = [launcher.run_text(steps=steps) for steps in (64, 32, 16)]
        process = launcher.start(runs, gpus="cpu,cpu,cpu", fake=fake)
        assert all("started" in process.stdout.readline() for _ in runs)
        while len(list(launcher.results.glob("*/grandchild.pid"))) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        pids = [int(wait_for(path.read_text)) for path in launcher.results.glob("*/grandchild.pid")]
        process.stdout.close()
        (tmp_path / "gone").touch()  # the next line, which cannot be written, is that this run has finished
        assert process.wait(timeout=PATIENCE) != 0
        wait_for(lambda: not any(map(is_alive, pids)))
        statuses = {steps: record["status"] for steps, record in launcher.records().items()}
        assert statuses == {64: "interrupted", 32: "interrupted", 16: "finished"}


class TestImports:
    def test_the_launcher_imports_no_heavy_library(self, launcher):
        heavy = "[m for m in ('torch', 'lm_eval', 'transformers', 'datasets') if m in sys.modules]"
        program = [sys.executable, "-c", f"import sys, lm_eval_codd.launch; print({heavy})"]
        process = subprocess.run(program, capture_output=True, text=True, env=launcher.environment, timeout=PATIENCE)
        assert process.stdout.strip() == "[]"
