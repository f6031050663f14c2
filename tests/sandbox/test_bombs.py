"""Programs that want more than their share of processes, memory, time, output or disk: they fail alone, in time."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sandbox.evaluation import SLACK_SECONDS

MEMORY_MB = 512
BOMBS = {
    "fork": "import os\nwhile True: os.fork()",
    "fork of C": "import ctypes\nlibc = ctypes.CDLL(None)\nwhile libc.fork() >= 0: pass\nassert 0",
    "vfork": "import ctypes\nassert ctypes.CDLL(None).vfork() >= 0",
    "subprocess": "import subprocess\nsubprocess.run(['sleep', '600'])",
    "multiprocessing": "import multiprocessing as m\nm.Pool(4).map(print, [1])",
    "posix_spawn": "import os\nos.posix_spawn('/bin/sleep', ['sleep', '600'], {})",
    "exec": "import os\nos.execv('/bin/sleep', ['sleep', '600'])",
    "setsid and double fork": "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
    "        while True: pass",
    "daemon of C": "import ctypes, time\nassert ctypes.CDLL(None).daemon(0, 0) == 0",
    "threads": "import threading, time\n"
    "while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "memory": "x = bytearray(10**11)",
    "memory, in pieces": "x = []\nwhile True: x.append(bytearray(10**6))",
    "memory, mapped": "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 1 << 28))",
    "memory, shared": "import multiprocessing.shared_memory as s\nx = []\n"
    "while True: x.append(s.SharedMemory(create=True, size=1 << 24))",
    "memory, a file in memory": "import os\nfd = os.memfd_create('x')\nwhile True: os.write(fd, bytes(1 << 20))",
    "memory, text": "x = 'x' * 10**6\nwhile True: x += x",
    "a list of itself": "x = [0]\nwhile True: x += x",
    "deep recursion": "def f(n): return f(n + 1)\nf(0)",
    "deeper recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return [f(n + 1)]\nf(0)",
    "recursion in C": "x = []\nfor _ in range(10**7): x = [x]\nrepr(x)",
    "deep source": "exec('(' * 10**6 + ')' * 10**6)",
    "a huge number": "x = 7 ** (7 ** 12)",
    "a huge number as text": "import sys\nsys.set_int_max_str_digits(0)\nx = str(1 << 10**8)",
    "a huge shift": "x = 1 << (1 << 60)",
    "a huge range": "x = list(range(10**12))",
    "a loop": "while True: pass",
    "a loop in C": "sum(iter(int, 1))",
    "a regular expression": "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
    "a lock": "import threading\nx = threading.Lock(); x.acquire(); x.acquire()",
    "sleep": "import time\ntime.sleep(10**6)",
    "output": "while True: print('x' * 10**6)",
    "output on errors": "import sys\nwhile True: sys.stderr.write('x' * 10**6)",
    "a file": "f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
    "a file with holes": "import os\nos.truncate(os.open('f', os.O_RDWR | os.O_CREAT), 1 << 50)",
    "descriptors": "x = []\nwhile True: x.append(open('f', 'w'))",
    "pipes": "import os\nx = []\nwhile True: x += os.pipe()",
    "a message": "raise ValueError('x' * 10**8)",
    "a message that does not end": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    "an answer that does not end": "def f():\n    while True: pass",
    "an endless answer": "def f():\n    return iter(int, 1)",
    "a large answer": "def f(): return 'x' * 10**8",
    "a deep answer": "def f():\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
    "an answer that holds itself": "def f():\n    x = []\n    x.append(x)\n    return x",
    "an answer of answers": "def f():\n    x = 1\n    for _ in range(60): x = (x, x)\n    return x",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_fails_alone_and_in_time(evaluation, bomb):
    before = time.monotonic()
    status, _ = evaluation.run(BOMBS[bomb], "assert f() == 7", timeout=1.0, memory_mb=MEMORY_MB)
    assert status != "passed"
    assert time.monotonic() - before < SLACK_SECONDS
    assert descendants(evaluation.process.pid) <= WAITING


FILLING = {
    "many files": "for number in range(4096): open(str(number), 'wb').write(bytes(1 << 20))",
    "reserved": "import os\nfor number in range(256):\n"
    "    os.posix_fallocate(os.open(str(number % 32), os.O_CREAT | os.O_RDWR), 0, 15 << 20)",
}


@pytest.mark.parametrize("how", FILLING)
def test_a_disk_is_not_filled(evaluation, how):
    status, detail = evaluation.run(FILLING[how] + "\nraise SystemExit('no limit')", timeout=20.0)
    assert (status, "no limit" in detail) in (("failed", False), ("crashed", False))


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="root alone can do without a privilege")
def test_a_disk_is_not_filled_where_no_folder_in_memory_can_be_had():
    code = f"{FILLING['many files']}\nraise SystemExit('no limit')"
    script = "import sys\nfrom lm_eval_codd.sandbox import isolation, run_program\n"
    script += "print(isolation()['folder'][:4], run_program(sys.argv[1], timeout=20.0))"
    command = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", script, code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "none Outcome(status='crashed', detail='its files took more than 64 MiB')\n"


# What an evaluation may keep running between programs.
WAITING = 3


def descendants(pid):
    """How many processes come from one, those that ended and were not waited for included."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    ahead, found = [pid], 0
    while ahead:
        of_it = children.get(ahead.pop(), [])
        found += len(of_it)
        ahead += of_it
    return found
