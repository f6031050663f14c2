"""Either family's tiny backbone, and those of the block decoder's rules."""

import json
from pathlib import Path

import pytest

import lm_eval_codd as codd
from lm_eval_codd.backbones import Backbone
from tests.decoding.blocks import QUICK


@pytest.fixture(params=["llada-tiny", "dream-tiny"])
def backbone(request, load):
    """Either family."""
    return load(request.param)


@pytest.fixture(scope="session")
def load_blocks(golden_dir: Path):
    """(family, block length) -> its golden backbone, each loaded once."""
    loaded = {}

    def _load(name: str, block_length: int | None = None) -> Backbone:
        block_length = block_length or QUICK[name]["block_length"]
        if (name, block_length) not in loaded:
            folder = golden_dir / "families" / ("a2d_qwen3" if name == "bd3lm" else name)
            facts = json.loads((folder / "facts.json").read_text())
            ids = {"mask_id": facts["mask_id"], "eos_id": facts["eos_id"]}
            loaded[name, block_length] = codd.load_backbone(
                folder, attention="block", block_length=block_length, device="cpu", **ids
            )
        return loaded[name, block_length]

    return _load
