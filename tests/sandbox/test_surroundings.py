"""The machine around a program: its clock, name, limits, devices and descriptors are as they were."""

import os
import time

import pytest

CHANGES = {
    "the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "the clock of C": "import ctypes\nassert ctypes.CDLL(None).settimeofday(bytes(16), None) == 0",
    "the clock, adjusted": "import ctypes\nassert ctypes.CDLL(None).adjtimex(bytes(208)) >= 0",
    "the host's name": "import socket; socket.sethostname('attack')",
    "the host's name of C": "import ctypes\nassert ctypes.CDLL(None).sethostname(b'attack', 6) == 0",
    "the kernel's settings": "open('/proc/sys/kernel/hostname', 'w').write('attack')",
    "the kernel's log": "import ctypes\nassert ctypes.CDLL(None).klogctl(3, bytes(99), 99) >= 0",
    "reboot": "import ctypes\nassert ctypes.CDLL(None).reboot(0) == 0",
    "swap": "import ctypes\nassert ctypes.CDLL(None).swapoff(b'/x') == 0",
    "a module": "import ctypes\nassert ctypes.CDLL(None).init_module(b'', 0, b'') == 0",
    "its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 50, 1 << 50))",
    "its open files": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))",
    "its nice value": "import os; os.nice(-1)",
    "its user": "import os; os.setuid(0 if os.getuid() else 1)",
    "its groups": "import os; os.setgroups([0])",
    "locked memory": "import ctypes\nassert ctypes.CDLL(None).mlockall(3) == 0",
    "a trace of the kernel": "import ctypes\nassert ctypes.CDLL(None).syscall(298, bytes(128), 0, -1, -1, 0) >= 0",
    "a program of the kernel": "import ctypes\nassert ctypes.CDLL(None).syscall(321, 0, bytes(128), 128) >= 0",
    "user faults": "import ctypes\nassert ctypes.CDLL(None).syscall(323, 1) >= 0",
    "a disk": "import os; os.open('/dev/sda', os.O_RDWR)",
    "memory of the machine": "import os; os.open('/dev/mem', os.O_RDWR)",
    "a terminal": "import os; os.openpty()",
    "the console": "import os; os.open('/dev/console', os.O_RDWR)",
    "a watch on files": "import ctypes\nassert ctypes.CDLL(None).fanotify_init(0, 0) >= 0",
    "control groups": "open('/sys/fs/cgroup/cgroup.procs', 'w').write('0')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_machine_is_not_changed(evaluation, change):
    before = time.time(), os.uname().nodename, os.getpriority(os.PRIO_PROCESS, evaluation.process.pid)
    status, detail = evaluation.run(CHANGES[change], "")
    assert status == "failed", detail
    assert time.time() > before[0] - 3600  # a machine may set its own clock right meanwhile
    assert (os.uname().nodename, os.getpriority(os.PRIO_PROCESS, evaluation.process.pid)) == before[1:]


def test_no_descriptor_of_the_evaluation_is_there(evaluation):
    # Those of the sandbox itself are pipes and sockets within it.
    code = "import os\nfound = []\nfor fd in range(1024):\n    try: found.append(os.readlink(f'/proc/self/fd/{fd}'))\n"
    code += "    except OSError: pass\nraise ValueError(found)"
    _, detail = evaluation.run(code)
    assert str(evaluation.folder) not in detail


def test_there_is_nothing_on_stdin(evaluation):
    assert evaluation.run("import sys\ndef f(): return sys.stdin.read()", "assert f() == ''") == ("passed", "")
    assert evaluation.run("x = input()", "")[1].startswith("EOFError")
