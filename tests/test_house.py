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
    "carried": set(),
    "fused": set(),
    "cuda_graphs": set(),
    "clean_text": set(),
    "columns": set(),
    "disk": set(),
    "device_load": set(),
    "outputs": {"disk"},
    "command_line": {"names", "settings"},
    "program": {"catalogue"},
    "names": set(),
    "catalogue": set(),
    "hub_ids": set(),
    "packaged": set(),
    "token_files": set(),
    "task_files": {"registration"},
    "settings": {"names"},
    "transfer": set(),
    "noise": {"transfer"},
    "grading": set(),
    "older_records": {"settings"},
    "pickled_arrays": {"clean_text"},
    "stored_files": set(),
    "tensor_files": {"outputs"},
    "errors": {"clean_text"},
    "host_errors": {"names"},
    "registration": {"errors", "host_errors"},
    "sandbox": {"catalogue"},
    "demo": set(),
    "code_version": set(),
    "templates": {"catalogue", "registration"},
    "benchmarks": {"catalogue", "grading", "templates"},
    "coupling_tasks": set(),
    "packing": set(),
    "corpora": {"backbones", "benchmarks", "dit", "latent", "packing"},
    "programs": {"benchmarks", "sandbox", "grading"},
    "rounds": {"benchmarks", "programs"},
    "subjects": {"benchmarks", "grading"},
    "harness": {"command_line", "host_errors", "registration"},
    "code_revision": {"benchmarks", "catalogue", "sandbox", "backbones", "outputs", "command_line"},
    "backbones": {
        *("hub_ids", "settings", "packaged", "command_line", "token_files", "stored_files", "tensor_files"),
        *("clean_text", "fused", "cuda_graphs"),
    },
    "circuits": {
        *("hub_ids", "settings", "names", "packaged", "outputs", "command_line", "pickled_arrays", "stored_files"),
        *("tensor_files", "fused", "cuda_graphs"),
    },
    "decoding": {"settings", "backbones", "circuits", "noise", "transfer"},
    "likelihood": {"settings", "backbones", "circuits", "decoding", "noise"},
    "dit": {
        *("settings", "names", "backbones", "circuits", "decoding", "noise", "transfer", "outputs", "command_line"),
        *("tensor_files", "training", "hub_ids", "packing"),
    },
    "latent": {"backbones", "decoding", "noise", "settings", "command_line"},
    "inspection": {"backbones", "dit", "latent", "command_line"},
    "models": {
        *(
            "device_load",
            "catalogue",
            "settings",
            "names",
            "code_version",
            "older_records",
            "backbones",
            "circuits",
            "decoding",
        ),
        *("code_revision", "likelihood", "task_files", "disk", "carried", "dit", "latent", "noise"),
    },
    "gap": {"settings", "backbones", "circuits", "likelihood", "training", "columns", "outputs", "command_line"},
    "training": {"settings", "backbones", "circuits", "outputs", "command_line", "tensor_files"},
    "trace": {
        *("settings", "registration", "backbones", "circuits", "decoding", "models", "reporting", "outputs"),
        *("command_line", "clean_text"),
    },
    "atlas": {
        *("catalogue", "runs", "settings", "names", "registration", "clean_text", "task_files", "code_revision"),
    },
    "reporting": {
        *("code_revision", "atlas", "task_files"),
        *("catalogue", "runs", "settings", "grading", "older_records", "clean_text", "columns", "outputs"),
        "command_line",
    },
    "runs": {
        *("hub_ids", "token_files", "catalogue", "settings", "names", "older_records", "registration", "packaged"),
        *("clean_text", "task_files", "templates", "disk", "pickled_arrays", "stored_files"),
    },
    "launch": {
        *(
            "runs",
            "command_line",
            "reporting",
            "atlas",
            "task_files",
            "settings",
            "catalogue",
            "names",
            "older_records",
            "registration",
            "packaged",
        ),
        *("program", "columns", "outputs", "disk"),
    },
    "__main__": {"errors", "settings", "names", "registration", "clean_text", "columns"},
}
WITHOUT_TENSORS = (
    "device_load",
    "errors",
    "host_errors",
    "carried",
    "clean_text",
    "pickled_arrays",
    "stored_files",
    "columns",
    "disk",
    "outputs",
    "command_line",
    "program",
    "names",
    "catalogue",
    "hub_ids",
    "packaged",
    "token_files",
    "task_files",
    "templates",
    "settings",
    "grading",
    "older_records",
    "registration",
    "sandbox",
    "coupling_tasks",
    "harness",
    "atlas",
    "reporting",
    "runs",
    "launch",
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
