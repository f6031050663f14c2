"""Ends processes as a power cut or a scheduler does, and counts what is left in journals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path


def children(pid: int) -> list[int]:
    """Of a process, those that it started, at any depth."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *children(child)]
    return found


def kill(pid: int) -> None:
    """At once; one that is gone already is left in peace."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_all(process: subprocess.Popen) -> None:
    """As a power cut would: the launcher and everything below it, at once."""
    os.kill(process.pid, signal.SIGSTOP)
    for pid in [*children(process.pid), process.pid]:
        kill(pid)
    process.communicate()


def journalled(results: Path) -> Counter[tuple[str, bytes]]:
    """The whole lines of answers in the journals of a results folder: run and key, and how often."""
    found: Counter[tuple[str, bytes]] = Counter()
    for file in results.glob("*/journal/answers-*.jsonl"):
        for line in file.read_bytes().splitlines(keepends=True):
            if line.startswith(b'{"key":"') and line.endswith(b'"}\n'):
                found[file.parts[-3], line[8:40]] += 1
    return found
