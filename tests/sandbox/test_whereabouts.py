"""Where the sandbox works, and what it hands on: as the user's settings and other programs have it."""

import json
import sysconfig
import tempfile

import pytest

from lm_eval_codd import sandbox
from lm_eval_codd.sandbox import client, run_program


@pytest.fixture
def another_nursery(monkeypatch):
    """The next program has a nursery that starts for it, and ends with the test."""
    monkeypatch.setattr(sandbox, "_nursery", None)
    yield
    sandbox._nursery.close()


def test_packages_beside_an_installed_one_can_be_imported(another_nursery, monkeypatch):
    # Installed as a wheel, this package lies among those that programs import.
    monkeypatch.setattr(client, "_PACKAGE", sysconfig.get_paths()["purelib"])
    assert run_program("import yaml", timeout=20).passed


def test_work_folders_are_made_where_temporary_files_go(another_nursery, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_program("x = 1").passed
    assert list(tmp_path.glob("sandbox-*"))


@pytest.mark.parametrize("text", ["chr(0xD800)", "'a' + chr(0xDFFF) + 'b'"])
def test_what_a_program_says_can_be_written_to_a_file(text):
    # lm-eval writes all samples of a task as UTF-8; one text that is none would lose them.
    for outcome in (run_program(f"raise ValueError({text})"), run_program(f"def f(): return {text}", "assert 0, f()")):
        assert outcome.status == "failed"
        assert json.dumps(outcome.detail, ensure_ascii=False).encode()
