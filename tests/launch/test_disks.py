"""Disks that are full, take no files or belong to someone else: named in a line, and the same command goes on after."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from lm_eval_codd.launch import jobs
from lm_eval_codd.launch.errors import NotStarted
from tests.small_disk import small_disk  # noqa: F401

FULL = "is full, or its quota used up ("


@pytest.fixture
def launcher_there(launcher, small_disk):  # noqa: F811
    """The launcher with its output folder on the small disk."""
    launcher.results = small_disk.root / "results"
    return launcher


class TestAFullDisk:
    def test_from_the_start_starts_nothing(self, launcher_there, small_disk):  # noqa: F811
        small_disk.fill()
        code, output = launcher_there([launcher_there.run_text(steps=16)])
        assert (code, len(output.splitlines())) == (2, 1)
        assert f"No space left on device: the disk at {small_disk.root} {FULL}" in output

    def test_in_the_middle_of_a_run_is_named_and_the_same_command_goes_on(self, launcher_there, small_disk):  # noqa: F811
        launcher, text = launcher_there, launcher_there.run_text(steps=16)
        code, output = launcher([text], fake={"16": {"answers": 4, "fill": str(small_disk.root / "filler")}})
        assert code == 1
        assert f"the disk at {small_disk.root} {FULL}" in output.splitlines()[-1]
        small_disk.make_room()
        code, output = launcher([text], fake={"16": {"answers": 4}})
        assert code == 0, output
        assert "resumed  " in output
        computed = (launcher.results / "computed.txt").read_text().splitlines()
        assert sorted(computed) == [f"16 {number}" for number in range(4)]

    @pytest.mark.parametrize("free", [0, 4096, 8192])
    def test_at_the_end_of_a_run_never_passes_for_results(self, launcher_there, small_disk, free):  # noqa: F811
        launcher, text = launcher_there, launcher_there.run_text(steps=16)
        fake = {"fill": str(small_disk.root / "filler"), "free": free, "config": {"long": "x" * 20_000}, "hush": True}
        code, output = launcher([text], fake={"16": fake})
        assert code == 1, output
        small_disk.make_room()
        code, output = launcher([text])
        assert code == 0 and "skipped  " not in output
        (path,) = launcher.results.glob("*/run.json")
        record = json.loads(path.read_text())
        assert json.loads((path.parent / record["results"]).read_text())["results"]


class TestAReadOnlyDisk:
    def test_is_named_and_nothing_is_started(self, launcher_there, small_disk):  # noqa: F811
        launcher_there.results.mkdir()
        small_disk.make_read_only()
        code, output = launcher_there([launcher_there.run_text(steps=16)])
        assert (code, len(output.splitlines())) == (2, 1)
        assert f"Read-only file system: the disk at {small_disk.root} takes no files; give a folder on" in output


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
class TestFilesOfAnotherUser:
    @pytest.fixture
    def as_nobody(self):
        """`as_nobody(function)`: what it raises, as text, in a process of the user nobody."""

        def run(function):
            reads, writes = os.pipe()
            if not (child := os.fork()):
                try:
                    os.setgid(65534)
                    os.setuid(65534)
                    function()
                    said = "nothing"
                except BaseException as error:
                    said = f"{type(error).__name__}: {error}"
                os.write(writes, said.encode())
                os._exit(0)
            os.close(writes)
            with os.fdopen(reads) as pipe:
                said = pipe.read()
            os.waitpid(child, 0)
            return said

        return run

    @pytest.fixture
    def folder(self):
        """A folder of root's that others may look into; pytest's own are closed to them."""
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            yield Path(name)

    def test_an_output_folder_is_one_line(self, as_nobody, folder):
        said = as_nobody(lambda: jobs.prepare_folder(folder))
        assert said == (
            f"{NotStarted.__name__}: `--output_dir {folder}` cannot be written: Permission denied: {folder} belongs to "
            "root; give a folder of your own"
        )

    def test_a_record_is_one_line_and_its_run_is_not_made_anew(self, as_nobody, folder):
        from lm_eval_codd.runs import record

        record.write(folder, {"status": "finished"})
        os.chmod(folder / "run.json", 0o600)
        said = as_nobody(lambda: record.read(folder))
        assert said.startswith(f"ValueError: {folder}/run.json cannot be read: Permission denied: ")
        assert said.endswith("run.json belongs to root; give a folder of your own")
