"""No socket goes anywhere, whatever its family; a pair within the program does."""

import os
import socket

import pytest

SOCKETS = {
    "inet, stream": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "inet, datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "inet6": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "unix": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "unix, datagram": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "kernel's algorithms": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "bluetooth": "socket.socket(31, socket.SOCK_RAW)",
    "of C": "ctypes.CDLL(None).socket(2, 1, 0) >= 0 or 1 / 0",
    "asyncio": "asyncio.run(asyncio.open_connection('127.0.0.1', {port}))",
    "urllib": "urllib.request.urlopen('http://127.0.0.1:{port}/')",
    "a name": "socket.gethostbyname('localhost.localdomain') and socket.create_connection(('127.0.0.1', {port}))",
}
IMPORTS = "import asyncio, ctypes, socket, urllib.request\n"


@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


@pytest.mark.parametrize("attack", SOCKETS)
def test_nobody_is_reached(evaluation, listener, attack):
    code = IMPORTS + SOCKETS[attack].format(port=listener.getsockname()[1])
    assert evaluation.run(code, "")[0] == "failed"
    with pytest.raises(BlockingIOError):
        listener.accept()


def bind(mailbox, address):
    """Bind a socket where the path of a folder for temporary files may be longer than an address."""
    if address.startswith("\0"):
        mailbox.bind(address)
        return
    folder = os.open(os.path.dirname(address), os.O_RDONLY)
    mailbox.bind(f"/proc/self/fd/{folder}/{os.path.basename(address)}")
    os.close(folder)


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_STREAM"])
@pytest.mark.parametrize("name", ["abstract", "path"])
def test_a_socket_of_this_machine_gets_nothing_from_a_pair(evaluation, kind, name):
    with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as mailbox:
        address = f"\0attack-{evaluation.process.pid}" if name == "abstract" else str(evaluation.folder / "mailbox")
        bind(mailbox, address)
        mailbox.setblocking(False)
        code = f"import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.{kind})\n"
        for call in (
            f"a.sendto(b'x', {address!r})",
            f"a.connect({address!r})",
            f"a.sendmsg([b'x'], [], 0, {address!r})",
        ):
            assert evaluation.run(code + call, "")[0] == "failed"
        if kind == "SOCK_DGRAM":
            with pytest.raises(BlockingIOError):
                mailbox.recv(1)
        if name == "path":
            (evaluation.folder / "mailbox").unlink()


def test_a_pair_within_the_program_works(evaluation):
    code = "import socket\na, b = socket.socketpair()\na.sendall(b'x')\ndef f(): return b.recv(1)"
    assert evaluation.run(code, "assert f() == b'x'") == ("passed", "")


def test_asyncio_works(evaluation):
    code = "import asyncio\nasync def g(): await asyncio.sleep(0); return 7\ndef f(): return asyncio.run(g())"
    assert evaluation.run(code, "assert f() == 7") == ("passed", "")
