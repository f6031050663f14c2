"""Fresh virtual environments with this package in them, made without an index and without downloading anything."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "lm_eval_codd", "results/demo", "results/paper", "scripts", "tasks", "tests")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own that borrows the installed dependencies."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        return Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())

    def run(self, *args: str, program: str = "python") -> str:
        """Standard output of one of its programs. It must succeed and, at its start, say nothing on standard error."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        environ["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{environ['PATH']}"
        environ["OMP_NUM_THREADS"] = "1"
        done = subprocess.run(
            [self.folder / "bin" / program, *args], capture_output=True, text=True, cwd=self.folder, env=environ
        )
        assert done.returncode == 0, done.stderr
        # What site.py says of a .pth line that fails.
        assert "Error processing line" not in done.stderr
        return done.stdout

    def install(self, *what: str) -> None:
        """Install from local files alone."""
        self._pip("install", *OFFLINE, *what)

    def uninstall(self, name: str) -> None:
        self._pip("uninstall", "--yes", name)

    def _pip(self, *args: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin" / "python"), *args]
        done = subprocess.run(pip, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr


def make_environment(folder: Path) -> Environment:
    """A virtual environment with the dependencies of the running one, and nothing of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    environment = Environment(folder)
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Named to be read last, as the site-packages of an environment below this one would be.
    (environment.site_packages / "~borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return environment


def sources() -> list[Path]:
    """The files of a checkout that a source distribution carries, from its root."""
    files = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path.relative_to(ROOT) for path in files if "__pycache__" not in path.parts]


def copy_sources(to: Path) -> Path:
    """A copy to build from, so that building leaves nothing in the checkout."""
    for path in sources():
        (to / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, to / path)
    return to


@pytest.fixture(scope="session")
def sdist(tmp_path_factory) -> Path:
    """A source distribution."""
    source, out = copy_sources(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("dist")
    build = f"import setuptools.build_meta as backend; print(backend.build_sdist({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", build], capture_output=True, text=True, cwd=source, check=True)
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory) -> Path:
    """A wheel built from the source distribution, the longest way that a release takes."""
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "-w", str(out), str(sdist)]
    subprocess.run(pip, capture_output=True, check=True, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(request, tmp_path_factory) -> Environment:
    """An environment with the package, from a wheel and from an editable installation."""
    environment = make_environment(tmp_path_factory.mktemp(request.param) / "venv")
    if request.param == "wheel":
        environment.install(str(request.getfixturevalue("wheel")))
    else:
        environment.install("-e", str(copy_sources(tmp_path_factory.mktemp("checkout"))))
    return environment


@pytest.fixture
def environment(tmp_path) -> Environment:
    """An environment without the package."""
    return make_environment(tmp_path / "venv")
