"""Shared fixtures: where the goldens are, and the larger data beside the project when there is one."""

import os
from pathlib import Path

import pytest

import lm_eval_codd as codd

TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Goldens committed with the tests."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and all goldens, beside the checkout; tests that need it are skipped without it."""
    path = Path(os.environ.get("CODD_SHARED", TESTS.parent.parent / "shared"))
    if not path.is_dir():
        pytest.skip("no ../shared beside the project")
    return path


@pytest.fixture(scope="session")
def load(golden_dir):
    """name -> golden backbone, each loaded once."""
    loaded = {}

    def get(name: str):
        if name not in loaded:
            loaded[name] = codd.load_backbone(golden_dir / "decoding" / "models" / name, dtype="float32", device="cpu")
        return loaded[name]

    return get
