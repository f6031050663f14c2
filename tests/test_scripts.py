"""eval.sh and scripts/venv.sh, with a stand-in for Python that only writes down what it is asked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

STAND_IN = """#!/bin/bash
printf '%s|' "$@" >>"$CALLS"; echo >>"$CALLS"
case "$1 $2" in
  "-c "*find_spec*) exit "$LACKS_PACKAGE" ;;
  "-V ") echo "Python 3.11.7" ;;
  "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip")
    if [ "$3" = config ]; then echo "$PIP_CONFIG"; exit; fi
    case "$*" in *--index-url*) exit "$LACKS_CPU_BUILD" ;; esac
    echo "$PIP_SAYS"; [ -z "$PIP_SAYS" ] ;;
  "-m lm_eval_codd") shift 2; printf '<%s>\\n' "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout in a folder with a space in its name."""
    folder = tmp_path / "my checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in ("eval.sh", "scripts/venv.sh", "setup.cfg", "setup.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def calls(tmp_path) -> Path:
    """What the stand-in was asked, a line a call."""
    return tmp_path / "calls"


@pytest.fixture
def start(checkout, calls, tmp_path):
    """Run the checkout's eval.sh from another folder, in a bare environment."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "python3"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a_file").touch()

    def start(
        *args: str, lacks_package: bool = True, pip_says: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        calls.write_text("")
        environ = {
            "PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "CALLS": str(calls),
            "LACKS_PACKAGE": str(int(lacks_package)),
            "PIP_SAYS": pip_says,
            "PIP_CONFIG": "",
            "LACKS_CPU_BUILD": "0",
            **environment,
        }
        return subprocess.run([checkout / "eval.sh", *args], capture_output=True, text=True, cwd=elsewhere, env=environ)

    return start


class TestArguments:
    def test_they_reach_the_launcher_untouched(self, start):
        given = ["--run", "--task gsm8k  --tag '*' \"$HOME\" `x`", "*", "", "a\nb"]
        done = start(*given, lacks_package=False)
        assert done.stdout == "".join(f"<{arg}>\n" for arg in ["launch", *given])
        assert done.returncode == 0

    def test_another_command_is_no_launch(self, start):
        done = start("report", "results", lacks_package=False)
        assert done.stdout == "<report>\n<results>\n"


HAS_GPU = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() or Path("/dev/kfd").exists()


@pytest.mark.skipif(sys.platform != "linux" or HAS_GPU, reason="a machine where CUDA is wanted, or never had")
class TestTorchWithoutAGpu:
    CPU = "-m|pip|install|--disable-pip-version-check|--no-compile|--no-deps|--retries|1|--timeout|15|--index-url|"

    def test_is_the_cpu_build_of_the_pinned_version(self, start, calls, checkout):
        done = start()
        version = re.search(r"^torch==(.*)$", (checkout / "constraints.txt").read_text(), re.M)[1]
        assert self.CPU in calls.read_text()
        assert f"|torch=={version}|" in calls.read_text()
        assert "torch's CPU build" in done.stderr
        assert done.stdout == "<launch>\n"
        assert start().stderr == ""

    def test_is_what_pip_finds_where_there_is_no_such_build(self, start, calls, checkout):
        done = start(LACKS_CPU_BUILD="1")
        assert "it cannot be had; taking the one that pip finds" in done.stderr
        assert f"-e|{checkout}[peft]|" in calls.read_text()
        assert done.stdout == "<launch>\n"

    @pytest.mark.parametrize(
        "given", [{"PIP_CONFIG": "global.index-url='a'"}, {"PIP_INDEX_URL": "a"}, {"PIP_EXTRA_INDEX_URL": "a"}]
    )
    def test_is_what_a_user_has_told_pip(self, start, calls, given):
        assert start(**given).stdout == "<launch>\n"
        assert "--index-url" not in calls.read_text()

    def test_is_changed_when_a_gpu_is_there(self, start, calls, checkout):
        start()
        stamp = checkout / ".venv" / "installed-peft"
        assert stamp.read_text().endswith(" cpu")
        script = checkout / "scripts" / "venv.sh"
        script.write_text(script.read_text().replace("has_gpu() { ls ", "has_gpu() { echo one; return; ls "))
        start()
        assert "-m|pip|uninstall|--disable-pip-version-check|-y|torch|" in calls.read_text()
        assert "--index-url" not in calls.read_text()
        assert start().stderr == ""


class TestEnvironment:
    def test_an_active_python_with_this_checkout_is_used(self, start, checkout):
        start(lacks_package=False)
        assert not (checkout / ".venv").exists()

    def test_without_one_an_environment_is_made_in_the_checkout(self, start, checkout, calls):
        done = start("--demo")
        assert done.stdout == "<launch>\n<--demo>\n"
        assert f"making an environment in {checkout}/.venv" in done.stderr
        assert f"-e|{checkout}[peft]|-c|{checkout}/constraints.txt|" in calls.read_text()

    def test_it_is_made_once(self, start, calls):
        start()
        done = start()
        assert done.stderr == ""
        assert "|pip|" not in calls.read_text()

    @pytest.mark.parametrize("name", ["setup.cfg", "constraints.txt"])
    def test_it_is_brought_up_to_date_when_the_requirements_change(self, start, checkout, calls, name):
        start()
        with (checkout / name).open("a") as file:
            file.write("# changed\n")
        start()
        assert "-m|pip|install|" in calls.read_text()
        assert "-m|venv|" not in calls.read_text()

    def test_a_checkout_that_was_moved_installs_again(self, start, checkout, calls):
        start()
        stamp = checkout / ".venv" / "installed-peft"
        stamp.write_text(stamp.read_text().replace(str(checkout), "/where/it/was"))
        start()
        assert "-m|pip|install|" in calls.read_text()

    def test_a_failed_installation_is_said_and_tried_again(self, start, calls):
        done = start(pip_says="no matching distribution")
        assert done.returncode == 2
        assert done.stdout == ""
        assert "no matching distribution\npip failed; the whole output is in " in done.stderr
        start()
        assert "-m|pip|install|" in calls.read_text()


class TestMatrix:
    MATRIX = ROOT / "scripts" / "test_matrix.sh"

    def run(self, *args: str, path: str = "/usr/bin:/bin", **environ: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": path, **environ}
        return subprocess.run([self.MATRIX, *args], capture_output=True, text=True, env=environ)

    def test_every_requirement_has_a_lower_bound(self):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "lower_bounds.py"], capture_output=True, text=True, check=True
        )
        assert {"lm_eval==0.4.13", "transformers==5.2"} <= set(done.stdout.splitlines())

    def test_an_unknown_set_of_versions_is_refused(self):
        done = self.run("oldest")
        assert done.returncode == 2
        assert "bounds" in done.stderr

    def test_a_python_that_is_not_there_is_said_and_nothing_run_is_no_success(self, tmp_path):
        (tmp_path / "python3.10").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "python3.10").chmod(0o755)
        done = self.run("bounds", path=f"{tmp_path}:/usr/bin:/bin", CODD_MATRIX_DIR=str(tmp_path))
        assert done.stdout.splitlines()[-1] == "bounds: skipped, no such Python on PATH"
        assert done.returncode == 1
