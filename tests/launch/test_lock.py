import json
import os
import platform
import signal
import subprocess
import sys

import pytest

from lm_eval_codd.launch import lock

HOLD = "import sys, pathlib; from lm_eval_codd.launch import lock; lock.take(pathlib.Path(sys.argv[1]), 'noon'); "


def hold(folder, then: str) -> subprocess.Popen:
    """Another process that takes the lock, says so, and goes on with `then`."""
    code = HOLD.replace("lock.take", "held = lock.take") + "print('held', flush=True); " + then
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


class TestALock:
    def test_is_had_by_one_and_leaves_nothing_behind(self, tmp_path):
        first = lock.take(tmp_path / "run", "noon")
        assert isinstance(first, lock.Lock)
        other = lock.take(tmp_path / "run", "later")
        assert other == lock.Holder(platform.node(), os.getpid(), "noon")
        assert str(other) == f"process {os.getpid()} on {platform.node()} since noon"
        first.release()
        assert list((tmp_path / "run").iterdir()) == []
        again = lock.take(tmp_path / "run", "later")
        assert isinstance(again, lock.Lock)
        again.release()

    def test_of_a_killed_process_is_free_at_once(self, tmp_path):
        process = hold(tmp_path, "input()")
        assert lock.take(tmp_path, "now").pid == process.pid
        process.kill()
        process.communicate()
        assert (tmp_path / lock.FILE).exists()
        taken = lock.take(tmp_path, "now")
        assert isinstance(taken, lock.Lock)
        taken.release()

    def test_is_kept_by_a_child_that_outlives_its_launcher(self, tmp_path):
        child = "[sys.executable, '-c', 'import time; time.sleep(600)']"
        start = f"import subprocess; print(subprocess.Popen({child}, pass_fds=(held.handle,)).pid, flush=True)"
        process = hold(tmp_path, start)
        pid = int(process.stdout.readline())
        process.wait()
        try:
            holder = lock.take(tmp_path, "now")
            assert str(holder).startswith(f"a run whose launcher (process {process.pid} on ")
        finally:
            os.kill(pid, signal.SIGKILL)

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "\x00"])
    def test_with_a_torn_file_is_held_all_the_same(self, tmp_path, content):
        held = lock.take(tmp_path, "noon")
        (tmp_path / lock.FILE).write_text(content)
        other = lock.take(tmp_path, "now")
        assert isinstance(other, lock.Holder)
        assert str(other) == "another process"
        held.release()

    def test_is_not_fooled_by_a_file_that_was_removed_meanwhile(self, tmp_path):
        held = lock.take(tmp_path, "noon")
        (tmp_path / lock.FILE).unlink()
        other = lock.take(tmp_path, "now")
        assert isinstance(other, lock.Lock)
        assert json.loads((tmp_path / lock.FILE).read_text())["since"] == "now"
        other.release()
        held.release()

    def test_is_not_fooled_by_a_file_that_was_replaced_between_opening_and_taking_it(self, tmp_path, monkeypatch):
        lock_file = lock._lock
        replaced = []

        def replace_first(handle: int) -> bool:
            # Its holder gives it up, and another launcher makes and locks a new one.
            monkeypatch.setattr(lock, "_lock", lock_file)
            (tmp_path / lock.FILE).unlink()
            replaced.append(lock.take(tmp_path, "noon"))
            return lock_file(handle)

        monkeypatch.setattr(lock, "_lock", replace_first)
        other = lock.take(tmp_path, "now")
        assert isinstance(replaced[0], lock.Lock)
        assert other == lock.Holder(platform.node(), os.getpid(), "noon")
        replaced[0].release()

    def test_file_systems_say_whether_they_have_them(self, tmp_path):
        assert lock.is_supported(tmp_path)
