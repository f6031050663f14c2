"""Loads this project's tasks alone: lm-eval's own index takes seconds."""

from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager


@pytest.fixture(scope="session")
def tasks_dir():
    return Path(__file__).parents[2] / "tasks"


@pytest.fixture(scope="session")
def task_manager(tasks_dir):
    return TaskManager(include_defaults=False, include_path=str(tasks_dir))


@pytest.fixture
def invented_dir(golden_dir):
    """A data folder of a few rows of our own."""
    return golden_dir / "tasks" / "data"


@pytest.fixture
def load_task(task_manager, monkeypatch):
    """A function (name, data folder or None for the hub) -> task."""

    def load(name, data_dir):
        if data_dir is None:
            monkeypatch.delenv("CODD_DATA_DIR", raising=False)
        else:
            monkeypatch.setenv("CODD_DATA_DIR", str(data_dir))
        return task_manager.load([name])["tasks"][name]

    return load
