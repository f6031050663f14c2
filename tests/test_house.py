"""The rooms of the package import one way, and what starts first imports little."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import lm_eval_codd
from lm_eval_codd import catalogue

PACKAGE = Path(lm_eval_codd.__file__).parent

# What each room may import from the package besides itself. A new room takes its place here.
MAY_IMPORT = {
    "names": set(),
    "catalogue": set(),
    "carried": set(),
    "settings": {"names"},
    "terminal": {"catalogue", "names", "settings"},
    "files": {"terminal"},
    "tensors": {"files"},
    "registration": {"names", "terminal"},
    "task_files": {"registration"},
    "templates": {"catalogue", "registration"},
    "demo": set(),
    "grading": set(),
    "sandbox": {"catalogue"},
    "coupling_tasks": set(),
    "rows": {"catalogue", "files"},
    "benchmarks": {"grading", "rows", "templates"},
    "programs": {"benchmarks", "grading", "sandbox"},
    "rounds": {"benchmarks", "programs"},
    "subjects": {"benchmarks", "grading"},
    "code_revision": {"rows", "backbones", "catalogue", "files", "sandbox", "terminal"},
    "backbones": {"demo", "files", "settings", "tensors", "terminal"},
    "circuits": {"demo", "files", "names", "settings", "tensors", "terminal"},
    "decoding": {"backbones", "circuits", "settings", "tensors"},
    "likelihood": {"backbones", "circuits", "decoding", "settings", "tensors"},
    "training": {"backbones", "circuits", "files", "settings", "tensors", "terminal"},
    "dit": {"backbones", "circuits", "decoding", "files", "names", "settings", "tensors", "terminal", "training"},
    "latent": {"backbones", "decoding", "settings", "tensors", "terminal"},
    "corpora": {"rows", "backbones", "dit", "latent", "models"},
    "gap": {"backbones", "circuits", "files", "likelihood", "settings", "terminal", "training"},
    "models": {
        "backbones",
        "carried",
        "catalogue",
        "circuits",
        "code_revision",
        "decoding",
        "dit",
        "files",
        "latent",
        "likelihood",
        "names",
        "settings",
        "task_files",
        "tensors",
    },
    "trace": {
        "backbones",
        "circuits",
        "decoding",
        "files",
        "models",
        "registration",
        "reporting",
        "settings",
        "terminal",
    },
    "runs": {"catalogue", "demo", "files", "names", "registration", "settings", "task_files", "templates", "terminal"},
    "atlas": {"catalogue", "code_revision", "names", "registration", "runs", "settings", "task_files", "terminal"},
    "reporting": {
        "atlas",
        "catalogue",
        "code_revision",
        "files",
        "grading",
        "runs",
        "settings",
        "task_files",
        "terminal",
    },
    "launch": {
        "atlas",
        "catalogue",
        "demo",
        "files",
        "names",
        "registration",
        "reporting",
        "runs",
        "settings",
        "task_files",
        "terminal",
    },
    "commands": {"backbones", "dit", "latent", "registration", "runs", "terminal"},
    "__main__": {"names", "registration", "settings", "terminal"},
}
WITHOUT_TENSORS = (
    "names",
    "catalogue",
    "carried",
    "settings",
    "terminal",
    "files",
    "registration",
    "task_files",
    "templates",
    "demo",
    "grading",
    "sandbox",
    "coupling_tasks",
    "atlas",
    "reporting",
    "runs",
    "launch",
    "commands",
    "__main__",
)
TENSOR_LIBRARIES = {"torch", "transformers", "safetensors", "peft", "accelerate"}


def sources(room: str) -> list[Path]:
    file = PACKAGE / f"{room}.py"
    return [file] if file.is_file() else sorted((PACKAGE / room).rglob("*.py"))


def imports(source: Path) -> set[str]:
    """Full names of the modules that a file imports, at any depth and for types alone too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} imports relatively, which these tests do not follow"
            names.update({f"{node.module}.{alias.name}" for alias in node.names} | {node.module})
    return names


def rooms_imported(source: Path) -> set[str]:
    parts = (name.split(".") for name in imports(source))
    found = {name[1] for name in parts if name[0] == "lm_eval_codd" and len(name) > 1}
    return {name for name in found if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class TestArrows:
    def test_every_room_has_its_place(self):
        rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or list(path.glob("*.py"))}
        assert rooms - {"__init__"} == MAY_IMPORT.keys()

    def test_rooms_point_one_way(self):
        assert set(graphlib.TopologicalSorter(MAY_IMPORT).static_order()) == MAY_IMPORT.keys()

    @pytest.mark.parametrize("room", MAY_IMPORT)
    def test_a_room_imports_only_what_it_may(self, room: str):
        wrong = {
            str(source.relative_to(PACKAGE)): sorted(beyond)
            for source in sources(room)
            if (beyond := rooms_imported(source) - MAY_IMPORT[room] - {room})
        }
        assert not wrong

    def test_no_modules_import_each_other_for_types_neither(self):
        modules = {
            ".".join(path.with_suffix("").relative_to(PACKAGE.parent).parts).removesuffix(".__init__"): path
            for path in PACKAGE.rglob("*.py")
        }
        # What a package offers and where that is defined (`circuits`, `circuits.hmm`) is one subject.
        graph = {
            name: {found for found in imports(path) if found in modules and not name.startswith(f"{found}.")} - {name}
            for name, path in modules.items()
        }
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            pytest.fail(" -> ".join(reversed(error.args[1])))

    @pytest.mark.parametrize("room", WITHOUT_TENSORS)
    def test_a_room_of_files_and_processes_knows_no_tensors(self, room: str):
        wrong = {
            str(source.relative_to(PACKAGE)): sorted(libraries)
            for source in sources(room)
            if (libraries := {name.split(".")[0] for name in imports(source)} & TENSOR_LIBRARIES)
        }
        assert not wrong


class TestFacts:
    @pytest.mark.parametrize("fact", [*catalogue.DEFAULT_CHECKPOINTS.values(), "CODD_", "minerva_math500"])
    def test_are_said_once(self, fact: str):
        """As a text of its own: checkpoints, environment variables, lm-eval's names of tasks."""
        said = {
            str(source.relative_to(PACKAGE))
            for source in PACKAGE.rglob("*.py")
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if node.value.startswith(fact) and " " not in node.value
        }
        assert said == {"catalogue.py"}


class TestStart:
    @pytest.mark.parametrize("module", ["", ".__main__", ".registration", ".launch", ".runs.file_checks", ".reporting"])
    def test_importing_it_imports_neither_torch_nor_lm_eval(self, module: str):
        loaded = run(
            f"import sys, lm_eval_codd{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
        ).split()
        assert not {"torch", "transformers", "lm_eval", "datasets"} & set(loaded)

    def test_the_start_up_hook_imports_nothing_but_itself(self):
        # Without site, which runs the hook at the start where the package is installed.
        code = "import sys; before = set(sys.modules); import _lm_eval_codd_boot as boot; boot.install(); "
        show = "print(*set(sys.modules) - before)"
        hook = subprocess.run(
            [sys.executable, "-S", "-c", code + show], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
        )
        assert hook.stdout.split() == ["_lm_eval_codd_boot"]
