"""A disk of its own that is really full, or takes no files: a tmpfs, which only root can mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 512 * 1024


class Disk:
    """A small disk.

    Attributes:
        root: where it is mounted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self, free: int = 0) -> None:
        """Leave so many bytes, in whole pages."""
        with self._filler.open("ab", buffering=0) as file:
            file.write(b"\0" * max(0, os.statvfs(self.root).f_bavail * os.statvfs(self.root).f_frsize - free))

    def make_room(self) -> None:
        """Take back what `fill` wrote."""
        self._filler.unlink()

    def make_read_only(self) -> None:
        """From now on it takes no files."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.root)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """Half a MiB."""
    root = tmp_path / "small disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(root)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
