"""The same command again: what is finished is skipped, what is not goes on, and nothing is done twice."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lm_eval_codd.launch import jobs
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.runs import record
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import former_name, run_name
from tests.launch.conftest import PATIENCE
from tests.launch.kills import kill_all
from tests.run_files import circuit_file, header_alone

ANSWERS = 6
FAKE = {str(steps): {"answers": ANSWERS, "each": 0.02} for steps in (16, 32, 48, 64)}
STEPS = [int(steps) for steps in FAKE]


def computed(results: Path) -> Counter:
    path = results / "computed.txt"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def answers(results: Path) -> dict[str, str]:
    return {str(path.relative_to(results)): path.read_text() for path in results.glob("*/journal/*.txt")}


class TestAfterAKill:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_at_random_moments_the_same_answers_come_out_and_none_is_made_twice(self, launcher, seed):
        texts = [launcher.run_text(steps=steps) for steps in STEPS]
        generator = random.Random(seed)
        for _ in range(3):
            process = launcher.start(texts, gpus="cpu,cpu", fake=FAKE)
            time.sleep(generator.uniform(0.2, 0.7))
            if process.poll() is None:
                kill_all(process)
            else:
                process.communicate()
        code, output = launcher(texts, gpus="cpu", fake=FAKE)
        assert code == 0, output
        assert {record["status"] for record in launcher.records().values()} == {"finished"}
        assert answers(launcher.results) and len(answers(launcher.results)) == len(STEPS) * ANSWERS
        # The fake notes an answer after it is there: a kill between the two hides one, and none can come twice.
        assert set(computed(launcher.results).values()) == {1}

    def test_of_the_launcher_alone_the_run_is_waited_for(self, launcher, tmp_path):
        second_has_seen_it = tmp_path / "seen"
        text, fake = launcher.run_text(steps=16), {"16": {**FAKE["16"], "until": str(second_has_seen_it)}}
        first = launcher.start([text], fake=fake)
        while not (launcher.results / "order.txt").exists():
            time.sleep(0.02)
        first.kill()
        first.communicate()
        second = launcher.start([text], fake=fake)
        output = second.stdout.readline()
        while "waiting  " not in output:
            line = second.stdout.readline()
            assert line, output
            output += line
        second_has_seen_it.touch()
        output += second.communicate(timeout=PATIENCE)[0]
        assert second.returncode == 0
        assert f"a run whose launcher (process {first.pid} on " in output
        assert set(computed(launcher.results).values()) == {1}
        assert launcher.order() == ["start 16", "end 16", "start 16", "end 16"]

    def test_of_a_launcher_and_its_run_another_one_that_waits_takes_over(self, launcher):
        text, fake = launcher.run_text(steps=16), {"16": {**FAKE["16"], "hangs": 1}}
        first = launcher.start([text], fake=fake)
        while not (launcher.results / "hanging.txt").exists() or not (launcher.results / "hanging.txt").read_text():
            time.sleep(0.02)
        second = launcher.start([text], fake=fake)
        assert "waiting  " in second.stdout.readline()
        kill_all(first)
        output, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 0, output
        assert launcher.order() == ["start 16", "start 16", "end 16"]
        assert set(computed(launcher.results).values()) == {1}
        assert not list(launcher.results.glob("*/.lock"))

    def test_a_remark_says_that_a_run_goes_on(self, launcher):
        text = launcher.run_text(steps=16)
        launcher([text], fake={"16": {"fail": 1, "answers": 2}})
        code, output = launcher([text], fake=FAKE)
        assert code == 0
        assert "resumed  llada_gsm8k_low_confidence_steps16" in output
        assert set(computed(launcher.results).values()) == {1}


class TestAFinishedRun:
    def test_is_skipped_and_starts_nothing(self, launcher):
        texts = [launcher.run_text(steps=steps) for steps in STEPS]
        launcher(texts)
        code, output = launcher(texts)
        assert code == 0 and output.count("skipped  ") == len(STEPS)
        assert "started  " not in output

    def test_of_many_is_recognised_by_its_files_alone(self, checkpoint, tmp_path):
        texts = [f"--model_alias llada --llada_ckpt '{checkpoint}' --task gsm8k --tag {n}" for n in range(300)]
        for text in texts:
            run = parse_run(text)
            folder = tmp_path / run_name(run)
            record.write(
                folder,
                {
                    "status": "finished",
                    "identity": run.identity(),
                    "results": "results_1.json",
                    "fingerprints": run.fingerprints(),
                    "ended": "now",
                },
            )
            (folder / "results_1.json").write_text("{}")
        selection = jobs.select(texts, [], tmp_path, {})
        assert len(selection.finished) == 300

    def test_is_run_again_when_its_checkpoint_was_written_again(self, launcher):
        text = launcher.run_text(steps=16)
        launcher([text], fake=FAKE)
        weights = launcher.checkpoint / "model.safetensors"
        weights.write_bytes(header_alone(__metadata__={}))
        code, output = launcher([text], fake=FAKE)
        assert code == 0
        assert "repeats  " in output and "its checkpoint changed since it finished" in output
        assert launcher.order().count("start 16") == 2
        os.utime(weights, ns=(1, 1))
        _, output = launcher([text], fake=FAKE)
        assert launcher.order().count("start 16") == 3
        _, output = launcher([text], fake=FAKE)
        assert "skipped  " in output

    def test_is_not_repeated_for_notes_beside_the_checkpoint(self, launcher):
        launcher([launcher.run_text(steps=16)])
        (launcher.checkpoint / "README.md").write_text("notes")
        (launcher.checkpoint / ".cache").mkdir()
        _, output = launcher([launcher.run_text(steps=16)])
        assert "skipped  " in output

    def test_of_another_circuit_file_is_run_again(self, tmp_path):
        circuit = tmp_path / "c.jpc"
        circuit.write_bytes(b"1")
        run = parse_run(f"--model_alias llada --task gsm8k --pc_ckpt '{circuit}'")
        before = {"fingerprints": run.fingerprints()}
        assert record.changed(before, run) == []
        circuit.write_bytes(b"22")
        assert record.changed(before, run) == ["circuit"]

    def test_made_anew_by_a_clock_that_went_backwards_has_its_new_results(self, launcher):
        text = launcher.run_text(steps=16)
        launcher([text])
        path = next(launcher.results.glob("*/run.json"))
        later = "results_2999-01-01T00-00-00.json"
        (path.parent / json.loads(path.read_text())["results"]).rename(path.parent / later)
        path.write_text(json.dumps({**json.loads(path.read_text()), "results": later, "ended": "2999"}))
        code, _ = launcher([text], "--force")
        assert code == 0
        assert json.loads(path.read_text())["results"] < later
        assert (path.parent / later).exists()

    def test_forced_starts_from_nothing_and_keeps_the_old_answers_aside(self, launcher):
        text = launcher.run_text(steps=16)
        launcher([text], fake=FAKE)
        code, _ = launcher([text], "--force", fake=FAKE)
        assert code == 0
        assert set(computed(launcher.results).values()) == {2}
        assert len(list(launcher.results.glob("*/journal*"))) == 2

    def test_is_enough_for_others_that_are_provably_the_same(self, launcher):
        def sweep(fractions):
            text = f"model_alias=llada 'llada_ckpt={launcher.checkpoint}' task=gsm8k num_steps=64 'pc_ckpt={circuit}'"
            return "--sweep", f"{text} pc_frac={fractions}"

        circuit = circuit_file(launcher.results.parent / "c.safetensors")
        assert launcher([], *sweep("0.5"))[0] == 0
        code, output = launcher([], *sweep("0.3,0.4,0.5"))
        assert code == 0
        assert "pc_frac 0.5 stands for all (2 runs less)" in output
        assert launcher.order() == ["start 64", "end 64"]


class TestTwoLaunchers:
    def test_share_the_work_and_say_who_has_what(self, launcher, tmp_path):
        texts = [launcher.run_text(steps=steps) for steps in STEPS]
        second_has_seen_it = tmp_path / "seen"
        fake = {**FAKE, "64": {**FAKE["64"], "until": str(second_has_seen_it)}}
        first = launcher.start(texts, fake=fake)
        while not (launcher.results / "order.txt").exists():
            time.sleep(0.02)
        second = launcher.start(texts, fake=fake)
        said = second.stdout.readline()
        while "waiting  " not in said:
            line = second.stdout.readline()
            assert line, said
            said += line
        second_has_seen_it.touch()
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in (first, second)]
        outputs[1] = said + outputs[1]
        assert (first.returncode, second.returncode) == (0, 0)
        assert sorted(launcher.order()) == sorted(f"{what} {steps}" for what in ("start", "end") for steps in STEPS)
        assert set(computed(launcher.results).values()) == {1}
        told = [line for line in outputs[1].splitlines() if "waiting  " in line]
        assert "steps64" in told[0] and f": held by process {first.pid} on " in told[0]
        assert told[0].endswith("; the other runs go first")
        assert any("steps64 " in line and "by another launcher: " in line for line in outputs[1].splitlines())
        assert not list(launcher.results.glob("*/.lock"))

    def test_the_second_can_be_interrupted_while_it_waits(self, launcher, tmp_path):
        text, fake = launcher.run_text(steps=16), {"16": {"until": str(tmp_path / "never")}}
        first = launcher.start([text], fake=fake)
        while not (launcher.results / "order.txt").exists():
            time.sleep(0.02)
        second = launcher.start([text], fake=fake)
        assert "waiting  " in second.stdout.readline()
        second.send_signal(signal.SIGINT)
        output, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 130 and "interrupted; not finished" in output
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=PATIENCE)


class TestFilesThatAreNotWhatTheyShouldBe:
    @pytest.mark.parametrize("content", ["", '{"status": "finish', "[]", "null", "\x00\x00"])
    def test_a_torn_record_is_run_again_in_its_folder(self, launcher, content):
        text = launcher.run_text(steps=16)
        launcher([text], fake=FAKE)
        path = next(launcher.results.glob("*/run.json"))
        path.write_text(content)
        code, _ = launcher([text], fake=FAKE)
        assert code == 0
        assert json.loads(path.read_text())["status"] == "finished"
        assert set(computed(launcher.results).values()) == {1}

    def test_what_a_kill_left_half_written_is_removed(self, launcher):
        text = launcher.run_text(steps=16)
        launcher([text], fake={"16": {"fail": 1}})
        folder = next(launcher.results.glob("*/run.json")).parent
        for name in (".run.json.x1y2", ".progress.json", "progress.json", ".lock"):
            (folder / name).write_text("{")
        code, _ = launcher([text])
        assert code == 0
        assert [path.name for path in folder.iterdir() if path.name.startswith((".", "progress"))] == []

    def test_foreign_files_and_folders_are_left_alone(self, launcher):
        launcher.results.mkdir()
        foreign = {"notes.txt": "mine", "other/run.json": "not json", "other/data.bin": "x", ".hidden/y": "z"}
        for name, content in foreign.items():
            (launcher.results / name).parent.mkdir(exist_ok=True)
            (launcher.results / name).write_text(content)
        code, _ = launcher([launcher.run_text(steps=16)])
        assert code == 0
        assert {name: (launcher.results / name).read_text() for name in foreign} == foreign

    def test_a_file_in_the_place_of_a_runs_folder_fails_that_run_alone(self, launcher):
        run = parse_run(launcher.run_text(steps=64))
        launcher.results.mkdir()
        (launcher.results / run_name(run)).write_text("mine")
        code, output = launcher([launcher.run_text(steps=64), launcher.run_text(steps=16)])
        assert code == 1
        assert "cannot be started" in output
        assert launcher.order() == ["start 16", "end 16"]

    def test_a_full_disk_leaves_the_old_record_whole(self, tmp_path, monkeypatch):
        record.write(tmp_path, {"status": "old"})

        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            record.write(tmp_path, {"status": "new"})
        assert record.read(tmp_path) == {"status": "old"}
        assert [path.name for path in tmp_path.iterdir()] == ["run.json"]

    def test_an_output_folder_on_a_full_disk_is_one_line(self, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(jobs.tempfile, "NamedTemporaryFile", full)
        with pytest.raises(NotStarted, match="cannot be written: No space left on device"):
            jobs.prepare_folder(tmp_path)


class TestAChangedNumberOfSlots:
    def test_makes_no_other_run(self, launcher):
        texts = [launcher.run_text(steps=steps) for steps in STEPS]
        launcher(texts, gpus="cpu", fake=FAKE)
        _, output = launcher(texts, gpus="cpu,cpu,cpu", fake=FAKE)
        assert output.count("skipped  ") == len(STEPS)


class TestWrongSweepsOnTheCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--sweep", "model_alias=llada task=gsm8k seeds=8"], "unknown key `seeds`; did you mean `seed`"),
            (["--sweep", "model_alias=llada task=gsm8k alg="], "`alg` has no values"),
            (["--sweep", "model_alias=llada task=gsm8k alg=margin alg=entropy"], "`alg` is given twice"),
            (["--sweep", "model_alias=llada task=gsm8k num_steps=100,101,64"], "`num_steps=100` cannot be split"),
            (["--sweep", "none.yaml"], "`none.yaml` cannot be read"),
            (["--paper", "table4"], "left out 46 points: `pc_ckpt@gpqa` has no value; give one with --set"),
            (["--paper", "table1", "--select", "best"], "`select=best` is not known; use one of fixed, grid-max"),
            (["--run", "--model_alias llada --task gsm8k", "--set", "seed=1"], "`--set` changes a --sweep or --paper"),
            (["--demo", "--dry-run", "--seconds_per_forward", "0"], "`--seconds_per_forward 0` must be above 0"),
        ],
    )
    def test_are_one_line_each(self, launcher, arguments, message):
        where = ["--gpus", "cpu", "--output_dir", str(launcher.results)]
        program = [sys.executable, "-m", "lm_eval_codd.launch", *where, *arguments]
        process = subprocess.run(program, capture_output=True, text=True, env=launcher.environment, timeout=PATIENCE)
        assert (process.returncode, process.stdout) == (2, "")
        lines = process.stderr.splitlines()
        assert message in lines[0]
        assert all(line.startswith("lm-eval-codd launch: ") for line in lines)
        assert len(lines) == (2 if "100,101" in arguments[1] else 1)


class TestRunsOfOlderVersions:
    def finish(self, results: Path, name: str, identity: dict) -> None:
        (results / name).mkdir(parents=True)
        (results / name / "results_1.json").write_text("{}")
        about = {"status": "finished", "identity": identity, "results": "results_1.json", "ended": "before"}
        record.write(results / name, about)

    def test_are_finished_where_a_setting_did_not_exist_yet(self, tmp_path):
        run = parse_run("--model_alias llada --task gsm8k")
        older = run.identity()
        del older["config"]["factor"], older["config"]["cache"]
        self.finish(tmp_path, run_name(run), older)
        assert jobs.select(["--model_alias llada --task gsm8k"], [], tmp_path, {}).finished == {run_name(run)}
        with pytest.raises(NotStarted, match="holds a run with other settings"):
            older["config"]["seed"] = 7
            record.write(tmp_path / run_name(run), {"identity": older})
            jobs.select(["--model_alias llada --task gsm8k"], [], tmp_path, {})

    @pytest.mark.parametrize("more", ["", "--tag a_b"])
    def test_were_without_examples_where_they_say_0(self, tmp_path, more):
        text = f"--model_alias llada --task gsm8k_cot {more}"
        none = parse_run(f"{text} --num_shot 0")
        self.finish(tmp_path, former_name(none), none.identity())
        assert jobs.select([f"{text} --num_shot 0"], [], tmp_path, {}).finished == {former_name(none)}
        try:
            own = jobs.select([text], [], tmp_path, {})
        except NotStarted as error:
            assert "(num_shot=0 there)" in str(error)
        else:
            assert not own.finished

    def test_keep_the_hashes_in_their_names(self):
        assert run_name(parse_run("--model_alias llada --task gsm8k --tag a_b")).endswith("_tag-a_b-4a3b28ef")
        assert former_name(parse_run("--model_alias dream --task gsm8k_cot --tag a_b --num_shot 0")).endswith(
            "7dc1bdd3"
        )
