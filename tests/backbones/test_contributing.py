"""The family of CONTRIBUTING.md is added as it says, and loads."""

import json
import re
from pathlib import Path

import torch

import lm_eval_codd as codd
from lm_eval_codd.backbones import load_backbone, registry

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def test_its_family_loads_and_decodes_by_the_rules_that_it_names(load, edited, monkeypatch):
    section = re.search(r"## Add a family\n.*?(?=\n## |\Z)", GUIDE.read_text(encoding="utf-8"), re.DOTALL).group()
    written: dict = {}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1), written)
    monkeypatch.setattr(registry, "LAYOUTS", [*registry.LAYOUTS, written["MY_DIFFUSION"]])

    folder = edited("dream-tiny", {"model_type": "mydiffusion", "mask_token_id": None}, renamed)
    (folder / "added_tokens.json").write_text(json.dumps({"<|mask|>": 500}))
    backbone, dream = load_backbone(folder, device="cpu"), load("dream-tiny")
    assert (backbone.family, backbone.layout, backbone.mask_id) == ("dream", "mydiffusion", 500)
    tokens = torch.arange(12)[None]
    assert torch.equal(backbone.logits(tokens), dream.logits(tokens))
    config = codd.DecodingConfig.for_family("dream", gen_length=16, num_steps=4)
    assert codd.generate(backbone, [[1, 2, 3]], config) == codd.generate(dream, [[1, 2, 3]], config)


def renamed(tensors: dict) -> dict:
    return {re.sub(r"^model\.", "net.", name): tensor for name, tensor in tensors.items()}
