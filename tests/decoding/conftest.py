"""Tiny backbones with random weights, in the layouts of the published ones."""

import pytest

import lm_eval_codd as codd


@pytest.fixture(scope="session")
def load(golden_dir):
    """name -> backbone, each loaded once."""
    loaded = {}

    def get(name: str):
        if name not in loaded:
            loaded[name] = codd.load_backbone(golden_dir / "decoding" / "models" / name, dtype="float32", device="cpu")
        return loaded[name]

    return get


@pytest.fixture(params=["llada-tiny", "dream-tiny"])
def backbone(request, load):
    """Either family."""
    return load(request.param)
