"""EC-DLM's own layout: the authors' logits, its variants of names, and what is refused."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_codd import DecodingConfig, generate
from lm_eval_codd.backbones import CheckpointError, check_routing, load_backbone
from lm_eval_codd.backbones.inspect import main as inspect
from lm_eval_codd.likelihood import validation_loss
from tests.backbones.experts.goldens import MODEL, megatron_folder, model_goldens

NAMES = [case["name"] for case in MODEL["cases"]]


@pytest.fixture(scope="module")
def golden():
    return model_goldens()


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Golden models, loaded once each."""
    folder, loaded = tmp_path_factory.mktemp("megatron"), {}

    def _load(name):
        if name not in loaded:
            loaded[name] = load_backbone(megatron_folder(folder / name, name), device="cpu")
        return loaded[name]

    return _load


class TestGoldens:
    @pytest.mark.parametrize("name", NAMES)
    def test_logits(self, load, golden, name):
        logits = load(name).logits(golden["ids"])
        assert (logits - golden[f"{name}.logits"]).abs().max() < 2e-5

    @pytest.mark.parametrize("name", NAMES)
    def test_in_the_authors_code_padding_takes_part_and_here_it_does_not(self, load, golden, name):
        backbone, tokens = load(name), golden["ids"][:, :20]
        padded = torch.cat([tokens, torch.full((4, 12), MODEL["eod"])], dim=1)
        alone = golden[f"{name}.logits20"]
        assert (backbone.logits(tokens) - alone).abs().max() < 2e-5
        assert (backbone.logits(padded)[:, :20] - golden[f"{name}.logits20_padded32"]).abs().max() < 2e-5
        real = torch.arange(32).expand(4, -1) < 20
        assert (backbone.logits(padded, real)[:, :20] - alone).abs().max() < 2e-5

    def test_settings_of_expert_choice_take_the_place_of_its_own(self, load, golden):
        backbone = load("ec_static_k3")
        own = backbone.logits(golden["ids"])
        assert backbone.routed_by(DecodingConfig(router="ec")) is backbone
        same = backbone.routed_by(DecodingConfig(router="ec", ec_k=3)).logits(golden["ids"])
        assert torch.equal(same, own)
        other = backbone.routed_by(DecodingConfig(router="ec", ec_k=2)).logits(golden["ids"])
        assert (other - own).abs().max() > 0.1

    def test_other_masks_than_the_checkpoints_count_for_its_schedule(self, load, golden):
        backbone, config = load("ec_dyn_cos_sf"), DecodingConfig(router="ec")
        assert backbone.routed_by(config, backbone.mask_id) is backbone
        other = backbone.routed_by(config, 5).logits(golden["ids"].masked_fill(golden["ids"] == backbone.mask_id, 5))
        renamed = backbone.logits(golden["ids"])
        assert not torch.equal(other, renamed)
        backbone.take_routing()
        backbone.routed_by(config, 5).logits(torch.tensor([[5, 5, 5, 5, 1, 2]]))
        assert backbone.take_routing().k == 4  # round(2 + 3 * (1 + cos(pi / 3)) / 2)


def test_cases_that_are_not_copied_here(shared_dir, tmp_path):
    goldens = shared_dir / "golden" / "experts"
    others = {case["name"] for case in json.loads((goldens / "ec_model.json").read_text())["cases"]} - {*NAMES}
    golden = model_goldens(goldens)
    assert others
    for name in others:
        backbone = load_backbone(megatron_folder(tmp_path / name, name, goldens), device="cpu")
        padded = torch.cat([golden["ids"][:, :20], torch.full((4, 12), MODEL["eod"])], dim=1)
        assert (backbone.logits(golden["ids"]) - golden[f"{name}.logits"]).abs().max() < 2e-5
        assert (backbone.logits(padded)[:, :20] - golden[f"{name}.logits20_padded32"]).abs().max() < 2e-5
        masked, share, loss = validation_loss(backbone, golden["clean"][:, 1:])
        assert torch.equal(masked, golden[f"{name}.val_mask"]) and torch.equal(share, golden[f"{name}.val_p_mask"])
        torch.testing.assert_close(loss, golden[f"{name}.val_loss"], atol=1e-4, rtol=0)


class TestLayout:
    def test_is_decoded_and_counted(self, load):
        backbone = load("ec_dyn_cos_sf")
        backbone.take_routing()
        config = DecodingConfig(router="ec", gen_length=8, block_length=8, num_steps=4)
        together = generate(backbone, [[1, 2, 3], [4, 5, 6, 7, 8, 9]], config)
        assert [generate(backbone, [prompt], config)[0] for prompt in ([1, 2, 3], [4, 5, 6, 7, 8, 9])] == together
        assert backbone.take_routing().rows == 16

    def test_trained_with_expert_choice_it_is_not_asked_for_token_choice(self, load):
        with pytest.raises(ValueError, match=r"`router=tc`: .* was trained with experts that choose tokens; give"):
            generate(load("ec_static_k3"), [[1]], DecodingConfig(gen_length=8, block_length=8, num_steps=4))
        generate(load("tc_k3"), [[1]], DecodingConfig(gen_length=8, block_length=8, num_steps=4))

    def test_transformer_engines_names_are_the_same_checkpoint(self, load, golden, tmp_path):
        folder = megatron_folder(tmp_path / "grouped", "ec_static_k3")
        path, renamed = folder / "model.safetensors", {}
        for name, tensor in load_file(path).items():
            name = re.sub(r"local_experts\.(\d+)\.linear_fc(\d)\.weight", r"linear_fc\2.weight\1", name)
            name = name.replace("input_layernorm.weight", "self_attention.linear_qkv.layer_norm_weight")
            renamed[name] = tensor
        save_file(renamed, path)
        got = load_backbone(folder, device="cpu").logits(golden["ids"])
        assert torch.equal(got, load("ec_static_k3").logits(golden["ids"]))

    def test_groups_share_keys_row_by_row(self, tmp_path):
        """Two groups of two heads, against four groups in which keys and values are there twice."""
        folder = megatron_folder(tmp_path / "four", "ec_static_k3")
        tensors, grouped = load_file(folder / "model.safetensors"), {}
        for name, tensor in tensors.items():
            if name.endswith("linear_qkv.weight"):
                heads = tensor.view(4, 3, 8, -1)
                keys, values = heads[::2, 1:2], heads[::2, 2:]
                grouped[name] = torch.cat([heads[:, 0].view(2, 2, 8, -1), keys, values], dim=1).flatten(0, 2)
                heads = heads.clone()
                heads[1::2, 1:] = heads[::2, 1:]
                tensors[name] = heads.flatten(0, 2)
        save_file(tensors, folder / "model.safetensors")
        other = megatron_folder(tmp_path / "two", "ec_static_k3", num_query_groups=2)
        save_file({**tensors, **grouped}, other / "model.safetensors")
        tokens = torch.arange(12)[None]
        expected = load_backbone(folder, device="cpu", dtype="float64").logits(tokens)
        got = load_backbone(other, device="cpu", dtype="float64").logits(tokens)
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)

    def test_without_a_shared_expert(self, load, golden, tmp_path):
        folder = megatron_folder(tmp_path / "routed", "ec_static_k3", moe_shared_expert_intermediate_size=None)
        path = folder / "model.safetensors"
        save_file({name: tensor for name, tensor in load_file(path).items() if "shared" not in name}, path)
        zeroed = megatron_folder(tmp_path / "zeroed", "ec_static_k3")
        tensors = load_file(zeroed / "model.safetensors")
        zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items() if "shared" in name}
        save_file({**tensors, **zeros}, zeroed / "model.safetensors")
        got, expected = (load_backbone(one, device="cpu").logits(golden["ids"]) for one in (folder, zeroed))
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)

    def test_inspect_says_what_it_is(self, tmp_path, capsys):
        inspect([str(megatron_folder(tmp_path / "checkpoint", "ec_dyn_cos_sf")), "--device", "cpu"])
        said = capsys.readouterr().out
        assert "ecdlm, decoded by llada's rules (model_type ecdlm, computed by Glm4MoeForCausalLM)" in said
        assert "8 a layer, 3 of a token as trained; they choose tokens (cosine, 2 to 5 of a token)" in said


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"attention_mask_type": "causal"}, "config.json says `attention_mask_type=causal`, and only"),
            ({"moe_expert_capacity_factor": 1.25}, "config.json says `moe_expert_capacity_factor=1.25`, and only"),
            ({"moe_router_type": "hash"}, "`moe_router_type=hash` is not known; use one of expert_choice, topk"),
            ({"moe_router_batch_level": True}, "config.json says `moe_router_batch_level=True`, and only"),
            (
                {"moe_router_enable_expert_bias": True},
                "config.json says `moe_router_enable_expert_bias=True`, and only",
            ),
            ({"moe_router_load_balancing_type": "sinkhorn"}, "`moe_router_load_balancing_type=sinkhorn`"),
            (
                {"moe_router_pre_softmax": True, "moe_router_dynamic_topk": True},
                "`moe_router_pre_softmax` takes one number of experts, not `moe_router_dynamic_topk`'s",
            ),
            ({"moe_router_topk_scaling_factor": 2.0}, "`moe_router_topk_scaling_factor=2.0` is of expert choice with"),
            (
                {"moe_router_type": "topk", "moe_router_topk": 1},
                "`moe_router_topk=1` of token choice needs `moe_router_pre_softmax`",
            ),
            ({"num_query_groups": 3}, "`num_query_groups=3` must divide `num_attention_heads=4`"),
            (
                {"moe_shared_expert_intermediate_size": 40},
                "`moe_shared_expert_intermediate_size=40` must be",
            ),
            ({"num_moe_experts": 9}, "weights of"),
        ],
    )
    def test_are_one_line_with_the_field(self, tmp_path, fields, message):
        folder = megatron_folder(tmp_path / "checkpoint", "ec_static_k3", **fields)
        with pytest.raises(CheckpointError) as error:
            load_backbone(folder, device="cpu")
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_before_weights_are_read(self, tmp_path):
        folder = megatron_folder(tmp_path / "checkpoint", "ec_static_k3")
        (folder / "model.safetensors").unlink()
        check_routing(folder, DecodingConfig(router="ec"))
        with pytest.raises(ValueError, match="`router=tc`"):
            check_routing(folder, DecodingConfig())
        with pytest.raises(ValueError, match="`ec_k=9` is more than the 8 experts of"):
            check_routing(folder, DecodingConfig(router="ec", ec_k=9))
