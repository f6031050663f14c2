"""Loads this project's tasks alone: lm-eval's own index takes seconds."""

import json
from pathlib import Path
from shutil import copytree

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


@pytest.fixture
def choices_dir(invented_dir, tmp_path):
    """The invented rows with enough of MMLU's development set."""
    for name in ("arc_challenge", "hellaswag", "mmlu_pro", "mmlu"):
        copytree(invented_dir / name, tmp_path / name)
    rows = [
        {
            "question": f"Example {number} of {subject}?",
            "subject": subject,
            "choices": list("abcd"),
            "answer": number % 4,
        }
        for subject in ("abstract_algebra", "astronomy")
        for number in range(6)
    ]
    (tmp_path / "mmlu" / "dev.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path
