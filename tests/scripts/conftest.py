"""The benchmark's package, which lies beside its script and not in the installed one."""

import sys
from pathlib import Path

import pytest

import lm_eval_codd as codd

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))


@pytest.fixture(scope="session")
def load(golden_dir):
    """name -> golden backbone, each loaded once."""
    loaded = {}

    def get(name: str):
        if name not in loaded:
            loaded[name] = codd.load_backbone(golden_dir / "decoding" / "models" / name, dtype="float32", device="cpu")
        return loaded[name]

    return get
