"""A backbone is written in its checkpoint's own layout, and is the same when it is read again."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open

import lm_eval_codd as codd
from lm_eval_codd.backbones.saving import Saver

TOKENS = torch.tensor([[3, 9, 500, 500, 7]])


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "llada-tiny-gqa"])
def test_what_is_written_reads_as_what_was_trained(golden_dir, tmp_path, name):
    source = golden_dir / "decoding" / "models" / name
    backbone = codd.load_backbone(source, dtype="float32", device="cpu")
    before = backbone.logits(TOKENS)
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.mul_(1.01)
    Saver(backbone).save(tmp_path / "out")
    again = codd.load_backbone(tmp_path / "out", device="cpu")
    assert (again.family, again.mask_id, again.dtype) == (backbone.family, backbone.mask_id, torch.float32)
    assert torch.equal(again.logits(TOKENS), backbone.logits(TOKENS))
    assert not torch.allclose(again.logits(TOKENS), before)
    with (
        safe_open(source / "model.safetensors", "pt") as old,
        safe_open(tmp_path / "out/model.safetensors", "pt") as new,
    ):
        assert set(old.keys()) == set(new.keys())
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads((source / "config.json").read_text())


def test_tied_weights_and_a_mask_token_that_was_given_are_kept(golden_dir, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(golden_dir / "decoding" / "models" / "dream-tiny", source)
    config = json.loads((source / "config.json").read_text())
    del config["mask_token_id"]
    (source / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    backbone = codd.load_backbone(source, dtype="float32", device="cpu", mask_id=501)
    with torch.no_grad():
        backbone.model.lm_head.weight.mul_(2)
    Saver(backbone, mask_id=501).save(tmp_path / "out")
    again = codd.load_backbone(tmp_path / "out", device="cpu")
    assert again.mask_id == 501
    assert torch.equal(again.logits(TOKENS), backbone.logits(TOKENS))


@pytest.mark.parametrize("name", ["lladamoe", "llada2"])
def test_a_layout_whose_weights_are_converted_on_loading_is_refused(golden_dir, name):
    backbone = codd.load_backbone(golden_dir / "families" / name, device="cpu", mask_id=1, eos_id=2)
    with pytest.raises(ValueError, match="cannot be written back; give a checkpoint of another family"):
        Saver(backbone)


def test_logits_have_gradients_only_where_the_backbone_learns(load):
    backbone = load("llada-tiny")
    weight = backbone.model.lm_head.weight
    try:
        backbone.model.requires_grad_(True)
        assert not backbone.logits(TOKENS).requires_grad
        backbone.learns = True
        logits = backbone.logits(TOKENS, torch.ones_like(TOKENS).bool(), torch.tensor([[2, 3]]))
        logits.sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.model.parameters())
        with torch.no_grad():
            assert not backbone.logits(TOKENS).requires_grad
    finally:
        backbone.learns = False
        backbone.model.requires_grad_(False)
        weight.grad = None
