"""The package in fresh virtual environments: what a wheel carries, and what the stock lm-eval sees of it."""

import ast
import configparser
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lm_eval_codd.registration import MODELS

from .conftest import sources

ROOT = Path(__file__).resolve().parents[2]
START_FILES = {"lm_eval_codd.pth", "lm_eval_codd.start"}
SHOW_NAMES = "import lm_eval.models; from lm_eval.api.registry import model_registry as m; print(*m.keys())"


SHOW_CLASSES = f"""
from lm_eval.api.registry import get_model
for name in {(*MODELS, "hf")}:
    found = get_model(name)
    print(name, f"{{found.__module__}}:{{found.__name__}}")
"""


def modules_at_start(environment) -> set[str]:
    return set(environment.run("-c", "import sys; print(*sys.modules)").split())


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker reads."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from executed(node)


SHIPPED = {"lm_eval_codd": "lm_eval_codd", "tasks": "lm_eval_codd/tasks", "results/paper": "lm_eval_codd/paper"}


class TestSourceDistribution:
    def test_it_carries_the_checkout_with_its_tests_and_what_they_read(self, sdist: Path):
        with tarfile.open(sdist) as archive:
            carried = {Path(*Path(member.name).parts[1:]) for member in archive if member.isfile()}
        made = {Path("PKG-INFO"), *(path for path in carried if path.parts[0] == "lm_eval_codd.egg-info")}
        of_root = {path for path in carried - made if len(path.parts) == 1}
        wanted = set(sources())
        assert {Path("README.md"), Path("CHANGELOG.md"), Path("setup.cfg")} <= of_root <= wanted
        # At the root a file of somebody's own may lie.
        assert carried - made - of_root == {path for path in wanted if len(path.parts) > 1}


class TestWheel:
    def test_it_carries_the_code_the_tasks_the_tables_and_the_demo(self, wheel: Path):
        carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        expected = {"_lm_eval_codd_boot.py", *START_FILES}
        for folder, shipped_as in SHIPPED.items():
            for path in (ROOT / folder).rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    expected.add(f"{shipped_as}/{path.relative_to(ROOT / folder).as_posix()}")
        assert carried == expected

    def test_the_start_files_are_recorded(self, wheel: Path):
        archive = zipfile.ZipFile(wheel)
        (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        assert {line.split(",")[0] for line in archive.read(record).decode().splitlines()} >= START_FILES


class TestMetadata:
    def test_entry_points_are_the_registered_names(self):
        lines = setup_cfg()["options.entry_points"]["lm_eval.models"].strip().splitlines()
        assert dict(line.split(" = ") for line in lines) == MODELS

    def test_constraints_pin_every_requirement_within_its_bounds(self):
        lines = (ROOT / "constraints.txt").read_text().splitlines()
        pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
        parser = setup_cfg()
        required = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
        for line in "\n".join(required).splitlines():
            if line and not line.startswith("#"):
                requirement = Requirement(line)
                assert pins[requirement.name.lower().replace("_", "-")] in requirement.specifier, line

    def test_every_library_that_is_imported_is_required(self):
        parser = setup_cfg()
        required = {"setuptools"}
        extras = parser["options.extras_require"]
        for lines in (parser["options"]["install_requires"], extras["peft"], extras["crb"], extras["slurm"]):
            lines = [line for line in lines.strip().splitlines() if not line.startswith("#")]
            required |= {Requirement(line).name.lower().replace("-", "_") for line in lines if line}
        imported = set()
        for path in [*ROOT.glob("lm_eval_codd/**/*.py"), *ROOT.glob("tasks/**/*.py")]:
            for node in executed(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    imported.add(node.module.partition(".")[0])
        foreign = imported - sys.stdlib_module_names - {"lm_eval_codd", "_lm_eval_codd_boot"}
        assert {"pyyaml" if name == "yaml" else name for name in foreign} <= required


class TestInstalled:
    def test_lm_eval_knows_our_names_and_its_own(self, installed):
        assert {*MODELS, "hf", "vllm"} <= set(installed.run("-c", SHOW_NAMES).split())

    @pytest.mark.parametrize("installed", ["wheel"], indirect=True)  # an editable one has the classes of the checkout
    def test_our_names_are_our_classes_and_hf_stays_what_it_is(self, installed):
        found = dict(line.split() for line in installed.run("-c", SHOW_CLASSES).splitlines())
        assert found == {**MODELS, "hf": "lm_eval.models.huggingface:HFLM"}

    def test_accelerate_starts_processes_that_know_our_names(self, installed):
        (installed.site_packages / "show_names.py").write_text(SHOW_NAMES)
        launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "-m", "show_names")
        assert set(MODELS) <= set(installed.run(*launch).split())

    def test_the_tasks_are_where_the_command_says(self, installed):
        folder = Path(installed.run("tasks", program="lm-eval-codd").strip())
        assert folder == Path(installed.run("-m", "lm_eval_codd", "tasks").strip())
        assert {path.name for path in folder.glob("*/*.yaml")} == {path.name for path in ROOT.glob("tasks/*/*.yaml")}

    def test_the_tasks_can_be_imported_by_their_entry_point(self, installed):
        code = (
            "from importlib.metadata import entry_points as e; (p,) = set(e(group='lm_eval.tasks'));"
            "print(p.load().__path__[0])"
        )
        assert installed.run("-c", code).strip() == installed.run("-m", "lm_eval_codd", "tasks").strip()


class TestStockCommand:
    @pytest.mark.slow
    @pytest.mark.parametrize("installed", ["wheel"], indirect=True)
    def test_it_evaluates_the_demo(self, installed):
        model = ("--model", "llada", "--model_args", "pretrained=demo,gen_length=32,num_steps=2")
        task = ("--tasks", "codd_demo", "--apply_chat_template", "--limit", "2")
        installed.run("-m", "lm_eval", *model, *task, "--output_path", "out")
        (written,) = (installed.folder / "out").rglob("results_*.json")
        results = json.loads(written.read_text())
        assert results["n-samples"]["codd_demo"] == {"original": 300, "effective": 2}
        assert results["config"]["model"] == "llada"


class TestStartUp:
    def test_installing_and_removing_leave_a_silent_interpreter(self, environment, wheel: Path):
        without = modules_at_start(environment)
        environment.install(str(wheel))
        assert modules_at_start(environment) - without == {"_lm_eval_codd_boot"}
        environment.uninstall("lm-eval-codd")
        assert modules_at_start(environment) == without
        assert not list(environment.site_packages.glob("*lm_eval_codd*"))
        assert not set(MODELS) & set(environment.run("-c", SHOW_NAMES).split())

    def test_a_boot_module_that_is_gone_breaks_nothing(self, environment, wheel: Path):
        environment.install(str(wheel))
        (environment.site_packages / "_lm_eval_codd_boot.py").unlink()
        assert not set(MODELS) & set(environment.run("-c", SHOW_NAMES).split())
