"""Every way to signal, own, trace or slow down another process, tried on the evaluation and on a bystander."""

import platform

import pytest

from tests.sandbox.evaluation import state

# System calls by number (x86-64, ARM64), for those that Python has no function for.
NUMBERS = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "timer_create": (222, 107),
    "mq_open": (240, 180),
    "mq_notify": (244, 184),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "setpgid": (109, 154),
    "kcmp": (312, 272),
    "io_uring_setup": (425, 425),
}
HELPERS = f"""\
import ctypes, fcntl, os, signal, struct, time
NUMBERS = {{name: numbers[{int(platform.machine() == "aarch64")}] for name, numbers in {NUMBERS!r}.items()}}
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *given):
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in given]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
"""
# A pipe whose reader, {{pid}}, is to be told by signal {signal} that there is something to read.
ASYNCHRONOUS = """\
r, w = os.pipe()
{own}
fcntl.fcntl(r, {set_signal}, {signal})
{turn_on}
os.write(w, b'x')
time.sleep(0.2)
"""
F_SETSIG, F_SETOWN_EX, FIOASYNC, FIOSETOWN, SIOCSPGRP, TIOCSTI = 10, 15, 0x5452, 0x8901, 0x8902, 0x5412


def asynchronous(own, turn_on, signal="signal.SIGKILL"):
    return ASYNCHRONOUS.format(own=own, turn_on=turn_on, signal=signal, set_signal=F_SETSIG)


FLAGS_ON = "fcntl.fcntl(r, fcntl.F_SETFL, fcntl.fcntl(r, fcntl.F_GETFL) | os.O_ASYNC)"
IOCTL_ON = f"fcntl.ioctl(r, {FIOASYNC}, struct.pack('i', 1))"
OWN = "fcntl.fcntl(r, fcntl.F_SETOWN, {pid})"

ATTACKS = {
    "kill": "os.kill({pid}, signal.SIGKILL)",
    "kill, no signal": "os.kill({pid}, 0)",
    "killpg": "os.killpg({pid}, signal.SIGSTOP)",
    "kill everybody": "os.kill(-1, signal.SIGTERM)",
    "kill of C": "call('kill', {pid}, 9)",
    "tkill": "call('tkill', {pid}, 9)",
    "tgkill": "call('tgkill', {pid}, {pid}, 9)",
    "sigqueue": "call('rt_sigqueueinfo', {pid}, 9, struct.pack('iii', 9, 0, -1) + bytes(116))",
    "sigqueue to a thread": "call('rt_tgsigqueueinfo', {pid}, {pid}, 9, struct.pack('iii', 9, 0, -1) + bytes(116))",
    "pidfd": "signal.pidfd_send_signal(os.pidfd_open({pid}), signal.SIGKILL)",
    "pidfd_open": "call('pidfd_open', {pid}, 0)",
    "a folder of /proc as a pidfd": "signal.pidfd_send_signal(os.open('/proc/{pid}', os.O_RDONLY), signal.SIGKILL)",
    "F_SETOWN": asynchronous(OWN, FLAGS_ON),
    "F_SETOWN, stop": asynchronous(OWN, FLAGS_ON, "signal.SIGSTOP"),
    "F_SETOWN, group": asynchronous("fcntl.fcntl(r, fcntl.F_SETOWN, -{pid})", FLAGS_ON),
    "F_SETOWN and FIOASYNC": asynchronous(OWN, IOCTL_ON),
    "F_SETOWN on a socket pair": "import socket\n"
    "a, b = socket.socketpair(); r = a.fileno()\n"
    "fcntl.fcntl(r, fcntl.F_SETOWN, {pid}); " + FLAGS_ON + "\nb.send(b'x'); time.sleep(0.2)",
    "F_SETOWN_EX": asynchronous(f"fcntl.fcntl(r, {F_SETOWN_EX}, struct.pack('ii', 1, {{pid}}))", FLAGS_ON),
    "F_SETOWN_EX, thread": asynchronous(f"fcntl.fcntl(r, {F_SETOWN_EX}, struct.pack('ii', 0, {{pid}}))", FLAGS_ON),
    "FIOSETOWN": asynchronous(f"fcntl.ioctl(r, {FIOSETOWN}, struct.pack('i', {{pid}}))", IOCTL_ON),
    "SIOCSPGRP": asynchronous(f"fcntl.ioctl(r, {SIOCSPGRP}, struct.pack('i', {{pid}}))", IOCTL_ON),
    "F_SETLEASE": "fd = os.open('f', os.O_RDWR | os.O_CREAT); fcntl.fcntl(fd, fcntl.F_SETOWN, {pid})\n"
    "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK); os.open('f', os.O_RDONLY | os.O_NONBLOCK)",
    "F_NOTIFY": "fd = os.open('.', os.O_RDONLY); fcntl.fcntl(fd, fcntl.F_SETOWN, {pid})\n"
    "fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_CREATE); open('f', 'w')",
    "timer_create": "call('timer_create', 1, struct.pack('QiiI', 0, 9, 4, {pid}) + bytes(40), bytes(8))",
    "mq_notify": "fd = call('mq_open', b'q', os.O_CREAT | os.O_RDWR, 0o600, None)\n"
    "call('mq_notify', fd, struct.pack('Qii', 0, 9, 0) + bytes(48))",
    "TIOCSTI": f"fd = os.open('/dev/tty', os.O_RDWR); fcntl.ioctl(fd, {TIOCSTI}, b'x')",
    "TIOCSTI on a new terminal": f"_, fd = os.openpty(); os.setsid(); fcntl.ioctl(fd, {TIOCSTI}, b'x')",
    "ptrace, attach": "call('ptrace', 16, {pid}, None, None)",
    "ptrace, seize": "call('ptrace', 0x4206, {pid}, None, None)",
    "process_vm_writev": "call('process_vm_writev', {pid}, None, 0, None, 0, 0)",
    "/proc/PID/mem": "os.open('/proc/{pid}/mem', os.O_RDWR)",
    "/proc/PID/oom_score_adj": "open('/proc/{pid}/oom_score_adj', 'w').write('1000')",
    "/proc/PID/comm": "open('/proc/{pid}/comm', 'w').write('x')",
    "/proc/PID/clear_refs": "open('/proc/{pid}/clear_refs', 'w').write('1')",
    "prlimit": "import resource; resource.prlimit({pid}, resource.RLIMIT_CPU, (0, 0))",
    "renice": "os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
    "renice the user": "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    "renice the group": "os.setpriority(os.PRIO_PGRP, 0, 19)",
    "sched_setscheduler": "call('sched_setscheduler', {pid}, 5, struct.pack('i', 0))",
    "sched_setaffinity": "os.sched_setaffinity({pid}, [0])",
    "sched_setattr": "call('sched_setattr', {pid}, struct.pack('IIQiI', 48, 5, 0, 19, 0) + bytes(24), 0)",
    "ioprio_set": "call('ioprio_set', 1, {pid}, 3 << 13)",
    "process_madvise": "call('process_madvise', {pid}, None, 0, 21, 0)",
    "process_mrelease": "call('process_mrelease', {pid}, 0)",
    "migrate_pages": "call('migrate_pages', {pid}, 1, None, None)",
    "setpgid": "call('setpgid', {pid}, 0)",
    "kcmp": "call('kcmp', {pid}, {pid}, 0, 0, 0)",
    "io_uring": "call('io_uring_setup', 1, bytes(120))",
}
# Not allowed, not there to be named, or (OSError) no such thing for this program.
REFUSED = ("PermissionError", "ProcessLookupError", "FileNotFoundError", "OSError")


def goes_on(pid):
    """Whether a process is there, neither stopped nor traced; on a busy machine it may not be asleep yet."""
    return state(pid)[0] in "SRD"


@pytest.mark.parametrize("attack", ATTACKS)
class TestOthers:
    def test_are_neither_signalled_nor_changed(self, evaluation, attack):
        bystander = evaluation.bystander()
        try:
            for pid in (bystander.pid, evaluation.process.pid):
                status, detail = evaluation.run(HELPERS + ATTACKS[attack].format(pid=pid), "")
                assert (status, detail.split(":")[0] in REFUSED) == ("failed", True), (status, detail)
                assert goes_on(bystander.pid)
                assert evaluation.process.poll() is None
        finally:
            bystander.kill()
            bystander.wait()


# kill(PID, SIGKILL) by the calls of 32-bit programs, and by those of the x32 kind.
OTHER_CALLS = {
    "i386": "import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\n"
    "page.write(bytes.fromhex('b825000000bb') + ({pid}).to_bytes(4, 'little') + bytes.fromhex('b909000000cd80c3'))\n"
    "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
    "x32": "import ctypes\nassert ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 62), {pid}, 9) == 0",
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 alone has several kinds of system calls")
@pytest.mark.parametrize("attack", OTHER_CALLS)
def test_other_kinds_of_system_calls_are_no_way_round(evaluation, attack):
    bystander = evaluation.bystander()
    try:
        status, _ = evaluation.run(OTHER_CALLS[attack].format(pid=bystander.pid), "")
        assert status == ("crashed" if attack == "i386" else "failed")
        assert goes_on(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


class TestItself:
    def test_a_program_may_set_its_own_alarm(self, evaluation):
        code = "import signal\nseen = []\nsignal.signal(signal.SIGALRM, lambda *_: seen.append(1))\n"
        code += "signal.setitimer(signal.ITIMER_REAL, 0.05)\nsignal.pause()\ndef f(): return len(seen)"
        assert evaluation.run(code, "assert f() == 1") == ("passed", "")

    @pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGTERM", "SIGHUP"])
    def test_a_signal_to_itself_ends_no_other(self, evaluation, name):
        code = f"import os, signal, time\ntry: signal.raise_signal(signal.{name})\nexcept OSError: pass\n"
        code += "os.abort()"
        assert evaluation.run(code, timeout=2.0)[0] in ("crashed", "timeout", "failed")
