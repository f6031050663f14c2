"""A layer of experts under a routing, as the authors compute it."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import Glm4MoeConfig, Qwen3MoeConfig
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeMoE
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from lm_eval_codd.backbones.experts.router import Router
from lm_eval_codd.backbones.experts.routing import Routing
from tests.backbones.experts.goldens import GOLDENS, weights_of

CASES = json.loads((GOLDENS / "ec_layer.json").read_text())
MASK = 1


def layer_of(case: dict, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The layer as one of transformers' classes, with a shared expert or without."""
    size = {"hidden_size": case["hidden"], "moe_intermediate_size": case["ffn"], "num_experts_per_tok": 2}
    if "shared_experts.linear_fc1.weight" in weights:
        layer = Glm4MoeMoE(Glm4MoeConfig(**size, n_routed_experts=case["E"], n_shared_experts=2, n_group=1))
        gate, up = weights["shared_experts.linear_fc1.weight"].chunk(2)
        layer.shared_experts.gate_proj.weight.data, layer.shared_experts.up_proj.weight.data = gate, up
        layer.shared_experts.down_proj.weight.data = weights["shared_experts.linear_fc2.weight"]
    else:
        layer = Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(**size, num_experts=case["E"]))
    for name, number in (("gate_up_proj", 1), ("down_proj", 2)):
        names = [f"experts.local_experts.{expert}.linear_fc{number}.weight" for expert in range(case["E"])]
        getattr(layer.experts, name).data = torch.stack([weights[name] for name in names])
    layer.gate.weight.data = weights["router.weight"]
    return layer


def routing_of(case: dict) -> Routing:
    config = case["cfg"]
    static = {"k_min": config["moe_router_topk"], "k_max": config["moe_router_topk"]}
    dynamic = config.get("moe_router_dynamic_topk") and {
        "schedule": config["moe_router_dynamic_topk_scheduler"],
        "k_min": config["moe_router_dynamic_topk_min"],
        "k_max": config["moe_router_dynamic_topk_max"],
    }
    return Routing(
        num_experts=case["E"],
        gates="pre" if config.get("moe_router_pre_softmax") else "post",
        chooser="ec" if case["router"] == "expert_choice" else "tc",
        **(dynamic or static),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_layer_is_the_authors(case):
    golden = load_file(GOLDENS / "ec_layer.safetensors")
    weights = weights_of(golden, f"{case['name']}.w.")
    layer, hidden = layer_of(case, weights), golden[f"{case['name']}.x"].transpose(0, 1)
    router = Router([SimpleNamespace(mlp=layer)], [hidden.device], routing_of(case), MASK)
    tokens = torch.zeros(hidden.shape[:2], dtype=torch.int64)
    for row, ratio in enumerate(case["mask_ratio"] or []):
        tokens[row, : round(ratio * hidden.shape[1])] = MASK
    with torch.no_grad():
        got = router.start(tokens, None)(0, layer, hidden)
    assert (got - golden[f"{case['name']}.out"].transpose(0, 1)).abs().max() < 1e-5


SIZE = {"hidden_size": 16, "moe_intermediate_size": 12, "num_experts_per_tok": 6}
GROUPS = {"n_routed_experts": 6, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}
CLASSES = {
    "pre": lambda: Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(**SIZE, num_experts=6, norm_topk_prob=False)),
    "post": lambda: Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(**SIZE, num_experts=6, norm_topk_prob=True)),
    "sigmoid": lambda: Glm4MoeMoE(Glm4MoeConfig(**SIZE, **GROUPS, routed_scaling_factor=2.5)),
}


@pytest.mark.parametrize("gates", CLASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_room_for_every_position_a_layer_is_its_own_class_with_all_experts(gates, dtype):
    layer = CLASSES[gates]()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 4)
    layer = layer.to(dtype)
    hidden = torch.randn(2, 9, 16, generator=generator).to(dtype)
    scale = getattr(layer.gate, "routed_scaling_factor", 1.0)
    routing = Routing(num_experts=6, gates=gates, k_min=6, k_max=6, scale=scale)
    router = Router([SimpleNamespace(mlp=layer)], [hidden.device], routing, MASK)
    with torch.no_grad():
        got = router.start(torch.zeros(2, 9, dtype=torch.int64), None)(0, layer, hidden)
        expected = layer(hidden)
    assert got.dtype == dtype
    tolerance = 2e-6 if dtype == torch.float32 else 0.016  # a last place of bfloat16, of outputs up to 4
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


def after_softmax(logits):
    return logits.softmax(dim=-1), logits.softmax(dim=-1).topk(2).values, logits.topk(2).indices


@pytest.mark.parametrize("given", [lambda logits: logits, after_softmax], ids=["logits alone", "probabilities first"])
def test_gates_come_of_the_routers_product_whatever_a_release_of_transformers_has_it_return(given, monkeypatch):
    layer = CLASSES["post"]()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    tokens, hidden = torch.zeros(2, 9, dtype=torch.int64), torch.randn(2, 9, 16, generator=generator)

    def mixed():
        routing = Routing(num_experts=6, gates="sigmoid", k_min=2, k_max=2)
        router = Router([SimpleNamespace(mlp=layer)], [hidden.device], routing, MASK)
        with torch.no_grad():
            return router.start(tokens, None)(0, layer, hidden)

    expected = mixed()
    monkeypatch.setattr(layer.gate, "forward", lambda rows: given(torch.nn.functional.linear(rows, layer.gate.weight)))
    torch.testing.assert_close(mixed(), expected)
