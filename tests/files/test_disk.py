import errno
import os

import pytest

from lm_eval_codd.files import disk


def error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_room(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: disk.shutil._ntuple_diskusage(5 << 20, 0, 4096))
    said = disk.explained(error(number), tmp_path / "not" / "there")
    room = f"the disk at {tmp_path} is full, or its quota used up (4 KiB of 5 MiB free); make room there"
    assert said == f"{os.strerror(number)}: {room}"
    assert disk.full_disk(tmp_path / "not") in said


def test_a_disk_with_room_is_not_full(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: disk.shutil._ntuple_diskusage(1 << 40, 0, 1 << 30))
    assert disk.full_disk(tmp_path) == ""


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "takes no files; give a folder on another"),
        (errno.EIO, "fails; look at it, or give a folder on another"),
        (errno.ESTALE, "fails; look at it"),
    ],
)
def test_a_disk_that_fails_or_takes_no_files_is_named(tmp_path, monkeypatch, number, words):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path.parent))
    said = disk.explained(error(number), tmp_path / "x")
    assert said.startswith(f"{os.strerror(number)}: the disk at {tmp_path.parent} ")
    assert words in said


def test_a_folder_of_someone_else_is_named_with_its_owner(tmp_path):
    said = disk.explained(error(errno.EACCES), tmp_path / "journal" / "x")
    assert said == f"Permission denied: {tmp_path} belongs to {tmp_path.owner()}; give a folder of your own"


def test_any_other_error_is_what_the_system_says(tmp_path):
    assert disk.explained(error(errno.ENAMETOOLONG), tmp_path) == "File name too long"
