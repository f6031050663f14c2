"""The process in which a generated program runs: confines itself, runs program and tests, says how it ended.

Started by `lm_eval_codd.sandbox` as a script, never imported. One JSON request comes on stdin; two lines leave on the
file descriptor given as the only argument: what confines this process, then how the program ended. The second line
starts with a random token that only the request held, so that a program cannot report its own success by printing or
by leaving early.

The kernel confines the process (Linux; x86-64 and ARM64), without privileges and without helper programs:

* resource limits: processor time, address space, size of a file, number of open files;
* no capabilities and no new privileges, so that root in a container is as confined as anyone;
* seccomp: only the calls of `ALLOWED` and those of `ALLOWED_WITH` whose argument is listed: no sockets, no new
  processes or programs, nothing that signals, owns, traces or schedules others, no change of modes and owners;
* Landlock: nothing is created, written or removed outside the temporary folder.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable

# linux/prctl.h, linux/capability.h
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CAPABILITY_VERSION_3 = 0x20080522
# Root without these could not import from a virtual environment in somebody's private home.
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2

# linux/seccomp.h, linux/filter.h, linux/audit.h
SECCOMP_SET_MODE_FILTER = 1
ALLOW, KILL_PROCESS, DENY = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
NUMBER_OFFSET, ARCH_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16
X32_SYSCALLS = 0x40000000

# machine -> (audit architecture, index of its column below)
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# name -> system call number on x86-64 and ARM64 (None: it has none); asked for by this file
SYSCALLS = {
    "prctl": (157, 167),
    "capget": (125, 90),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "clone3": (435, 435),
}
# What a program may ask of the kernel, whatever the arguments. Nothing here names another process, a host or an
# owner; paths are Landlock's. All that is missing here fails with EPERM.
ALLOWED = {
    # files and descriptors
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "close": (3, 57),
    "close_range": (436, 436),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "fadvise64": (221, 223),
    "fallocate": (285, 47),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "flock": (73, 32),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "umask": (95, 166),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    # waiting
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create": (213, None),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441),
    "eventfd": (284, None),
    "eventfd2": (290, 19),
    "timerfd_create": (283, 85),
    "timerfd_settime": (286, 86),
    "timerfd_gettime": (287, 87),
    "pause": (34, None),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    # a connected pair: there is no other socket to use them with
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "shutdown": (48, 210),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
    "setsockopt": (54, 208),
    "getsockopt": (55, 209),
    # memory
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "msync": (26, 227),
    "madvise": (28, 233),
    "mseal": (462, 462),
    "brk": (12, 214),
    # threads, and how this process ends
    "futex": (202, 98),
    "futex_waitv": (449, 449),
    "futex_wake": (454, 454),
    "futex_wait": (455, 455),
    "set_tid_address": (218, 96),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "arch_prctl": (158, None),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "restart_syscall": (219, 128),
    # signals to itself, by the clock
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "alarm": (37, None),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    # what it may know
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getresuid": (118, 148),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "getpriority": (140, 141),
    "getrlimit": (97, 163),
    "setrlimit": (160, 164),
    "getrusage": (98, 165),
    "getcpu": (309, 168),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "sched_rr_get_interval": (148, 127),
    "times": (100, 153),
    "time": (201, None),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "getrandom": (318, 278),
    "uname": (63, 160),
    "sysinfo": (99, 179),
}
# linux/sched.h, linux/prctl.h, linux/socket.h, asm-generic/{fcntl,ioctls}.h
CLONE_THREAD, AF_UNIX, O_ASYNC, F_SETFL = 0x00010000, 1, 0o20000, 4
PRCTL_OPTIONS = {"PR_GET_DUMPABLE": 3, "PR_SET_NAME": 15, "PR_GET_NAME": 16, "PR_SET_VMA": 0x53564D41}
# No F_SETOWN, F_SETOWN_EX, F_SETSIG, F_SETLEASE, F_NOTIFY: each has the kernel send signals, to whom one likes.
FCNTL_COMMANDS = {
    **{"F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_GETLK": 5, "F_SETLK": 6, "F_SETLKW": 7},
    **{"F_OFD_GETLK": 36, "F_OFD_SETLK": 37, "F_OFD_SETLKW": 38, "F_DUPFD_CLOEXEC": 1030, "F_GETPIPE_SZ": 1032},
}
# No FIOASYNC, FIOSETOWN, SIOCSPGRP, TIOCSPGRP, TIOCSTI, TIOCSCTTY.
IOCTL_REQUESTS = {
    **{"TCGETS": 0x5401, "TIOCGWINSZ": 0x5413, "FIONREAD": 0x541B, "FIONBIO": 0x5421},
    **{"FIONCLEX": 0x5450, "FIOCLEX": 0x5451},
}
# name -> numbers, which argument (from 0), and the values that are allowed
ALLOWED_WITH = {
    "fcntl": ((72, 25), 1, FCNTL_COMMANDS.values()),
    "ioctl": ((16, 29), 1, IOCTL_REQUESTS.values()),
    "prctl": ((157, 167), 0, PRCTL_OPTIONS.values()),
    "socketpair": ((53, 199), 0, [AF_UNIX]),
    # limits of its own (process 0) only
    "prlimit64": ((302, 261), 0, [0]),
}
# The newest number known here. Beyond it the C library has to believe that the kernel is older.
LAST_KNOWN = 466

# linux/landlock.h. Folders are not made even in the temporary one: a tree a thousand deep cannot be removed.
LANDLOCK_VERSION = 1
LANDLOCK_RULE_PATH = 1
WRITE_FILE, REMOVE_FILE, MAKE_FILE, TRUNCATE = 1 << 1, 1 << 5, 1 << 8, 1 << 14
ALL_WRITES = WRITE_FILE | sum(1 << bit for bit in range(4, 13))
TRUNCATE_SINCE = 3


class Unavailable(Exception):
    """A confinement that this kernel does not offer; the message says why."""


def limit_resources(seconds: int, memory_bytes: int, file_bytes: int, open_files: int) -> None:
    for name, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(name)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(name, (value, value))


def drop_privileges(kernel: "Kernel") -> None:
    """No new privileges (which seccomp and Landlock ask for), and none of root's that are there."""
    kernel("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    # effective, permitted and inheritable, once for the low 32 capabilities and once for the high
    sets = ctypes.create_string_buffer(24)
    kernel("capget", header, sets)
    kept = struct.unpack("6I", sets.raw)[1] & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH)
    kernel("capset", header, struct.pack("6I", kept, kept, 0, 0, 0, 0))
    # A change of credentials forgets it, so it comes last.
    kernel("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def confine_writes(kernel: "Kernel", folder: str) -> str:
    """Landlock: writes inside `folder` and to /dev/null only. Returns what was applied."""
    abi = kernel("landlock_create_ruleset", None, 0, LANDLOCK_VERSION)
    truncate = TRUNCATE if abi >= TRUNCATE_SINCE else 0
    attributes = struct.pack("Q", ALL_WRITES | truncate)
    ruleset = kernel("landlock_create_ruleset", attributes, len(attributes), 0)
    for path, allowed in ((folder, WRITE_FILE | REMOVE_FILE | MAKE_FILE | truncate), ("/dev/null", WRITE_FILE)):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kernel("landlock_add_rule", ruleset, LANDLOCK_RULE_PATH, struct.pack("=Qi", allowed, descriptor), 0)
        os.close(descriptor)
    kernel("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)
    return f"landlock {abi}"


def confine_system_calls(kernel: "Kernel") -> str:
    """Seccomp: what is not allowed fails. Returns what was applied."""
    program = b"".join(system_call_filter())
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    kernel("seccomp", SECCOMP_SET_MODE_FILTER, 0, header)
    return "seccomp"


def system_call_filter() -> list[bytes]:
    """The filter's instructions (struct sock_filter): a foreign architecture dies, what is not allowed fails."""
    architecture, column = MACHINES[platform.machine()]

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    def argument(index: int, half: int = 0) -> bytes:
        return instruction(LOAD, ARGUMENTS_OFFSET + 8 * index + 4 * half)

    def when(name_numbers: tuple, body: list[bytes]) -> list[bytes]:
        if name_numbers[column] is None:
            return []
        return [instruction(JUMP_EQUAL, name_numbers[column], 0, len(body)), *body]

    def one_of(values: Iterable[int]) -> list[bytes]:
        return [line for value in values for line in (instruction(JUMP_EQUAL, value, 0, 1), allow)]

    deny = instruction(RETURN, DENY | EPERM)
    missing = instruction(RETURN, DENY | ENOSYS)
    allow = instruction(RETURN, ALLOW)
    program = [
        instruction(LOAD, ARCH_OFFSET),
        instruction(JUMP_EQUAL, architecture, 1, 0),
        instruction(RETURN, KILL_PROCESS),
        instruction(LOAD, NUMBER_OFFSET),
        instruction(JUMP_ABOVE, X32_SYSCALLS - 1, 0, 1),
        deny,
        instruction(JUMP_ABOVE, LAST_KNOWN, 0, 1),
        missing,
    ]
    program += one_of(number for numbers in ALLOWED.values() if (number := numbers[column]) is not None)
    # clone3's flags lie in memory, out of the filter's sight; libc falls back to clone on ENOSYS.
    program += when(SYSCALLS["clone3"], [missing])
    # Threads may start, processes may not.
    program += when((56, 220), [argument(0), instruction(JUMP_ANY_BIT, CLONE_THREAD, 0, 1), allow, deny])
    # To the other end of the pair; an address (a pointer, both halves) would be any socket of this machine.
    no_address = [
        argument(4),
        instruction(JUMP_EQUAL, 0, 0, 3),
        argument(4, 1),
        instruction(JUMP_EQUAL, 0, 0, 1),
        allow,
    ]
    program += when((44, 206), [*no_address, deny])
    for name, (numbers, index, values) in ALLOWED_WITH.items():
        body = [argument(index), *one_of(values)]
        if name == "fcntl":
            set_flags = [argument(2), instruction(JUMP_ANY_BIT, O_ASYNC, 1, 0), allow, deny]
            body += [instruction(JUMP_EQUAL, F_SETFL, 0, len(set_flags)), *set_flags]
        program += when(numbers, [*body, deny])
    return [*program, deny]


def number(name: str) -> int:
    return SYSCALLS[name][MACHINES[platform.machine()][1]]


class Kernel:
    """System calls by name. They raise `Unavailable` when the kernel, or a filter around this process, refuses."""

    def __init__(self) -> None:
        if sys.platform != "linux" or platform.machine() not in MACHINES:
            raise Unavailable(f"{sys.platform} on {platform.machine()} is not supported")
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def __call__(self, name: str, *arguments: int | bytes | ctypes.Array | None) -> int:
        # Integers as longs: a register's upper half is not cleared for an int.
        passed = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
        result = self._syscall(ctypes.c_long(number(name)), *passed)
        if result < 0:
            raise Unavailable(f"{name}: {os.strerror(ctypes.get_errno())}")
        return result


def confine(request: dict) -> dict[str, str]:
    """Apply everything that the kernel allows. Returns what confines what, or "none: " and why nothing does."""
    limit_resources(**request["limits"])
    applied = {}
    try:
        kernel = Kernel()
        drop_privileges(kernel)
        try:
            applied["files"] = confine_writes(kernel, os.getcwd())
        except Unavailable as error:
            applied["files"] = f"none: {error}"
        applied["processes"] = applied["network"] = confine_system_calls(kernel)
    except Unavailable as error:
        applied = {"files": f"none: {error}", **applied, "processes": f"none: {error}", "network": f"none: {error}"}
        # Counts every process of the user, so it forbids all new ones; it does not hold root.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return applied


def main() -> None:
    report = int(sys.argv[1])
    request = json.loads(sys.stdin.buffer.read())
    sys.argv[:] = [""]
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != folder]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    token = request["token"].encode()
    os.write(report, json.dumps(confine(request)).encode() + b"\n")

    # Bound before the program runs: it may replace what it likes in the modules it shares with this one.
    write, leave, execute, compiled = os.write, os._exit, exec, compile
    passed = token + b" passed \n"
    # As in code_eval, `__name__` is not "__main__": a guarded main block does not run.
    namespace: dict = {}
    try:
        for name, source in (("program", request["code"]), ("tests", request["tests"])):
            execute(compiled(source, f"<{name}>", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        write(report, token + b" failed " + text.encode(errors="replace") + b"\n")
        leave(1)
    write(report, passed)
    leave(0)


if __name__ == "__main__":
    main()
