"""What a program leaves behind: no file, no process, no lock, and nothing for the next one."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.sandbox.evaluation import state

MESSES = {
    "files": "for i in range(300): open(f'f{i}', 'w').write('x' * 1000)",
    "a file without rights": "import os\nfd = os.open('f', os.O_CREAT | os.O_WRONLY, 0)",
    "its folder renamed": "import os\ntry: os.rename(os.getcwd(), os.getcwd() + 'x')\nexcept OSError: pass",
    "its folder removed": "import os\ntry: os.rmdir(os.getcwd())\nexcept OSError: pass",
    "folders": "import os\nfor _ in range(2000):\n    try: os.mkdir('d'); os.chdir('d')\n    except OSError: break",
    "long names": "import os\nfor c in 'abcde': open(c * 250, 'w')",
    "odd names": "import os\nfor n in (b'\\xff\\xfe', b'-rf', b'a b\\nc', b'*'):\n"
    "    os.close(os.open(n, os.O_CREAT | os.O_WRONLY))",
    "a FIFO": "import os\ntry: os.mkfifo('f')\nexcept OSError: pass",
    "links": "import os\nfor i in range(50):\n    try: os.symlink('/', f'l{i}')\n    except OSError: break",
    "a temporary file": "import tempfile\nx = tempfile.NamedTemporaryFile(delete=False); x.write(b'x')",
    "a temporary folder": "import tempfile\ntry: tempfile.mkdtemp()\nexcept OSError: pass",
    "a lock": "import fcntl\nx = open('f', 'w'); fcntl.flock(x, fcntl.LOCK_EX)",
    "shared memory": "from multiprocessing import shared_memory as s\n"
    "try: s.SharedMemory('attack', create=True, size=99)\nexcept OSError: pass",
    "a System V segment": "import ctypes\nctypes.CDLL(None).shmget(4711, 4096, 0o1666)",
    "a queue": "import ctypes\nctypes.CDLL(None).mq_open(b'/attack', 0o102, 0o666, None)",
    "a key": "import ctypes\nctypes.CDLL(None).syscall(248, b'user', b'attack', b'x', 1, -4)",
    "compiled modules": "open('m.py', 'w').write('x = 1')\nimport sys\nsys.dont_write_bytecode = False\n"
    "sys.path.insert(0, '.')\nimport m",
}
# Where anybody may leave something.
PLACES = (tempfile.gettempdir(), "/var/tmp", "/dev/shm", "/dev/mqueue")


def left(name):
    """What an attack has left under a name in one of them."""
    return [path for place in PLACES if os.path.isdir(place) for path in Path(place).glob(f"*{name}*")]


@pytest.mark.parametrize("mess", MESSES)
def test_a_mess_is_cleaned_up(evaluation, mess):
    name = f"attack-{evaluation.process.pid}-"
    code = MESSES[mess].replace("attack", name)
    assert evaluation.run(f"{code}\nraise ValueError('to the end')", "") == ("failed", "ValueError: to the end")
    assert list(evaluation.temporary.glob("*/*")) == []
    assert not left(name)


def test_the_next_program_finds_nothing_of_the_last(evaluation):
    evaluation.run("open('f', 'w').write('x')\nimport builtins, sys\nbuiltins.left = sys.left = 7", "")
    code = (
        "import builtins, os, sys\ndef f(): return [os.listdir('.'), hasattr(builtins, 'left'), hasattr(sys, 'left')]"
    )
    assert evaluation.run(code, "assert f() == [[], False, False]") == ("passed", "")


ENDLESS = {
    "a loop": "while True: pass",
    "sleep": "import time; time.sleep(600)",
    "without its parent's death signal": "import ctypes, time; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); time.sleep(600)",
    "deaf to signals": "import signal, time\nfor s in range(1, 65):\n"
    "    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\ntime.sleep(600)",
}


@pytest.mark.parametrize("attack", ENDLESS)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_programs_and_folders_go_with_the_evaluation(evaluation, attack, how):
    evaluation.send(ENDLESS[attack], timeout=600.0)
    started = descendants(evaluation.process.pid, until=lambda found: any(works(pid) for pid in found))
    assert list(evaluation.temporary.iterdir())
    os.kill(evaluation.process.pid, getattr(signal, how))
    evaluation.process.wait()
    deadline = time.monotonic() + 60
    while any(state(pid)[0] not in "gZ" for pid in started) or list(evaluation.temporary.iterdir()):
        assert time.monotonic() < deadline, (list(map(state, started)), list(evaluation.temporary.iterdir()))
        time.sleep(0.05)


def works(pid):
    """Whether a process has confined itself: it is a program's, or about to be."""
    try:
        return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def descendants(pid, until):
    """The processes that come from one, as soon as they meet a condition."""
    deadline = time.monotonic() + 60
    while True:
        found, ahead = [], [pid]
        while ahead:
            for task in Path(f"/proc/{ahead.pop()}/task").glob("*/children"):
                try:
                    children = [int(child) for child in task.read_text().split()]
                except OSError:
                    continue
                found += children
                ahead += children
        if until(found):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.02)
