"""Experts that choose tokens, under every decoder: a row is alone, and what cannot be is refused."""

import logging

import pytest

import lm_eval_codd as codd
from lm_eval_codd.backbones import load_backbone
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_coupling import random_circuit

SMALL = {"gen_length": 16, "router": "ec", "ec_gates": "post", "ec_schedule": "linear_reverse", "ec_k_min": 1}
DECODERS = [
    {"block_length": 8, "num_steps": 8},
    {"paradigm": "full", "num_steps": 8, "cfg_scale": 0.5},
    {"block_length": 8, "threshold": 0.3},
    {"decoder": "cad", "block_length": 8, "threshold": 0.3},
    {"decoder": "klass", "block_length": 8, "num_steps": 16, "threshold": 0.3, "kl_threshold": 0.1},
    {"decoder": "p2", "num_steps": 8},
    {"decoder": "open_dllm", "num_steps": 8},
    {"decoder": "corrective", "num_steps": 8},
]
PROMPTS = [[7, 9, 30], [*range(20, 40)], [8], [50, 51, 52, 53, 54, 55, 56]]


@pytest.fixture(scope="module")
def experts(golden_dir):
    return load_backbone(golden_dir / "families" / "lladamoe", mask_id=111, dtype="float64", device="cpu")


@pytest.mark.parametrize("settings", DECODERS, ids=str)
def test_a_row_is_alone(experts, settings):
    config = codd.DecodingConfig(ec_k_max=6, **SMALL, **settings)
    together = codd.generate(experts, PROMPTS, config, batch_size=3)
    assert [codd.generate(experts, [prompt], config)[0] for prompt in PROMPTS] == together


def test_a_circuit_couples_what_they_say(experts):
    circuit = random_circuit(experts.vocab_size, 8, 4, sharpness=1.0)
    config = codd.DecodingConfig(ec_k_max=6, pc_frac=1.5, block_length=8, num_steps=8, **SMALL)
    together = codd.generate(experts, PROMPTS, config, circuit=circuit, batch_size=2)
    assert [codd.generate(experts, [prompt], config, circuit=circuit)[0] for prompt in PROMPTS] == together
    assert all(one.num_circuit for one in together)


@pytest.mark.parametrize(("prompt", "settings"), [([], {}), ([1], {"cfg_scale": 1.0})], ids=["no prompt", "guidance"])
def test_a_canvas_of_nothing_but_masks_is_warned_about(experts, caplog, monkeypatch, prompt, settings):
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    codd.generate(
        experts, [prompt], codd.DecodingConfig(gen_length=8, block_length=8, num_steps=2, router="ec", **settings)
    )
    assert "rows of nothing but masks" in caplog.text


@pytest.mark.parametrize("kind", ["dense", "somebody else's"])
def test_a_backbone_without_experts_is_refused(backbone, kind):
    without, message = {
        "dense": (backbone, "`router=ec` is for mixtures of experts, and `"),
        "somebody else's": (
            StubBackbone({"vocab": 32, "seed": 0}),
            "`router=ec` needs a backbone of load_backbone with",
        ),
    }[kind]
    with pytest.raises(ValueError) as error:
        codd.generate(without, [[1]], codd.DecodingConfig(router="ec"))
    assert str(error.value).startswith(message)
