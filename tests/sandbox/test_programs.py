"""Programs that misbehave. Each test names what must not happen; where the kernel cannot prevent it, it is skipped.

Every program here does bounded harm, and only to what its test made, should the sandbox not hold it.
"""

import http.server
import os
import platform
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from lm_eval_codd import sandbox
from lm_eval_codd.sandbox import Outcome, SandboxError, isolation, run_program, run_programs

WRITE_EVERYWHERE = """\
import os
for fd in range(4096):
    try: os.write(fd, globals().get("message", b"passed \\n"))
    except OSError: pass
"""


@pytest.fixture
def needs():
    """Skips where this machine's kernel does not confine the named thing."""

    def check(what):
        if isolation()[what].startswith("none"):
            pytest.skip(f"{what}: {isolation()[what]}")

    return check


class TestOutcome:
    def test_a_program_whose_tests_hold_passes(self):
        assert run_program("def f(x): return x + 1", "assert f(1) == 2") == Outcome("passed")

    @pytest.mark.parametrize(
        ("code", "tests", "detail"),
        [
            ("x = 1", "assert x == 2, 'x is 1'", "AssertionError: x is 1"),
            ("def f(:", "", "SyntaxError: invalid syntax (<program>, line 1)"),
            ("x = 1 / 0", "", "ZeroDivisionError: division by zero"),
            ("raise ValueError('a\\n  b')", "", "ValueError: a b"),
            ("x = input()", "", "EOFError: EOF when reading a line"),
            ("x = '\ud800'", "", "UnicodeEncodeError"),
            ("\0", "", ("SyntaxError", "ValueError")),  # the latter before Python 3.11.4
        ],
    )
    def test_an_exception_is_a_failure_with_one_line(self, code, tests, detail):
        outcome = run_program(code, tests)
        assert outcome.status == "failed"
        assert outcome.detail.startswith(detail)

    def test_a_guarded_main_block_does_not_run(self):
        assert run_program("if __name__ == '__main__': raise SystemExit(1)").passed

    def test_the_order_of_a_set_is_the_same_in_every_run(self):
        order = "assert 0, list({'a', 'b', 'c', 'd', 'e', 'f'})"
        assert run_program("", order) == run_program("", order)

    def test_numpy_can_be_imported(self):
        pytest.importorskip("numpy")
        assert run_program("import numpy as np", "assert np.arange(4).sum() == 6", timeout=20).passed

    @pytest.mark.parametrize("executable", ["/bin/false", "/nowhere/python"])
    def test_an_interpreter_that_does_not_start_is_not_blamed_on_the_program(self, executable, monkeypatch):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(SandboxError, match="start"):
            run_program("x = 1")


class TestForgedSuccess:
    @pytest.mark.parametrize(
        "code",
        [
            "import sys; sys.exit(0)",
            "import os; os._exit(0)",
            "import os, signal; signal.raise_signal(signal.SIGKILL)",
            "print('passed')\nimport os; os._exit(0)",
            WRITE_EVERYWHERE + "os._exit(0)",
            "import builtins, os\nbuiltins.exec = builtins.compile = os.write = lambda *a, **k: None",
            "import atexit, os; atexit.register(os._exit, 0); raise SystemExit(0)",
            "import threading, os; threading.Timer(0.1, os._exit, (0,)).start(); import time; time.sleep(2)",
            "__builtins__['AssertionError'] = None",
            "class E(Exception):\n    def __str__(self): import os; os._exit(0)\nraise E",
        ],
    )
    def test_leaving_early_or_printing_does_not_pass(self, code):
        assert run_program(code, "assert False").status in ("failed", "crashed")

    def test_a_program_cannot_swallow_its_tests(self):
        assert not run_program("x = '''", "'''\nassert False").passed
        assert not run_program("if False:\\", "    assert False").passed


class TestTime:
    @pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(3600)"])
    def test_a_program_that_does_not_end_is_stopped(self, code):
        assert run_program(code, timeout=0.5) == Outcome("timeout", "not done after 0.5 s")

    def test_an_exception_that_never_finishes_its_message_is_stopped(self):
        code = "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E"
        assert run_program(code, timeout=0.5).status == "timeout"

    def test_ignoring_signals_does_not_help(self):
        code = "import signal\nfor s in (1, 2, 3, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass"
        assert run_program(code, timeout=0.5).status == "timeout"

    def test_the_clock_starts_when_the_interpreter_is_ready(self, monkeypatch, tmp_path):
        slow = tmp_path / "python"
        slow.write_text(f'#!/bin/sh\nsleep 4\nexec "{sys.executable}" "$@"\n')
        slow.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(slow))
        assert run_program("x = 1", timeout=3.0).passed


class TestMemoryAndOutput:
    @pytest.mark.parametrize(
        "code", ["x = bytearray(10**10)", "x = []\nfor _ in range(200): x.append(bytearray(10**7))"]
    )
    def test_a_memory_bomb_fails_alone(self, code):
        assert run_program(code, memory_mb=512, timeout=20).detail.startswith("MemoryError")

    def test_the_limit_cannot_be_raised(self):
        code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))"
        assert run_program(code).status == "failed"

    def test_output_without_end_is_dropped(self):
        outcome = run_program("while True: print('x' * 10**6)", timeout=1.0)
        assert outcome.status == "timeout"

    def test_a_message_of_megabytes_is_cut(self):
        assert len(run_program("raise ValueError('x' * 10**7)", timeout=20).detail) <= 300

    def test_flooding_the_report_is_a_crash(self):
        code = f"message = b'x' * 4096\nwhile True:\n{textwrap.indent(WRITE_EVERYWHERE, ' ')}"
        assert run_program(code, timeout=20).status == "crashed"

    def test_a_file_cannot_grow_without_end(self):
        assert "File too large" in run_program("open('a', 'wb').write(bytes(10**8))").detail


class TestFiles:
    def test_the_temporary_folder_is_writable_and_removed(self):
        code = "import os\nopen('a', 'w').write('x')\nwhere = os.getcwd()"
        outcome = run_program(code, "assert open('a').read() == 'x'\nassert 0, where")
        folder = Path(outcome.detail.removeprefix("AssertionError: "))
        assert folder.is_absolute()
        assert not folder.exists()

    @pytest.mark.parametrize(
        "code",
        [
            "open({path!r}, 'w')",
            "open({path!r}, 'a').write('x')",
            "import os; os.remove({path!r})",
            "import os; os.rename({path!r}, 'mine')",
            "import os; os.link({path!r}, 'mine'); open('mine', 'w')",
            "import os; os.symlink({path!r}, 'mine'); open('mine', 'w')",
            "import os; os.truncate({path!r}, 0)",
            "import os; os.chmod({path!r}, 0)",
            "import os; os.chown({path!r}, 1, 1)",
            "import os; os.utime({path!r}, (0, 0))",
            "import shutil, os; shutil.rmtree(os.path.dirname({path!r}))",
            "import ctypes; assert ctypes.CDLL(None).unlink({path!r}.encode()) == 0",
        ],
    )
    def test_files_outside_are_not_touched(self, code, tmp_path, needs):
        needs("files")
        path = tmp_path / "precious"
        path.write_text("content")
        before = path.stat()
        assert run_program(code.format(path=str(path))).status == "failed"
        assert path.read_text() == "content"
        assert (path.stat().st_mode, path.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)

    @pytest.mark.parametrize("call", ["setxattr({file}, 'user.mine', b'1'", "removexattr({file}, 'user.theirs'"])
    @pytest.mark.parametrize(
        ("file", "more"),
        [("{path!r}", ""), ("{path!r}", ", follow_symlinks=False"), ("os.open('own', os.O_RDWR | os.O_CREAT)", "")],
    )
    def test_attributes_of_files_outside_are_not_touched(self, call, file, more, tmp_path, needs):
        needs("files")
        needs("processes")
        path = tmp_path / "precious"
        path.write_text("content")
        # Refused before the file system is asked, which may not know such attributes (another OSError).
        code = f"import os; os.{call.format(file=file.format(path=str(path)))}{more})"
        assert run_program(code).detail.startswith("PermissionError: [Errno 1]")

    def test_the_package_itself_is_not_on_the_path_of_imports(self):
        assert "No module named" in run_program("import settings").detail


class TestEnvironment:
    def test_variables_are_not_inherited(self, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "secret-token")
        monkeypatch.setenv("PYTHONPATH", "/secret-path")
        detail = run_program("import os, sys", "assert 0, (dict(os.environ), sys.path)").detail
        assert "HOME" in detail
        assert "secret" not in detail

    def test_nor_read_from_the_parent_process(self, monkeypatch, needs):
        needs("files")
        outcome = run_program(f"open('/proc/{os.getpid()}/environ').read()")
        assert outcome.detail.startswith(("PermissionError", "FileNotFoundError"))

    def test_no_file_descriptor_is_inherited(self, tmp_path):
        with (tmp_path / "open").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            code = f"import os; os.write({file.fileno()}, b'x')"
            assert run_program(code).status == "failed"
        assert (tmp_path / "open").read_text() == ""


class TestProcesses:
    @pytest.mark.parametrize(
        "code",
        [
            "import os\nif os.fork() == 0: os._exit(0)",
            "import subprocess; subprocess.run(['true'])",
            "import os; os.execv('/bin/true', ['true'])",
            "import os; os.posix_spawn('/bin/true', ['true'], {})",
            "import multiprocessing as m; p = m.Process(target=print); p.start()",
            "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
        ],
    )
    def test_no_process_or_program_starts(self, code, needs):
        needs("processes")
        assert run_program(code).status == "failed"

    def test_threads_do_start(self):
        code = "import threading\nseen = []\nt = threading.Thread(target=seen.append, args=(1,)); t.start(); t.join()"
        assert run_program(code, "assert seen == [1]").passed

    @pytest.mark.parametrize(
        "code",
        [
            "import os; os.kill({pid}, 0)",
            "import os; os.killpg({pid}, 9)",
            "import resource; resource.prlimit({pid}, resource.RLIMIT_CPU, (0, 0))",
            "import os; os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
            "import os; os.pidfd_open({pid})",
            "import ctypes; assert ctypes.CDLL(None).ptrace(16, {pid}, 0, 0) == 0",
            "open('/proc/{pid}/oom_score_adj', 'w').write('1000')",
            "open('/proc/{pid}/mem', 'r+b')",
        ],
    )
    def test_other_processes_are_out_of_reach(self, code, needs):
        needs("processes")
        victim = subprocess.Popen(["sleep", "60"], start_new_session=True)
        try:
            assert run_program(code.format(pid=victim.pid)).status == "failed"
            assert victim.poll() is None
        finally:
            victim.kill()
            victim.wait()

    @pytest.mark.parametrize(
        "ask",
        [
            "fcntl.fcntl(r, 8, {pid})",  # F_SETOWN
            "fcntl.fcntl(r, 15, struct.pack('ii', 1, {pid}))",  # F_SETOWN_EX
            "fcntl.fcntl(r, 10, 9)",  # F_SETSIG
            "fcntl.fcntl(r, 4, 0o20000)",  # F_SETFL, O_ASYNC
            "fcntl.fcntl(r, 1026, 1)",  # F_NOTIFY
            "fcntl.fcntl(os.open('.', 0), 1024, 0)",  # F_SETLEASE
            "fcntl.ioctl(r, 0x5452, struct.pack('i', 1))",  # FIOASYNC
            "fcntl.ioctl(a, 0x8901, struct.pack('i', {pid}))",  # FIOSETOWN
            "fcntl.ioctl(a, 0x8902, struct.pack('i', {pid}))",  # SIOCSPGRP
            "fcntl.ioctl(r, 0x5410, struct.pack('i', {pid}))",  # TIOCSPGRP
            "done(libc.prctl(1, 9))",  # PR_SET_PDEATHSIG
            "done(libc.prctl(36, 1))",  # PR_SET_CHILD_SUBREAPER
            "done(libc.prctl(4, 1))",  # PR_SET_DUMPABLE
            "done(libc.syscall(222, 0, struct.pack('QiiixxxxQQQQQ', 0, 9, 4, {pid}, *[0] * 5), b'12345678'))",
            "done(libc.syscall(251, 1, {pid}, 0x6007))",  # ioprio_set
            "done(libc.syscall(129, {pid}, 9, bytes(128)))",  # rt_sigqueueinfo
            "done(libc.syscall(62 | 0x40000000, {pid}, 9))",  # kill, by the x32 numbers
            "os.setpgid(0, 0)",
            "os.setsid()",
            "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', '/dev/log')",
            "a.sendmsg([b'x'])",
        ],
    )
    def test_no_way_to_signal_or_own_others_is_open(self, ask, needs):
        needs("processes")
        if "syscall" in ask and platform.machine() != "x86_64":
            pytest.skip("the number is x86-64's")
        setup = (
            "import ctypes, fcntl, os, socket, struct\nr, w = os.pipe()\na, b = socket.socketpair()\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "def done(result):\n    if result < 0: raise OSError(ctypes.get_errno(), 'refused')\n"
        )
        # Own processes are asked for too, so that it is the filter that refuses, whoever the user is.
        detail = run_program(setup + ask.format(pid="os.getpid()")).detail
        assert detail.startswith("PermissionError: [Errno 1]")

    def test_a_pair_of_sockets_and_a_timer_still_work(self):
        code = "import signal, socket\na, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'\n"
        code += (
            "signal.signal(signal.SIGALRM, lambda *_: 1 / 0)\nsignal.setitimer(signal.ITIMER_REAL, 0.1)\nsignal.pause()"
        )
        assert run_program(code).detail == "ZeroDivisionError: division by zero"


class TestNetwork:
    def test_no_connection_is_made(self, needs):
        needs("network")
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{server.server_port}/')"
        outcome = run_program(code, timeout=20)
        server.shutdown()
        server.server_close()
        assert outcome.status == "failed"
        assert not asked


class TestBatch:
    def test_outcomes_come_in_the_order_of_the_programs(self):
        programs = [(f"x = {number}", "assert x % 2 == 0") for number in range(8)]
        outcomes = run_programs(programs, workers=4, timeout=20)
        assert [outcome.passed for outcome in outcomes] == [True, False] * 4

    def test_ranks_of_a_machine_share_its_processors(self, monkeypatch):
        used = []
        real = sandbox.ThreadPoolExecutor
        monkeypatch.setattr(sandbox, "ThreadPoolExecutor", lambda workers: used.append(workers) or real(workers))
        monkeypatch.setattr(sandbox, "_processors", lambda: 12)
        run_programs([])
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        run_programs([])
        assert used == [12, 3]

    def test_no_programs_no_outcomes(self):
        assert run_programs([]) == []
