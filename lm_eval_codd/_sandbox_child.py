"""The process in which a generated program runs: confines itself, runs program and tests, says how it ended.

Started by `lm_eval_codd.sandbox` as a script, never imported. One JSON request comes on stdin; two lines leave on the
file descriptor given as the only argument: what confines this process, then how the program ended. The second line
starts with a random token that only the request held, so that a program cannot report its own success by printing or
by leaving early.

The kernel confines the process (Linux; x86-64 and ARM64), without privileges and without helper programs:

* resource limits: processor time, address space, size of a file, number of open files;
* no capabilities and no new privileges, so that root in a container is as confined as anyone;
* seccomp: no sockets, no new processes or programs, no signals to others, no tracing, no change of modes and owners;
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

# linux/prctl.h, linux/capability.h
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CAPABILITY_VERSION_3 = 0x20080522
# Root without these could not import from a virtual environment in somebody's private home.
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2

# linux/seccomp.h, linux/filter.h, linux/audit.h
SECCOMP_SET_MODE_FILTER = 1
ALLOW, KILL_PROCESS, DENY = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_OFFSET, ARCH_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 4, 16
CLONE_THREAD = 0x00010000
X32_SYSCALLS = 0x40000000

# machine -> (audit architecture, index of its column below)
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# name -> system call number on x86-64 and ARM64 (None: it has none)
SYSCALLS = {
    "prctl": (157, 167),
    "capget": (125, 90),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "clone": (56, 220),
    "clone3": (435, 435),
    "prlimit64": (302, 261),
}
DENIED = {
    # new processes and programs, and other processes
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "unshare": (272, 97),
    "setns": (308, 268),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    # network; io_uring does what the filter would not see
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    # what Landlock does not cover
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "truncate": (76, 45),
    "utimensat": (280, 88),
    "open_by_handle_at": (304, 265),
    # memory that outlives the process or escapes its limit, and the kernel's larger attack surfaces
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}

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
    """Seccomp: the calls of `DENIED` fail with EPERM. Returns what was applied."""
    program = b"".join(system_call_filter())
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    kernel("seccomp", SECCOMP_SET_MODE_FILTER, 0, header)
    return "seccomp"


def system_call_filter() -> list[bytes]:
    """The filter's instructions (struct sock_filter): a foreign architecture dies, a denied call fails."""

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    architecture, column = MACHINES[platform.machine()]
    deny = instruction(RETURN, DENY | EPERM)
    allow = instruction(RETURN, ALLOW)
    load_number = instruction(LOAD, NUMBER_OFFSET)
    load_argument = instruction(LOAD, FIRST_ARGUMENT_OFFSET)
    program = [
        instruction(LOAD, ARCH_OFFSET),
        instruction(JUMP_EQUAL, architecture, 1, 0),
        instruction(RETURN, KILL_PROCESS),
        load_number,
        instruction(JUMP_ABOVE, X32_SYSCALLS, 0, 1),
        deny,
    ]
    for numbers in DENIED.values():
        if (denied := numbers[column]) is not None:
            program += [instruction(JUMP_EQUAL, denied, 0, 1), deny]
    # clone3's flags lie in memory, out of the filter's sight; libc falls back to clone on ENOSYS.
    program += [instruction(JUMP_EQUAL, number("clone3"), 0, 1), instruction(RETURN, DENY | ENOSYS)]
    # Threads may start, processes may not; limits may be changed for oneself (process 0), not for others.
    for name, test in (
        ("clone", instruction(JUMP_ANY_BIT, CLONE_THREAD, 0, 1)),
        ("prlimit64", instruction(JUMP_EQUAL, 0, 0, 1)),
    ):
        program += [instruction(JUMP_EQUAL, number(name), 0, 4), load_argument, test, allow, deny]
    return [*program, allow]


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
