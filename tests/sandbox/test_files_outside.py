"""What is dear to the user: not read, not written, not removed, not renamed, not linked, not marked."""

import os

import pytest

from tests.sandbox.evaluation import SECRET, state

WRITES = {
    "write": "open({path!r}, 'w').write('x')",
    "append": "open({path!r}, 'a').write('x')",
    "truncate": "import os; os.truncate({path!r}, 0)",
    "open and truncate": "import os; os.open({path!r}, os.O_RDONLY | os.O_TRUNC)",
    "mmap": "import mmap, os; mmap.mmap(os.open({path!r}, os.O_RDWR), 4)[:4] = b'xxxx'",
    "remove": "import os; os.remove({path!r})",
    "remove its folder": "import os, shutil; shutil.rmtree(os.path.dirname({path!r}))",
    "rename": "import os; os.rename({path!r}, {path!r} + 'x')",
    "rename into the work folder": "import os; os.rename({path!r}, 'mine')",
    "rename over it": "import os; open('mine', 'w').write('x'); os.rename('mine', {path!r})",
    "exchange": "import ctypes, os; open('mine', 'w').write('x')\n"
    "assert ctypes.CDLL(None).renameat2(-100, b'mine', -100, {path!r}.encode(), 2) == 0",
    "hard link": "import os; os.link({path!r}, 'mine'); open('mine', 'w').write('x')",
    "symbolic link": "import os; os.symlink({path!r}, 'mine'); open('mine', 'w').write('x')",
    "symbolic link to its folder": "import os; os.symlink(os.path.dirname({path!r}), 'd'); os.remove('d/precious')",
    "..": "import os; here = os.getcwd(); os.remove('../' * here.count('/') + {path!r}[1:])",
    "/proc/self/root": "import os; os.remove('/proc/self/root' + {path!r})",
    "/proc/self/cwd": "import os; os.remove('/proc/self/cwd/' + '../' * 20 + {path!r}[1:])",
    "/proc/PID/root": "import os; os.remove('/proc/%d/root%s' % (os.getppid(), {path!r}))",
    "chmod": "import os; os.chmod({path!r}, 0o777)",
    "chown": "import os; os.chown({path!r}, os.getuid(), os.getgid())",
    "utime": "import os; os.utime({path!r}, (0, 0))",
    "xattr": "import os; os.setxattr({path!r}, 'user.mine', b'1')",
    "xattr removed": "import os; os.removexattr({path!r}, 'user.mine')",
    "ioctl": "import fcntl, os; fcntl.ioctl(os.open({path!r}, os.O_RDONLY), 0x40086602, bytes([16, 0, 0, 0] * 2))",
    "a new file": "open({path!r} + '.new', 'w')",
    "a new folder": "import os; os.mkdir({path!r} + '.new')",
    "a new FIFO": "import os; os.mkfifo({path!r} + '.new')",
    "a new device": "import os; os.mknod({path!r} + '.new', 0o20600, os.makedev(1, 3))",
    "a new socket": "import socket; socket.socket(socket.AF_UNIX).bind({path!r} + '.new')",
    "remove of C": "import ctypes; assert ctypes.CDLL(None).unlink({path!r}.encode()) == 0",
    "mount over it": "import ctypes; assert ctypes.CDLL(None).mount(b'x', b'/', b'tmpfs', 0, b'') == 0",
    "chroot": "import os; os.chroot('/'); os.remove({path!r})",
    "unshare": "import ctypes; assert ctypes.CDLL(None).unshare(0x10020000) == 0",
    "setuid": "import os; os.setuid(0); os.remove({path!r})",
    "open_by_handle_at": "import ctypes; assert ctypes.CDLL(None).open_by_handle_at(-100, bytes(128), 0) >= 0",
}


@pytest.mark.parametrize("attack", WRITES)
def test_a_file_of_the_user_is_not_changed(evaluation, attack):
    path = evaluation.file("home/precious", "content")
    before = path.stat()
    status, detail = evaluation.run(WRITES[attack].format(path=str(path)), "", timeout=5.0)
    assert status == "failed", detail
    assert sorted(file.name for file in path.parent.iterdir()) == ["precious"]
    assert path.read_text() == "content"
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns, after.st_nlink, after.st_ino) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
        1,
        before.st_ino,
    )
    assert os.listxattr(path) == []


# Each leaves what it could read in the message of an error.
READS = {
    "a file": "raise ValueError(open({path!r}).read())",
    "a file of C": "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True); b = ctypes.create_string_buffer(99)\n"
    "fd = libc.open({path!r}.encode(), 0)\nif fd < 0: raise OSError(ctypes.get_errno(), 'open')\n"
    "libc.read(fd, b, 99); raise ValueError(b.value)",
    "by its folder": "import os\nfd = os.open(os.path.dirname({path!r}), os.O_PATH)\n"
    "raise ValueError(os.read(os.open('precious', os.O_RDONLY, dir_fd=fd), 99))",
    "a link": "import os; os.symlink({path!r}, 'l'); raise ValueError(open('l').read())",
    "a hard link": "import os; os.link({path!r}, 'l'); raise ValueError(open('l').read())",
    "/proc/self/root": "raise ValueError(open('/proc/self/root' + {path!r}).read())",
    "its folder's names": "import os; raise ValueError(os.listdir(os.path.dirname({path!r})))",
    "home": "import os; raise ValueError(os.listdir('/home'))",
    "/root": "import os; raise ValueError(os.listdir('/root'))",
    "/etc/shadow": "raise ValueError(open('/etc/shadow').read())",
    "/etc/hostname": "raise ValueError(open('/etc/hostname').read())",
    "the environment of the evaluation": "raise ValueError(open('/proc/{pid}/environ').read())",
    "the environment of the parent": "import os; raise ValueError(open('/proc/%d/environ' % os.getppid()).read())",
    "its own environment": "raise ValueError(open('/proc/self/environ').read())",
    "every environment": "import glob\nfound = ''\nfor p in glob.glob('/proc/[0-9]*/environ'):\n"
    "    try: found += open(p).read()\n    except OSError: pass\nraise ValueError(found[-200:])",
    "memory of the evaluation": "raise ValueError(open('/proc/{pid}/mem', 'rb').read(1))",
    "descriptors of the evaluation": "import os; raise ValueError(os.listdir('/proc/{pid}/fd'))",
    "command line of the evaluation": "raise ValueError(open('/proc/{pid}/cmdline').read())",
    "an environment variable": "import os; raise ValueError(dict(os.environ))",
    "an environment variable of C": "import ctypes\nlibc = ctypes.CDLL(None); libc.getenv.restype = ctypes.c_char_p\n"
    "raise ValueError(libc.getenv(b'HF_TOKEN'))",
}


@pytest.mark.parametrize("attack", READS)
def test_a_secret_of_the_user_is_not_read(evaluation, attack):
    path = evaluation.file("home/precious", SECRET)
    code = READS[attack].format(path=str(path), pid=evaluation.process.pid)
    status, detail = evaluation.run(code, "", timeout=5.0)
    assert status == "failed"
    assert SECRET not in detail
    assert attack in READABLE or detail.startswith(("PermissionError", "FileNotFoundError", "NotADirectoryError")), (
        detail
    )
    assert state(evaluation.process.pid) != "gone"


# These show the program's own, with nothing of the evaluation's in it.
READABLE = {
    *("its own environment", "the environment of the parent", "every environment", "an environment variable"),
    *("an environment variable of C",),
}
