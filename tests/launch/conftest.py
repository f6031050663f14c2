import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_codd.launch.task_files import read_task_file
from lm_eval_codd.registration import tasks_dir

FAKE_RUN = Path(__file__).parent / "fake_run.py"
RUNNER = (sys.executable, str(FAKE_RUN))
PROGRAM = f"import sys; from lm_eval_codd.launch import main; sys.exit(main(sys.argv[1:], runner={RUNNER!r}))"


def header_alone(**header: dict) -> bytes:
    """A .safetensors file of tables without content."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def circuit_file(path: Path) -> Path:
    """A file whose header is that of a circuit that fits the checkpoint."""
    emission = {"dtype": "F32", "shape": [4, 99], "data_offsets": [0, 0]}
    path.write_bytes(header_alone(__metadata__={"num_positions": "32"}, emission=emission))
    return path


def data_folder(folder: Path) -> None:
    """A row for each of the paper's tasks."""
    for path in tasks_dir().glob("*/codd_*.yaml"):
        rows = read_task_file(path)["dataset_kwargs"]
        file = folder / rows["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dict.fromkeys(rows["columns"], "")) + "\n")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder that looks like a LLaDA checkpoint."""
    folder = tmp_path / "tiny llada"
    folder.mkdir()
    config = {"model_type": "llada", "max_sequence_length": 4096, "vocab_size": 99, "mask_token_id": 98}
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 97}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(header_alone())
    return folder


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
        output, _ = process.communicate(timeout=60)
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
