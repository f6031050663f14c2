"""The start-up hook beside odd neighbours: lm-eval's modules load whatever goes wrong in it."""

import importlib
import logging
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

import _lm_eval_codd_boot as boot
from lm_eval_codd import registration

HOST = "a_host_of_models"


@pytest.fixture
def registered(monkeypatch):
    """What the hook did, in order."""
    calls = []
    monkeypatch.setattr(registration, "register", lambda: calls.append(sys.modules[HOST].has_run))
    return calls


@pytest.fixture
def host(tmp_path, monkeypatch, registered):
    """A function that imports a module that the hook waits for, and returns it."""
    (tmp_path / f"{HOST}.py").write_text("has_run = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(boot, "_HOSTS", {HOST: ("register", "its models are unknown here")})
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is not boot._AfterHost])
    boot.install()
    yield lambda: importlib.import_module(HOST)
    sys.modules.pop(HOST, None)


class Neighbour:
    """A finder that somebody else put first; `loader` makes the loader of what it finds."""

    def __init__(self, loader):
        self.loader = loader

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self.loader()) if name == HOST else None


class SlottedLoader:
    __slots__ = ()

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.has_run = True


class OldLoader:
    """Without `exec_module`, as loaders were before Python 3.4."""

    def load_module(self, name):
        module = sys.modules[name] = type(sys)(name)
        module.has_run = True
        return module


class TestHook:
    def test_it_registers_once_the_host_has_run_and_leaves_no_trace(self, host, registered, caplog):
        module = host()
        assert registered == [True]
        usual = PathFinder.find_spec(HOST).loader
        assert type(module.__loader__) is type(module.__spec__.loader) is type(usual)
        assert caplog.text == ""

    def test_a_finder_without_find_spec_is_passed_over(self, host, registered, monkeypatch):
        monkeypatch.setattr(sys, "meta_path", [sys.meta_path[0], object(), *sys.meta_path[1:]])
        assert host().has_run
        assert registered == [True]

    def test_a_slotted_loader_is_no_obstacle(self, host, registered):
        sys.meta_path.insert(1, Neighbour(SlottedLoader))
        assert host().has_run
        assert registered == [True]

    @pytest.mark.skipif(sys.version_info >= (3, 15), reason="Python has no `load_module` any more")
    @pytest.mark.filterwarnings("ignore::ImportWarning", "ignore::DeprecationWarning")
    def test_a_loader_of_an_old_kind_loads_the_host_as_without_us(self, host, registered, caplog):
        sys.meta_path.insert(1, Neighbour(OldLoader))
        assert host().has_run
        assert registered == []
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    def test_a_registry_that_changed_is_one_line(self, host, monkeypatch, caplog):
        def register():
            raise AttributeError("'Registry' object has no\nattribute 'register'")

        monkeypatch.setattr(registration, "register", register)
        assert host().has_run
        (record,) = caplog.records
        assert record.getMessage() == (
            "lm-eval-codd: its models are unknown here (AttributeError: 'Registry' object has no attribute 'register')"
        )

    def test_an_error_of_the_host_stays_its_own(self, host, tmp_path, registered):
        (tmp_path / f"{HOST}.py").write_text("raise RuntimeError('theirs')\n")
        with pytest.raises(RuntimeError, match="theirs"):
            host()
        assert registered == []


@pytest.fixture
def managers(monkeypatch):
    """A function that makes a stand-in for lm-eval's `TaskManager`, and what each one indexes."""
    folders = []

    class Manager:
        def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None):
            folders.append(include_path)

    monkeypatch.setattr("lm_eval.tasks.TaskManager", Manager)
    registration.register_tasks()
    registration.register_tasks()
    return Manager, folders


class TestTasks:
    OURS = str(registration.tasks_dir())

    @pytest.mark.parametrize(
        ("given", "indexed"),
        [
            (None, [OURS]),
            ("mine", [OURS, "mine"]),
            (Path("mine"), [OURS, Path("mine")]),
            (["one", "two"], [OURS, "one", "two"]),
            (OURS, [OURS]),
        ],
    )
    def test_our_folder_is_indexed_once_and_before_the_users(self, managers, given, indexed):
        manager, folders = managers
        manager(include_path=given)
        assert folders == [indexed]

    def test_a_manager_without_lm_evals_tasks_is_left_alone(self, managers):
        manager, folders = managers
        manager(include_path="mine", include_defaults=False)
        assert folders == ["mine"]

    def test_an_argument_that_lm_eval_refuses_is_refused_by_lm_eval(self, managers):
        manager, _ = managers
        with pytest.raises(TypeError, match="unknown_argument"):
            manager(unknown_argument=1)

    def test_a_manager_that_takes_no_folders_is_an_error_for_the_hook_to_log(self, monkeypatch):
        monkeypatch.setattr("lm_eval.tasks.TaskManager", type("Manager", (), {"__init__": lambda self: None}))
        with pytest.raises(TypeError, match="include_path"):
            registration.register_tasks()

    def test_this_lm_eval_lets_us(self):
        registration.register_tasks()
        assert hasattr(TaskManager.__init__, "_with_codd_tasks")

    def test_what_is_lost_without_tasks_names_the_flag(self):
        assert "--include_path" in boot._HOSTS["lm_eval.tasks"][1]
