"""Mixtures of experts without goldens of their own: equal to transformers' classes, and refused by field."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import lm_eval_codd as codd
from lm_eval_codd.backbones import CheckpointError, load_backbone
from lm_eval_codd.backbones.inspect import main as inspect
from tests.backbones.moe_folders import merged_llada2_folder, qwen3_moe_folder, qwen3_moe_model

TOKENS = torch.arange(24).reshape(2, 12) * 4
# model_type, what loads it, and whether logits are shifted.
KINDS = {
    "sdar_moe": ("sdar_moe", {}, False),
    "unshifted": ("qwen3_moe", {"family": "qwen3_moe"}, False),
    "as llada": ("qwen3_moe", {"family": "llada"}, False),
    "shifted": ("qwen3_moe", {"family": "open_dllm"}, True),
}


def blocks_of(length, block_length):
    blocks = torch.arange(length) // block_length
    return (blocks[:, None] >= blocks[None])[None, None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, golden_dir):
    made = tmp_path_factory.mktemp("moe")
    return {
        "sdar_moe": qwen3_moe_folder(made / "sdar_moe", "sdar_moe", block_size=4),
        "qwen3_moe": qwen3_moe_folder(made / "qwen3_moe", "qwen3_moe"),
        "veomni": merged_llada2_folder(golden_dir / "families" / "llada2", made / "veomni"),
    }


class TestQwen3Moe:
    @pytest.mark.parametrize("kind", KINDS)
    def test_logits_are_those_of_the_class(self, folders, kind):
        model_type, options, shifted = KINDS[kind]
        backbone = load_backbone(folders[model_type], device="cpu", **options)
        seen = blocks_of(12, 4) if model_type == "sdar_moe" else torch.ones(1, 1, 12, 12, dtype=torch.bool)
        with torch.no_grad():
            expected = qwen3_moe_model()(TOKENS, attention_mask=seen.expand(2, -1, -1, -1)).logits
        if shifted:
            expected = torch.cat([expected[:, :1], expected[:, :-1]], dim=1)
        assert (backbone.logits(TOKENS) - expected).abs().max() < 2e-5
        assert backbone.scored_by_previous == shifted
        assert (backbone.experts.num, backbone.experts.k, backbone.experts.gates) == (8, 3, "post")

    def test_sdars_is_decoded_by_its_rule_alone_and_in_batches_alike(self, folders):
        backbone = load_backbone(folders["sdar_moe"], device="cpu", dtype="float64")
        assert (backbone.family, backbone.attention, backbone.block_length) == ("sdar", "block", 4)
        config = codd.DecodingConfig.for_family("sdar", gen_length=12, threshold=0.2)
        prompts = [[7, 9, 30], [*range(20, 31)], [8]]
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in prompts]
        assert codd.generate(backbone, prompts, config) == alone

    @pytest.mark.parametrize("gates", [None, "pre", "sigmoid"])
    def test_experts_choose_tokens_by_its_own_gates(self, folders, gates):
        backbone = load_backbone(folders["qwen3_moe"], "qwen3_moe", device="cpu", dtype="float64")
        router = codd.DecodingConfig(router="ec", ec_gates=gates)
        chosen = backbone.routed_by(router)
        assert (chosen.logits(TOKENS) - backbone.logits(TOKENS)).abs().max() > 1e-2
        every = backbone.routed_by(codd.DecodingConfig(router="ec", ec_k=8)).logits(TOKENS)
        for layer in (0, 2):
            backbone.model.model.layers[layer].mlp.gate.top_k = 8
        torch.testing.assert_close(every, backbone.logits(TOKENS), atol=1e-6, rtol=0)

    def test_nothing_says_whether_a_plain_one_is_shifted(self, folders):
        with pytest.raises(CheckpointError) as error:
            load_backbone(folders["qwen3_moe"], device="cpu")
        assert "give family=qwen3_moe (not shifted) or family=open_dllm (shifted)" in str(error.value)

    def test_an_ordinary_one_is_refused(self, tmp_path):
        folder = qwen3_moe_folder(tmp_path / "plain", "qwen3_moe", mask_token_id=None)
        with pytest.raises(CheckpointError, match="as an ordinary autoregressive model"):
            load_backbone(folder, device="cpu")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"norm_topk_prob": False}, "`norm_topk_prob=False`, and only norm_topk_prob=True"),
            ({"norm_topk_prob": None}, "has no `norm_topk_prob`"),
            ({"shared_expert_intermediate_size": 32}, "`shared_expert_intermediate_size=32`"),
            ({"num_shared_experts": 1}, "`num_shared_experts=1`"),
            ({"moe_router_enable_expert_bias": True}, "`moe_router_enable_expert_bias=True`"),
            ({"score_function": "sigmoid"}, "`score_function=sigmoid`"),
            ({"use_sliding_window": True}, "`use_sliding_window=True`"),
            ({"mlp_only_layers": [3]}, "`mlp_only_layers` must be a list of layers, 0 to 2"),
            ({"decoder_sparse_step": -1}, "`decoder_sparse_step=-1`, and it must be"),
            ({"head_dim": None}, "has no `head_dim`"),
            ({"num_experts_per_tok": 9}, "`num_experts_per_tok=9` is more than a token may choose of `num_experts=8`;"),
            ({"block_size": 0}, "`block_size=0` must be a whole number of 2 or more"),
            ({"block_size": "4"}, "`block_size='4'` must be a whole number of 2 or more"),
        ],
    )
    def test_what_the_class_does_not_compute_is_refused_by_its_field(self, folders, tmp_path, fields, message):
        folder = shutil.copytree(folders["sdar_moe"], tmp_path / "edited")
        config = json.loads((folder / "config.json").read_text()) | fields
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError) as error:
            load_backbone(folder, device="cpu")
        assert message in str(error.value) and "\n" not in str(error.value)


class TestMergedExperts:
    def test_a_llada2_with_merged_experts_is_the_same_model(self, folders, golden_dir):
        golden = load_file(golden_dir / "families" / "logits.safetensors")
        backbone = load_backbone(folders["veomni"], mask_id=111, eos_id=5, block_length=8, device="cpu")
        assert (backbone.family, backbone.layout) == ("llada2", "llada2")
        logits = backbone.logits(golden["llada2.block8.input_ids"])
        assert (logits - golden["llada2.block8.logits"]).abs().max() < 2e-5

    def test_a_rotary_embedding_as_transformers_5_writes_it_is_the_same_and_a_stretched_one_is_refused(
        self, folders, tmp_path
    ):
        folder = shutil.copytree(folders["veomni"], tmp_path / "newer")
        config = json.loads((folder / "config.json").read_text())
        rope = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
        rope["partial_rotary_factor"] = config.pop("partial_rotary_factor")
        (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
        older, newer = (
            load_backbone(one, mask_id=111, eos_id=5, device="cpu").logits(TOKENS)
            for one in (folders["veomni"], folder)
        )
        assert torch.equal(older, newer)
        (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": rope | {"rope_type": "yarn"}}))
        with pytest.raises(CheckpointError, match="`rope_type=yarn` of `rope_parameters` must be default"):
            load_backbone(folder, mask_id=111, eos_id=5, device="cpu")

    @pytest.mark.parametrize("name", ["gate_proj", "up_proj", "down_proj"])
    def test_a_matrix_that_is_not_there_is_named(self, folders, tmp_path, name):
        from safetensors.torch import save_file

        folder = shutil.copytree(folders["veomni"], tmp_path / "lacking")
        kept = {key: one.clone() for key, one in load_file(folder / "model.safetensors").items() if name not in key}
        save_file(kept, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match="missing"):
            load_backbone(folder, mask_id=111, eos_id=5, device="cpu")


class TestLladaMoe:
    def test_under_the_model_type_of_llada_it_is_told_by_its_experts(self, golden_dir, tmp_path, capsys):
        folder = shutil.copytree(golden_dir / "families" / "lladamoe", tmp_path / "checkpoint")
        config = json.loads((folder / "config.json").read_text()) | {"model_type": "llada", "mask_token_id": 111}
        (folder / "config.json").write_text(json.dumps(config))
        backbone = load_backbone(folder, device="cpu")
        assert (backbone.family, backbone.layout) == ("llada", "lladamoe")
        golden = load_file(golden_dir / "families" / "logits.safetensors")
        logits = backbone.logits(golden["lladamoe.full.input_ids"])
        assert (logits - golden["lladamoe.full.logits"]).abs().max() < 2e-5
        inspect([str(folder), "--device", "cpu"])
        assert "its model_type is llada with num_experts and moe_layer_freq" in capsys.readouterr().out
