"""What holds a program, and what a result says of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_eval_codd import sandbox
from lm_eval_codd.sandbox import SandboxError, isolation, require, run_program, run_programs
from lm_eval_codd.sandbox.limits import TASKS

LAYERS = {"files", "reads", "processes", "network", "tasks", "namespaces", "folder"}


def needs(layer):
    if isolation()[layer].startswith("none"):
        pytest.skip(f"{layer}: {isolation()[layer]}")


class TestIsolation:
    def test_names_every_layer(self):
        assert isolation().keys() == LAYERS
        assert all(isolation().values())

    def test_only_files_processes_and_network_decide_whether_to_ask(self, monkeypatch):
        held = dict.fromkeys(LAYERS, "held")
        monkeypatch.setattr(sandbox, "isolation", lambda: {**held, "namespaces": "none: no", "folder": "none: no"})
        assert sandbox.is_confined()
        monkeypatch.setattr(sandbox, "isolation", lambda: {**held, "network": "none: no"})
        assert not sandbox.is_confined()

    def test_strict_wants_every_layer_and_says_which_is_missing(self, monkeypatch):
        held = dict.fromkeys(LAYERS, "held")
        monkeypatch.setattr(sandbox, "isolation", lambda: {**held, "tasks": "none: not counted"})
        require()
        monkeypatch.setenv("CODD_SANDBOX", "strict")
        with pytest.raises(SandboxError, match=r"`CODD_SANDBOX=strict`.*does not confine tasks \(not counted\)"):
            require()
        monkeypatch.setattr(sandbox, "isolation", lambda: held)
        require()

    def test_strict_is_the_only_word_it_knows(self, monkeypatch):
        monkeypatch.setenv("CODD_SANDBOX", "yes")
        with pytest.raises(SandboxError, match="`CODD_SANDBOX=yes`; the only value is strict"):
            require()

    def test_a_program_with_fewer_layers_than_the_others_has_no_outcome(self, monkeypatch):
        monkeypatch.setattr(sandbox, "isolation", lambda: {**isolation(), "folder": "tmpfs of another size"})
        with pytest.raises(SandboxError, match="without what confined the others: folder"):
            run_program("x = 1")


class TestReads:
    @pytest.mark.parametrize(
        "code",
        [
            "open({file!r}).read()",
            "import os; os.listdir({folder!r})",
            "open('/etc/passwd').read()",
            "open('/proc/self/environ').read()",
            "import os; os.listdir('/proc')",
            "import os; os.listdir('/')",
        ],
    )
    def test_nothing_of_the_users_is_read(self, code, tmp_path):
        needs("reads")
        (tmp_path / "secret").write_text("secret")
        detail = run_program(code.format(file=str(tmp_path / "secret"), folder=str(tmp_path))).detail
        assert detail.startswith(("PermissionError", "FileNotFoundError"))

    def test_libraries_are(self):
        code = "import asyncio, ctypes, decimal, sqlite3, ssl, unittest, zoneinfo\nasyncio.run(asyncio.sleep(0))"
        assert run_program(code, timeout=20).passed


class TestTasks:
    BOMB = """\
import threading, time
threading.stack_size(32768)
started = 0
try:
    while started < 1000:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
except RuntimeError as error:
    raise ValueError(started)
"""

    def test_threads_are_limited_and_the_next_program_has_its_own(self):
        needs("tasks")
        outcomes = run_programs([(self.BOMB, ""), (self.BOMB, ""), ("x = 1", "")], workers=3, timeout=60)
        if isolation()["tasks"] == f"{TASKS} tasks":
            # The main threads of both processes count, and in a user namespace the warden.
            possible = {f"ValueError: {TASKS - 2}", f"ValueError: {TASKS - 3}"}
            assert {outcome.detail for outcome in outcomes[:2]} <= possible
        assert outcomes[2].passed

    def test_no_room_for_processes_is_tried_again_and_then_said_in_one_line(self, monkeypatch):
        waited = []
        monkeypatch.setattr(sandbox.time, "sleep", waited.append)
        answers = [{"error": "fork: no room"}] * 3 + [{"status": "passed", "detail": "", "isolation": isolation()}]
        monkeypatch.setattr(sandbox.Nursery, "run", lambda *given: answers.pop(0))
        assert run_program("x = 1").passed
        assert waited == [0.0, 0.5, 2.0, 4.5]
        answers = [{"error": "fork: no room"}] * 4
        with pytest.raises(SandboxError, match="cannot start a program's processes: fork: no room"):
            run_program("x = 1")


class TestNamespaces:
    def test_a_program_sees_no_other_process(self):
        needs("namespaces")
        assert run_program("import os", "assert os.getppid() == 0", timeout=20).passed
        code = "import os\ndef number(): return os.getpid()"
        assert run_program(code, "assert number() == 2").passed

    def test_the_work_folder_has_bounded_size(self):
        needs("folder")
        code = "for n in range(10): open(str(n), 'wb').write(bytes(15 << 20))"
        assert run_program(code, timeout=20).detail == "OSError: [Errno 28] No space left on device"

    def test_what_is_not_to_be_read_is_not_even_there(self, tmp_path):
        needs("folder")
        looks = (
            f"import os\ndef there(): return [os.path.lexists(p) for p in ({str(tmp_path)!r}, '/proc', '/etc/passwd')]"
        )
        assert run_program(looks, "assert there() == [False] * 3").passed

    def test_root_is_somebody_else_there(self):
        if os.geteuid() != 0:
            pytest.skip("not root")
        assert run_program("import os\ndef who(): return os.getuid()", "assert who() > 30_000").passed


class TestEnds:
    def test_nothing_is_left_when_the_caller_is_killed(self, tmp_path):
        caller = subprocess.Popen(
            [sys.executable, "-c", "from lm_eval_codd.sandbox import *; run_program('while True: pass', timeout=60)"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        left = wait_until(lambda: len(found := family_of(caller.pid)) >= 4 and found)  # nursery, warden and its two
        caller.kill()
        caller.wait()
        assert wait_until(lambda: not any(map(runs, left)))
        assert wait_until(lambda: not list(tmp_path.iterdir()))

    @pytest.mark.parametrize("killed", ["nursery", "warden"])
    def test_nothing_is_left_when_a_process_of_its_own_is_killed(self, killed, tmp_path):
        needs("processes")
        code = "from lm_eval_codd.sandbox import *; print(run_program('import time; time.sleep(2)', timeout=20).status)"
        caller = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        family = wait_until(lambda: len(found := family_of(caller.pid)) >= 4 and found)
        os.kill(family[0] if killed == "nursery" else family[1], signal.SIGKILL)
        said, error = caller.communicate(timeout=60)
        assert said == "passed\n" if killed == "nursery" else "SandboxError" in error
        assert wait_until(lambda: not any(map(runs, family)))

    def test_another_nursery_starts_where_one_has_ended(self):
        assert run_program("x = 1").passed
        sandbox._current()._process.kill()
        sandbox._current()._process.wait()
        assert run_program("x = 1").passed


def family_of(pid):
    """All processes below one, parents first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *family_of(child))]


def runs(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value
