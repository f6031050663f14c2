"""Which system calls a confined process may make, by number: x86-64 and ARM64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["ALLOWED", "ALLOWED_WITH", "CLONE_THREAD", "F_SETFL", "LAST_KNOWN", "O_ASYNC"]

# On x86-64 and ARM64; None: the machine has none of this name.
Numbers = tuple[int | None, int | None]

# What a program may ask of the kernel, whatever the arguments. Nothing here names another process, a host or an
# owner; paths are Landlock's. All that is missing here fails with EPERM.
ALLOWED: Final[Mapping[str, Numbers]] = {
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
ALLOWED_WITH: Final[Mapping[str, tuple[Numbers, int, Iterable[int]]]] = {
    "fcntl": ((72, 25), 1, FCNTL_COMMANDS.values()),
    "ioctl": ((16, 29), 1, IOCTL_REQUESTS.values()),
    "prctl": ((157, 167), 0, PRCTL_OPTIONS.values()),
    "socketpair": ((53, 199), 0, [AF_UNIX]),
    # limits of its own (process 0) only
    "prlimit64": ((302, 261), 0, [0]),
}
# The newest number known here. Beyond it the C library has to believe that the kernel is older.
LAST_KNOWN = 466
