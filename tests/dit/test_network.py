"""The network against the official one's logits."""

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from lm_eval_codd.dit.config import read_config
from lm_eval_codd.dit.network import Cache, Network

from .conftest import distance, random_dit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("file", "name"),
    [("backbone", "hf-duo-tiny"), ("backbone_causal", "hf-ar-tiny"), ("backbone_mdlm_sigma0", "hf-mdlm-tiny")],
)
def test_logits_are_the_official_ones(golden, load, file, name, dtype):
    data = golden(file)
    logits = load(name, dtype=dtype).logits(data["ids"], data.get("sigma"))
    assert logits.dtype == getattr(torch, dtype)
    assert distance(logits, data["logits"]) < 2e-5


def test_rows_do_not_see_each_other(golden, load):
    data, model = golden("backbone"), load("hf-duo-tiny", dtype="float64")
    together = model.logits(data["ids"], data["sigma"])
    alone = torch.cat([model.logits(data["ids"][row : row + 1], data["sigma"][row : row + 1]) for row in range(4)])
    assert torch.allclose(together, alone, atol=1e-12)


def test_a_block_rotates_queries_and_keys_in_one_go():
    """Each further operation of a block is one of twelve of a step."""

    class Joins(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += func.overloadpacket is torch.ops.aten.cat
            return func(*args, **(kwargs or {}))

    network = random_dit("ar", vocab_size=5, length=4).network
    with Joins() as joins, torch.inference_mode():
        network.hidden(torch.tensor([[1, 2, 3]]), None)
    assert joins.number == len(network.blocks) == 1


def test_soft_input_that_is_sure_is_an_id(golden, load):
    data, model = golden("backbone"), load("hf-duo-tiny", dtype="float64")
    sure = torch.nn.functional.one_hot(data["ids"], model.vocab_size).double() * 1e3
    assert torch.allclose(model.logits(sure, data["sigma"]), model.logits(data["ids"], data["sigma"]), atol=1e-9)


def test_a_causal_network_fed_one_position_at_a_time_says_the_same(golden, load):
    tokens, model = golden("backbone_causal")["ids"], load("hf-ar-tiny", dtype="float64")
    cache = Cache(model.config, len(tokens), tokens.shape[1], model.network.vocab_embed.embedding)
    hidden = [model.network.hidden(tokens[:, i : i + 1], None, cache) for i in range(tokens.shape[1])]
    assert torch.allclose(model.network.head(torch.cat(hidden, dim=1)), model.logits(tokens), atol=1e-10)


def test_the_order_of_the_parameters_is_that_of_a_list_of_averages(folder):
    """As in `ema_param_order.json`: the norm before the attention, biases after weights, modulation last."""
    import json

    config = read_config("x", json.loads((folder("hf-duo-tiny") / "config.json").read_text()))
    names = [name for name, _ in Network(config).named_parameters()]
    assert names[:7] == [
        "vocab_embed.embedding",
        "sigma_map.mlp.0.weight",
        "sigma_map.mlp.0.bias",
        "sigma_map.mlp.2.weight",
        "sigma_map.mlp.2.bias",
        "blocks.0.norm1.weight",
        "blocks.0.attn_qkv.weight",
    ]
    assert names[-2:] == ["output_layer.adaLN_modulation.weight", "output_layer.adaLN_modulation.bias"]
    stored = load_file(folder("hf-duo-tiny") / "model.safetensors")
    assert {f"backbone.{name}" for name in names} == stored.keys() - {"backbone.rotary_emb.inv_freq"}


def test_a_new_network_predicts_nothing(folder):
    import json

    network = Network(read_config("x", json.loads((folder("hf-duo-tiny") / "config.json").read_text())))
    logits = network.head(network.hidden(torch.arange(12)[None], torch.ones(1)))
    assert torch.equal(logits, torch.zeros_like(logits))


def test_bfloat16_gives_finite_logits_and_a_float32_log_x(golden, load):
    data, model = golden("backbone"), load("hf-duo-tiny", dtype="bfloat16")
    assert model.logits(data["ids"], data["sigma"]).dtype == torch.bfloat16
    log_x = model.log_x_theta(data["ids"], data["sigma"])
    assert log_x.dtype == torch.float32 and bool(log_x.isfinite().all())
    assert distance(model.logits(data["ids"], data["sigma"]), data["logits"]) < 0.2
