"""Loads this project's tasks alone (lm-eval's own index takes seconds) and scores given answers."""

from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest
from lm_eval.api.instance import Instance
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
def score():
    """A function (task, one answer a row, rows) -> {"metric,filter": mean}, as lm-eval's evaluator does it."""

    def run(task, answers, docs=None):
        docs = list(task.eval_docs) if docs is None else docs
        task._instances = [
            Instance(request_type="generate_until", doc=doc, arguments=("", {}), idx=0, resps=[answer])
            for doc, answer in zip(docs, answers, strict=True)
        ]
        task.apply_filters()
        values = defaultdict(list)
        for instance in task._instances:
            for name, response in instance.filtered_resps.items():
                for metric, value in task.process_results(instance.doc, [response]).items():
                    values[f"{metric},{name}"].append(value)
        return {name: mean(each) for name, each in values.items()}

    return run
