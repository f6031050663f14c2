"""Weights that accelerate keeps elsewhere, on the CPU or on the disk, until a module is called."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload

from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.settings import DecodingConfig
from tests.backbones.moe_folders import qwen3_moe_folder

IDS = {"mask_id": 111, "eos_id": 5, "device": "cpu", "dtype": "float32"}
EC = DecodingConfig(decoder="block_diffusion", rule="sdar", gen_length=16, router="ec", ec_scope="sequence")


@pytest.fixture(scope="module")
def folders(golden_dir, tmp_path_factory):
    """Of each kind of layer, a folder: plain norms, norms of heads, a part of a head rotated, an encoder, experts."""
    goldens = {name: golden_dir / "families" / name for name in ("a2d_llama", "a2d_qwen3", "llada2", "modernbert")}
    return goldens | {"experts": qwen3_moe_folder(tmp_path_factory.mktemp("moe") / "moe", "sdar_moe", block_size=4)}


@pytest.mark.parametrize("where", ["cpu", "disk"])
@pytest.mark.parametrize("name", ["a2d_llama", "a2d_qwen3", "llada2", "modernbert", "experts"])
def test_logits_are_those_of_weights_that_are_there(folders, tmp_path, name, where):
    plain, away = (load_backbone(folders[name], **IDS) for _ in range(2))
    if where == "cpu":
        cpu_offload(away.model, execution_device="cpu")
    else:
        disk_offload(away.model, str(tmp_path), execution_device="cpu")
    assert all(weight.is_meta for weight in away.model.parameters())
    tokens = torch.randint(6, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    real = torch.ones(2, 12, dtype=torch.bool)
    real[0, :3] = False
    assert torch.equal(away.logits(tokens, real)[real], plain.logits(tokens, real)[real])
    if name == "experts":
        assert torch.equal(
            away.routed_by(EC).logits(tokens, real)[real], plain.routed_by(EC).logits(tokens, real)[real]
        )


def test_a_device_map_may_leave_weights_on_the_disk(golden_dir):
    folder = golden_dir / "families" / "sdar"
    spread = {name: value for name, value in IDS.items() if name != "device"}
    away = load_backbone(folder, device_map={"model": "cpu", "lm_head": "disk"}, **spread)
    assert sum(weight.is_meta for weight in away.model.parameters()) == 1
    tokens = torch.arange(10, 22)[None]
    assert torch.equal(away.logits(tokens), load_backbone(folder, **IDS).logits(tokens))


def test_a_device_map_that_a_layout_cannot_have_is_named(golden_dir):
    spread = {name: value for name, value in IDS.items() if name != "device"}
    with pytest.raises(ValueError, match=r"`.*llada2` cannot be loaded .*, or give another device_map, without disk$"):
        load_backbone(golden_dir / "families" / "llada2", device_map={"model": "cpu", "lm_head": "disk"}, **spread)
