"""What the small files of a checkpoint say cannot work is refused before any weight is read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lm_eval_codd as codd
from lm_eval_codd.backbones import loading
from lm_eval_codd.circuits import save_circuit
from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.models.masked_lm import MaskedLM
from tests.models.block_folders import EOS, write_block_checkpoint, write_checkpoint

SHORT = {"gen_length": 16, "num_steps": 8, "block_length": 8, "dtype": "float32", "device": "cpu"}
BLOCKS = {"gen_length": 16, "dtype": "float32", "device": "cpu"}
P2 = {**BLOCKS, "decoder": "p2", "num_steps": 4}


@pytest.fixture(scope="module")
def folders(golden_dir, tmp_path_factory):
    """A checkpoint of each kind of attention, an encoder, and an adapter that is none, by name."""
    made, goldens = tmp_path_factory.mktemp("small"), golden_dir / "families"
    folders = {"sdar": write_block_checkpoint(goldens / "sdar", made / "sdar")}
    for name, golden, mask in (("a2d", "a2d_llama", "<|mask|>"), ("modernbert", "modernbert", "[MASK]")):
        config = json.loads((goldens / golden / "config.json").read_text())
        config |= {"vocab_size": 300, "eos_token_id": EOS, "max_position_embeddings": 4096}
        tensors = load_file(goldens / golden / "model.safetensors")
        folders[name] = write_checkpoint(
            made / name, config, tensors, vocab_size=113, mask=mask, end_of_turn="<|eot_id|>"
        )
    (made / "adapter").mkdir()
    (made / "adapter" / "adapter_config.json").write_text("{}")
    return folders | {"adapter": str(made / "adapter")}


@pytest.fixture
def unread(monkeypatch):
    """Reading weights fails the test."""
    monkeypatch.setattr(loading, "_load_model", lambda *_: pytest.fail("weights were read"))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "modernbert",
            {**SHORT, "cache": "prefix"},
            "`cache=prefix` needs a checkpoint of which keys and values can be kept",
        ),
        (
            "modernbert",
            {**SHORT, "cache": "dual"},
            "`cache=dual` needs a checkpoint of which keys and values can be kept",
        ),
        ("modernbert", {**SHORT, "router": "ec"}, "`router=ec` is for mixtures of experts, and"),
        ("sdar", {**BLOCKS, "decoder": "unmasking"}, "`decoder=unmasking` looks at whole answers, and this sdar"),
        ("a2d", {**BLOCKS, "decoder": "block_diffusion"}, "`decoder=block_diffusion` is for block-causal checkpoints"),
        (
            "a2d",
            {**SHORT, "max_length": 5000},
            "`max_length=5000` is more than the checkpoint's 4096; use at most that",
        ),
        ("a2d", {**SHORT, "mask_id": 300}, "`mask_id=300` is outside the 300 logit columns of"),
        ("a2d", {**P2, "planner": "missing"}, "checkpoint `missing` "),
        ("a2d", {**P2, "planner": "demo"}, "the planner's vocabulary of 82 tokens is not the backbone's of 300; use a"),
        ("a2d", {**SHORT, "device": None, "device_map": "atuo"}, "`device_map=atuo` is not known; use one of auto"),
    ],
)
def test_a_setting_that_the_checkpoint_cannot_serve(folders, unread, name, given, message):
    with pytest.raises(ValueError) as error:
        MaskedLM(folders[name], **given)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"pytorch_model.bin": b""}, "has no model.safetensors, only pickle files, which are not read"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "1.safetensors"}}'}, "lacks 1 of its 1 shards"),
        ({"model.safetensors": b"\x02" + bytes(7) + b"{}"}, "its weight files hold no tensors"),
    ],
    ids=["pickles", "no shard", "empty"],
)
def test_a_planner_whose_own_weights_cannot_be_used(folders, unread, tmp_path, weights, message):
    for path in Path(folders["a2d"]).iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path)
    for name, content in weights.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        MaskedLM(folders["a2d"], planner=str(tmp_path), **P2)
    said = str(error.value)
    assert said.startswith(f"checkpoint `{tmp_path}`") and message in said and "\n" not in said


def test_an_adapter_that_is_missing_or_none(folders, unread):
    pytest.importorskip("peft")
    for adapter, message in (
        ("/missing", "adapter `/missing` does not exist"),
        (folders["adapter"], "adapter_config.json has no `r`"),
    ):
        with pytest.raises(ValueError, match=message):
            MaskedLM(folders["a2d"], peft=adapter, **SHORT)


def test_a_circuit_of_fewer_tokens(unread, make_circuit, tmp_path):
    path = tmp_path / "small.safetensors"
    save_circuit(make_circuit(num_positions=8, vocab_size=10, dtype=torch.float32), path)
    with pytest.raises(ValueError, match="the circuit's vocabulary of 10 tokens is smaller than the backbone's"):
        CoddLLaDA("demo", pc=str(path), **SHORT)


def test_a_cache_of_an_encoder_from_python_too_before_anything_is_computed(folders):
    backbone = codd.load_backbone(folders["modernbert"], device="cpu")
    config = codd.DecodingConfig(gen_length=16, num_steps=8, block_length=8, cache="prefix")
    with pytest.raises(ValueError, match=r"`cache=prefix` needs a checkpoint of which keys and values can be kept"):
        codd.generate(backbone, [[7]], config)
