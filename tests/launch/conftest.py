import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run_files import checkpoint_folder, data_folder

FAKE_RUN = Path(__file__).parent / "fake_run.py"
RUNNER = (sys.executable, str(FAKE_RUN))
# Seconds, on a machine that has much else to do: only what hangs takes so long.
PATIENCE = 300.0
PROGRAM = f"import sys; from lm_eval_codd.launch import main; sys.exit(main(sys.argv[1:], runner={RUNNER!r}))"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return checkpoint_folder(tmp_path)


class Launcher:
    """The launcher as a process of its own, with fake runs on local files only."""

    def __init__(self, checkpoint: Path, tmp_path: Path) -> None:
        self.results = tmp_path / "results"
        self.checkpoint = checkpoint
        data_folder(tmp_path)
        root = str(Path(__file__).parents[2])
        self.environment = {**os.environ, "CODD_DATA_DIR": str(tmp_path), "PYTHONPATH": root}
        self.environment.pop("OMP_NUM_THREADS", None)

    def run_text(self, *, steps: int, task: str = "gsm8k", more: str = "") -> str:
        return f"--model_alias llada --llada_ckpt '{self.checkpoint}' --task {task} --num_steps {steps} {more}"

    def command(self, runs: list[str], *more: str, gpus: str = "cpu") -> list[str]:
        given = [part for run in runs for part in ("--run", run)]
        return [sys.executable, "-c", PROGRAM, "--gpus", gpus, "--output_dir", str(self.results), *given, *more]

    def start(self, runs: list[str], *more: str, gpus: str = "cpu", fake: dict | None = None) -> subprocess.Popen:
        environment = {**self.environment, "FAKE_RUN": json.dumps(fake or {})}
        command = self.command(runs, *more, gpus=gpus)
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            # Tests started in the background inherit an ignored Ctrl-C, which the launcher would respect.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def __call__(self, runs: list[str], *more: str, gpus: str = "cpu", fake: dict | None = None) -> tuple[int, str]:
        process = self.start(runs, *more, gpus=gpus, fake=fake)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def order(self) -> list[str]:
        """What the fake runs did: `start 64`, `end 64`, ... in order."""
        return [" ".join(line.split()[:2]) for line in (self.results / "order.txt").read_text().splitlines()]

    def records(self) -> dict[int, dict]:
        """run.json of every run, by its number of steps."""
        found = [json.loads(path.read_text()) for path in self.results.glob("*/run.json")]
        return {record["identity"]["config"]["num_steps"]: record for record in found}


@pytest.fixture
def launcher(checkpoint: Path, tmp_path: Path) -> Launcher:
    return Launcher(checkpoint, tmp_path)
