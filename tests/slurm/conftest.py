"""A Slurm of one node for the tests of this folder, which scripts/test_slurm.sh runs; elsewhere they are skipped."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parent / "cluster.sh"


class Cluster:
    """The cluster, and Slurm's commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        said = self._manage("start")
        name, _, value = said.strip().removeprefix("export ").partition("=")
        self.environment = {**os.environ, name: value}

    def restart_node(self) -> None:
        self._manage("restart-node")

    def stop(self) -> None:
        self._manage("stop")

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints. Raises `RuntimeError` with what it says where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def state(self, task: str) -> str | None:
        """Of a task of an array, as `7_0`; None where Slurm does not know it."""
        try:
            said = self.ask("scontrol", "show", "job", "--oneliner", task)
        except RuntimeError:
            return None
        return said.partition("JobState=")[2].partition(" ")[0] or None

    def send(self, number: signal.Signals, task: str) -> None:
        """Send what Slurm sends before a time limit to the processes of a task's first step, as it does, and once:
        scancel sends it twice, and where the first has put the task back it goes on trying, until the task runs again.
        """
        said = self.ask("scontrol", "show", "job", "--oneliner", task)
        listed = self.ask("scontrol", "listpids", said.partition("JobId=")[2].partition(" ")[0] + ".0")
        processes = re.findall(r"^ *(\d+) ", listed, re.MULTILINE)
        assert processes, listed
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), number)

    def _manage(self, what: str) -> str:
        command = ["bash", str(CLUSTER), what, str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not os.environ.get("TEST_SLURM"):
        pytest.skip("scripts/test_slurm.sh runs this on a Slurm of its own")
    one = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        # What Slurm does not take it says there, and goes on with its default: minutes more for a requeued job.
        refused = re.findall(r"error: (\w+=\S+) invalid", (one.folder / "slurmctld.log").read_text())
        assert not refused
        yield one
    finally:
        one.stop()
