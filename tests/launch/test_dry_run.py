"""`--dry-run`: what would be started, and what it would cost."""

import os
import subprocess
import sys

from lm_eval_codd.demo import packaged
from lm_eval_codd.launch.demos import DEMOS
from lm_eval_codd.launch.jobs import select
from lm_eval_codd.runs.gates import block_gates
from lm_eval_codd.runs.sweep import parse_sweep
from tests.launch.conftest import PATIENCE
from tests.run_files import circuit_file


class TestDryRun:
    def test_lists_runs_slots_commands_and_cost_and_starts_nothing(self, launcher):
        runs = [launcher.run_text(steps=16), launcher.run_text(steps=64, more="--limit 8")]
        code, output = launcher(runs, "--dry-run", gpus="cpu,cpu")
        assert code == 0
        assert not launcher.results.exists()
        rows = [line.split() for line in output.splitlines() if line[:1].isdigit()]
        assert rows[0] == ["1", "gsm8k", "low_confidence", "16", "-", "16", "1319", "21104", "unknown"]
        assert rows[1] == ["2", "gsm8k", "low_confidence", "64", "-", "64", "8", "512", "unknown", "limit8"]
        assert "21616  unknown" in next(line for line in output.splitlines() if "sum" in line)
        assert "--apply_chat_template" not in output and "chat template: yes  [runs 1-2]" in output
        _, output = launcher(runs, "--dry-run", "--commands", gpus="cpu,cpu")
        assert output.count("--apply_chat_template") == 2
        assert "1. llada_gsm8k_low_confidence_steps16_" in output

    def test_counts_every_answer_to_a_row(self, launcher):
        run = launcher.run_text(steps=32, task="humaneval_opendllm", more="--gen_length 32 --temperature 0.8 --limit 3")
        _, output = launcher([run], "--dry-run", "--commands")
        assert "  3 x10  " in output and "  960  " in output
        assert "chat template: none  [run 1]" in output and "--apply_chat_template" not in output

    def test_refuses_a_file_for_the_output_folder_as_a_run_does(self, launcher):
        launcher.results.touch()
        code, output = launcher([launcher.run_text(steps=16)], "--dry-run")
        assert (code, output.count("\n")) == (2, 1)
        assert output.startswith(f"lm-eval-codd launch: `--output_dir {launcher.results}` is a file; give a folder")

    def test_plans_for_gpus_that_are_not_here(self, launcher):
        code, output = launcher([launcher.run_text(steps=16)], "--dry-run", gpus="0,7")
        assert code == 0
        assert output.splitlines()[0] == "runs: 1; slots: gpu 0, gpu 7; the longest first"

    def test_says_whether_prompts_go_through_a_template(self, launcher):
        (launcher.checkpoint / "chat_template.jinja").unlink()
        code, output = launcher([launcher.run_text(steps=16)], "--dry-run", "--commands")
        assert code == 0
        assert "chat template: none  [run 1]" in output and "--apply_chat_template" not in output

    def test_commands_are_for_a_dry_run(self, launcher):
        code, output = launcher([launcher.run_text(steps=16)], "--commands")
        assert (code, output) == (
            2,
            "lm-eval-codd launch: `--commands` shows the commands of a dry run; add --dry-run, or leave it out\n",
        )

    def test_of_a_table_of_the_paper_says_that_approximate_runs_are_not_its_cells(self, launcher):
        code, output = launcher([], "--paper", "table1", "--dry-run", "--set", "cache=dual")
        assert code == 0
        assert "runs are approximate (cache=dual) and the paper's tables exact: `report --table` and" in output
        _, output = launcher([], "--paper", "table1", "--dry-run")
        assert "approximate" not in output

    def test_of_a_table_of_the_paper_says_that_an_extension_is_none_of_its_cells(self, launcher):
        code, output = launcher(
            [], "--paper", "table4", "--dry-run", "--set", "decoder=p2 alg=low_confidence pc_ckpt@gpqa=a/b"
        )
        assert code == 0
        assert "circuit with decoder=p2: an extension, which is no cell of the paper's tables" in output

    def test_names_what_is_an_extension(self, launcher, tmp_path):
        circuit = circuit_file(tmp_path / "circuit.safetensors")
        texts = [launcher.run_text(steps=16), launcher.run_text(steps=16, more=f"--decoder p2 --pc_ckpt '{circuit}'")]
        code, output = launcher(texts, "--dry-run")
        assert code == 0
        assert output.count("extension, without a reference: circuit with decoder=p2  [run 2]\n") == 1

    def test_of_the_demo_lists_its_five_step_counts_and_the_other_decoders(self, launcher):
        code, output = launcher([], "--demo", "--dry-run")
        assert code == 0
        lines = [line.split() for line in output.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
        steps = [line[3] for line in lines if line[2] == "low_confidence"]
        assert list(dict.fromkeys(steps)) == ["32", "16", "8", "4", "2"]
        assert list(dict.fromkeys(line[2] for line in lines))[1:] == ["cad", "p2", "open_dllm", "corrective"]
        # The options of a rule stand with it, and not once more behind the costs.
        (corrective, *_) = [line for line in output.splitlines() if "corrective threshold=0.5" in line]
        assert corrective.endswith("unknown")

    def test_of_the_demo_is_alone_and_with_the_circuit_where_there_is_one(self, tmp_path, monkeypatch):
        for circuit, number in ((tmp_path / "none", 19), (packaged.CIRCUITS["demo"], 29)):
            monkeypatch.setitem(packaged.CIRCUITS, "demo", circuit)
            runs = select([], list(map(parse_sweep, DEMOS["words"].points())), tmp_path, {}).runs.values()
            assert len(runs) == number
            assert sum(run.circuit == "demo" for run in runs) == number - 19
            fixed = [run for run in runs if run.circuit and run.config.decoder == "unmasking"]
            assert all(any(block_gates(run.config, "llada")) for run in fixed)

    def test_of_the_demo_alone_uses_the_cpu_whatever_gpus_there_are(self, launcher):
        where = ["--output_dir", str(launcher.results)]  # a checkout may be another user's
        program = [sys.executable, "-m", "lm_eval_codd.launch", "--demo", "--dry-run", *where]
        process = subprocess.run(program, capture_output=True, text=True, env=launcher.environment, timeout=PATIENCE)
        slots = process.stdout.splitlines()[0].split("slots: ")[1].split(";")[0].split(", ")
        assert len(slots) == min(12 if packaged.CIRCUITS["demo"].exists() else 6, len(os.sched_getaffinity(0)))
        assert all(slot.startswith("cpu") for slot in slots)


class TestCost:
    def test_adds_up_what_it_knows(self, launcher):
        config = {"decoding_seconds": 3600.0, "requests": 1319}
        launcher([launcher.run_text(steps=16)], fake={"16": {"config": config}})
        texts = [launcher.run_text(steps=steps) for steps in (16, 32, 64)]
        code, output = launcher(texts, "--dry-run", gpus="cpu,cpu")
        assert code == 0
        row = next(line.split() for line in output.splitlines() if line.startswith("2 "))
        assert (
            row[1:] == ["gsm8k", "low_confidence", "32", "-", "32", "1319", str(32 * 1319), "2.0", "h", "steps32"][:-1]
        )
        assert "\ntime: as llada_gsm8k_low_confidence_steps16_" in output and "s a row  [run 2]" in output
        assert "skipped  llada_gsm8k_low_confidence_steps16" in output
        last = output.splitlines()[-1]
        assert last == f"in all {96 * 1319} forward passes of a row, about 6.0 h of CPU slot time and 4.0 h on 2 slots"

    def test_says_at_most_where_the_confidences_decide_and_names_what_is_approximate(self, launcher):
        texts = [launcher.run_text(steps=16), launcher.run_text(steps=16, more="--cache dual --threshold 0.9")]
        _, output = launcher(texts, "--dry-run", "--seconds_per_forward", "0.1")
        rows = [line.split() for line in output.splitlines() if line[:1].isdigit()]
        assert rows[0] == [
            *f"1 gsm8k low_confidence - - <= 512 1319 <= {512 * 1319} <= 18.8 h".split(),
            "cache-dual",
            "threshold-0.9",
        ]
        assert rows[1] == ["2", "gsm8k", "low_confidence", "16", "-", "16", "1319", "21104", "35.2", "min"]
        assert output.count("approximate: cache=dual, threshold=0.9  [run 1]\n") == 1
        total = f"in all at most {528 * 1319} forward passes of a row, at most 19.3 h of CPU slot time"
        assert output.splitlines()[-1] == total

    def test_says_what_it_does_not_know(self, launcher):
        texts = [launcher.run_text(steps=16), launcher.run_text(steps=16, task="triviaqa")]
        _, output = launcher(texts, "--dry-run", "--seconds_per_forward", "0.1")
        assert "about 35.2 min" in output
        assert output.splitlines()[-1].endswith(
            "; 1 run has no estimate: the size of its task is not known, give --limit"
        )
        assert "in all 21104 forward passes of a row, and an unknown number (1 run), about 35.2 min" in output
        assert ["sum", "unknown", "unknown"] in [line.split() for line in output.splitlines()]
