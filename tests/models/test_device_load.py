"""Whether a process had its device for itself."""

import subprocess
from types import SimpleNamespace

import pytest

from lm_eval_codd.models import device_load
from lm_eval_codd.models.device_load import Watch

# What /proc/stat says of two cores, in ticks: user, nice, system, idle, iowait, irq, softirq, steal, guest.
STAT = "cpu  9 9 9 9 9 9 9 9 9\ncpu0 {} 0 0 {} 0 0 0 0 0\ncpu1 0 0 0 {} 0 0 0 0 0\nintr 5\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Sets what the system counts and what this process used, in seconds of its two cores."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(device_load, "_STAT", stat)
    monkeypatch.setattr(device_load.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(device_load.os, "sysconf", lambda _: 100)

    def now(seconds: float, busy: float, own: float) -> None:
        stat.write_text(STAT.format(int(100 * busy), int(100 * (seconds - busy)), int(100 * seconds)))
        used = SimpleNamespace(user=own, system=0.0, children_user=0.0, children_system=0.0)
        monkeypatch.setattr(device_load.os, "times", lambda: used)

    return now


class TestACpu:
    @pytest.mark.parametrize(("own", "is_own"), [(8.0, True), (6.5, True), (5.0, False), (0.0, False)])
    def test_is_its_own_where_others_took_less_than_a_tenth(self, machine, own, is_own):
        """Of 20 seconds of two cores, 8 were taken."""
        machine(0, 0, 0)
        watch = Watch()
        machine(10, 8, own)
        assert watch.cpu_is_own() is is_own

    def test_is_not_known_where_the_system_does_not_count(self, machine, tmp_path):
        assert Watch().cpu_is_own() is None
        (tmp_path / "stat").write_text("cpu0 1 2\ncpu1 1 2\n")
        assert Watch().cpu_is_own() is None

    def test_is_not_known_before_any_time_passed(self, machine):
        machine(1, 1, 1)
        assert Watch().cpu_is_own() is None


class TestGpus:
    @pytest.fixture
    def seen(self, monkeypatch):
        def answer(text):
            monkeypatch.setattr(device_load.shutil, "which", lambda name: name)
            monkeypatch.setattr(device_load.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=text))

        return answer

    @pytest.mark.parametrize(
        ("found", "is_own"),
        [
            ("GPU-a\nGPU-b\nGPU-b\n", True),
            ("GPU-a\nGPU-a\n", False),
            ("", None),
            ("GPU-b\n", None),
        ],
    )
    def test_are_its_own_where_one_process_computes(self, seen, found, is_own):
        seen(found)
        assert Watch.gpus_are_own(["a"]) is is_own

    def test_are_not_its_own_where_one_of_them_is_not(self, seen):
        seen("GPU-a\nGPU-b\nGPU-b\n")
        assert Watch.gpus_are_own(["a", "GPU-b"]) is False

    def test_are_not_known_without_an_answer(self, seen, monkeypatch):
        seen("GPU-a\n")
        monkeypatch.setattr(device_load.subprocess, "run", _fails)
        assert Watch.gpus_are_own(["a"]) is None
        monkeypatch.setattr(device_load.shutil, "which", lambda name: None)
        assert Watch.gpus_are_own(["a"]) is None


def _fails(*_, **__):
    raise subprocess.TimeoutExpired("nvidia-smi", 30)
