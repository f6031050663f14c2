"""What loads, what is refused and in which words."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import lm_eval_codd
from lm_eval_codd.backbones import CheckpointError, forward, load_backbone

HEAD = "model.transformer.ff_out.weight"


def tokens_of(backbone):
    return torch.arange(12).reshape(1, 12) + backbone.mask_id - 6


class TestWhatLoads:
    def test_the_package_exports_it(self):
        assert lm_eval_codd.load_backbone is load_backbone

    def test_facts_of_a_llada_checkpoint(self, load):
        backbone = load("llada-tiny")
        assert (backbone.family, backbone.mask_id, backbone.eos_id, backbone.eot_id) == ("llada", 490, 470, None)
        assert (backbone.vocab_size, backbone.max_length) == (512, 1024)
        assert (backbone.dtype, backbone.device) == (torch.float32, torch.device("cpu"))
        assert backbone.num_parameters == sum(parameter.numel() for parameter in backbone.model.parameters())

    def test_facts_of_a_dream_checkpoint(self, load):
        backbone = load("dream-tiny")
        assert (backbone.family, backbone.mask_id, backbone.eos_id, backbone.eot_id) == ("dream", 500, 480, None)
        assert (backbone.vocab_size, backbone.max_length) == (512, 4096)

    @pytest.mark.parametrize("name", ["llada-tiny-gqa", "dream-tiny"])
    def test_a_sharded_checkpoint_gives_the_same_logits(self, load, edited, name):
        folder = edited(name)
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        index = {key: f"model-{number % 3 + 1:05}-of-00003.safetensors" for number, key in enumerate(sorted(tensors))}
        for shard in set(index.values()):
            save_file({k: v for k, v in tensors.items() if index[k] == shard}, folder / shard, {"format": "pt"})
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        sharded, whole = load_backbone(folder, device="cpu"), load(name)
        assert torch.equal(sharded.logits(tokens_of(whole)), whole.logits(tokens_of(whole)))

    def test_tied_weights_need_no_head_in_the_file(self, edited):
        folder = edited(
            "llada-tiny",
            config={"weight_tying": True},
            tensors=lambda tensors: {key: tensor for key, tensor in tensors.items() if key != HEAD},
        )
        model = load_backbone(folder, device="cpu").model
        assert model.lm_head.weight is model.model.embed_tokens.weight

    def test_biases_of_a_llada_layout_are_loaded(self, edited):
        def with_biases(tensors):
            linear = [k for k in tensors if k.endswith(("_proj.weight", "attn_out.weight", "ff_out.weight"))]
            biases = {k.replace("weight", "bias"): tensors[k][:, 0].clone() for k in linear if k != HEAD}
            return tensors | biases

        folder = edited("llada-tiny", {"include_bias": True, "include_qkv_bias": True}, with_biases)
        layer = load_backbone(folder, device="cpu").model.model.layers[1]
        for linear in (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp.gate_proj, layer.mlp.down_proj):
            torch.testing.assert_close(linear.bias, linear.weight[:, 0])

    def test_a_device_map_spreads_the_layers(self, load, models):
        spread = load_backbone(models / "llada-tiny", device_map="auto")
        whole = load("llada-tiny")
        got = spread.logits(tokens_of(whole).to(spread.device)).cpu()
        torch.testing.assert_close(got, whole.logits(tokens_of(whole)), atol=2e-4, rtol=0)

    def test_another_model_type_loads_under_the_family_that_is_given(self, load, edited):
        folder = edited("llada-tiny", {"model_type": "mmada"})
        whole = load("llada-tiny")
        got = load_backbone(folder, family="llada", device="cpu").logits(tokens_of(whole))
        assert torch.equal(got, whole.logits(tokens_of(whole)))


class TestDtype:
    @pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "float16", "float64"])
    def test_an_asked_dtype_is_that_of_weights_and_logits(self, models, dtype):
        backbone = load_backbone(models / "llada-tiny", dtype=dtype, device="cpu")
        expected = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        assert backbone.dtype == expected
        assert {parameter.dtype for parameter in backbone.model.parameters()} == {expected}
        assert backbone.logits(tokens_of(backbone)).dtype == expected

    @pytest.mark.parametrize(
        ("short", "dtype"), [("half", torch.float16), ("bf16", torch.bfloat16), ("float", torch.float32)]
    )
    def test_short_names_are_understood(self, models, short, dtype):
        assert load_backbone(models / "llada-tiny", dtype=short, device="cpu").dtype == dtype

    @pytest.mark.parametrize("field", ["torch_dtype", "dtype"])
    def test_without_one_config_json_decides(self, edited, field):
        folder = edited("dream-tiny", {"torch_dtype": None} | {field: "bfloat16"})
        assert load_backbone(folder, device="cpu").dtype == torch.bfloat16

    def test_and_where_it_is_silent_the_stored_weights_do(self, edited):
        folder = edited("llada-tiny", tensors=lambda tensors: {k: v.to(torch.float16) for k, v in tensors.items()})
        assert load_backbone(folder, dtype="auto", device="cpu").dtype == torch.float16


class TestIds:
    def test_given_ids_win(self, models):
        backbone = load_backbone(models / "llada-tiny", device="cpu", mask_id=1, eos_id=2, eot_id=3)
        assert (backbone.mask_id, backbone.eos_id, backbone.eot_id) == (1, 2, 3)

    @pytest.mark.parametrize("name, token", [("llada-tiny", "<|eot_id|>"), ("dream-tiny", "<|im_end|>")])
    @pytest.mark.parametrize("file", ["tokenizer_config.json", "added_tokens.json", "tokenizer.json"])
    def test_the_end_of_turn_token_is_found_in_the_tokenizers_files(self, edited, name, token, file):
        folder = edited(name)
        content = {
            "tokenizer_config.json": {"added_tokens_decoder": {"77": {"content": token}}},
            "added_tokens.json": {token: 77},
            "tokenizer.json": {
                "added_tokens": [],
                "model": {"type": "WordLevel", "vocab": {token: 77, "x": 0}, "unk_token": "x"},
            },
        }
        (folder / file).write_text(json.dumps(content[file]))
        assert load_backbone(folder, device="cpu").eot_id == 77

    def test_a_mask_id_that_is_nowhere_is_asked_for(self, edited):
        folder = edited("dream-tiny", {"mask_token_id": None})
        with pytest.raises(CheckpointError, match=r"no mask_token_id, and its .* give `mask_id=`"):
            load_backbone(folder)
        assert load_backbone(folder, device="cpu", mask_id=500).mask_id == 500

    @pytest.mark.parametrize(
        "ids, message",
        [
            ({"mask_id": 512}, "`mask_id=512` is outside the 512 logit columns"),
            ({"eot_id": -1}, "`eot_id=-1` is outside"),
            ({"mask_id": 470}, "`mask_id=470` and `eos_id=470` must differ"),
        ],
    )
    def test_impossible_ids_are_refused(self, models, ids, message):
        with pytest.raises(CheckpointError, match=message):
            load_backbone(models / "llada-tiny", **ids)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "change, message",
        [
            (
                lambda t: {k: v for k, v in t.items() if "blocks.1.ff_proj" not in k},
                r"1 missing .*layers\.1\.mlp\.gate",
            ),
            (lambda t: t | {"model.extra.weight": torch.zeros(2)}, r"1 unexpected \(model\.extra\.weight\)"),
            (lambda t: t | {HEAD: torch.zeros(500, 64)}, r"1 mismatched .*lm_head"),
        ],
    )
    def test_weights_that_do_not_fit_exactly(self, edited, change, message):
        folder = edited("llada-tiny", tensors=change)
        with pytest.raises(CheckpointError, match=message):
            load_backbone(folder)

    def test_a_checkpoint_of_another_family(self, edited):
        folder = edited("dream-tiny", {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
        with pytest.raises(
            CheckpointError, match=r"`model_type: gpt2` \(GPT2LMHeadModel\).*family=llada or family=dream"
        ):
            load_backbone(folder)

    def test_a_layout_that_is_not_the_family_given(self, edited):
        folder = edited("dream-tiny", {"model_type": "qwen2"})
        with pytest.raises(CheckpointError, match=r"`family=llada`: .* is open_dllm \(`model_type: qwen2`\)"):
            load_backbone(folder, family="llada")

    def test_a_family_that_contradicts_the_checkpoint(self, models):
        with pytest.raises(CheckpointError, match="use family=llada"):
            load_backbone(models / "llada-tiny", family="dream")

    def test_an_unknown_family(self, models):
        with pytest.raises(CheckpointError, match=r"`family=lada` is not known.*did you mean llada"):
            load_backbone(models / "llada-tiny", family="lada")

    @pytest.mark.parametrize(
        "name, field, value",
        [
            ("llada-tiny", "block_type", "sequential"),
            ("llada-tiny", "activation_type", "gelu"),
            ("llada-tiny", "layer_norm_type", "default"),
            ("llada-tiny", "bias_for_layer_norm", True),
            ("llada-tiny", "attention_layer_norm", True),
            ("llada-tiny", "input_emb_norm", True),
            ("llada-tiny", "scale_logits", True),
            ("llada-tiny", "alibi", True),
            ("llada-tiny", "rope", False),
            ("llada-tiny", "rope_full_precision", False),
            ("llada-tiny", "include_qkv_bias", True),
            ("dream-tiny", "use_sliding_window", True),
            ("dream-tiny", "use_mrope", True),
            ("dream-tiny", "hidden_act", "gelu"),
        ],
    )
    def test_architecture_options_that_would_be_computed_wrongly(self, edited, name, field, value):
        with pytest.raises(CheckpointError, match=f"`{field}={value}`"):
            load_backbone(edited(name, {field: value}))

    def test_a_checkpoint_of_pickles(self, edited):
        folder = edited("llada-tiny")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"only pickle files, which are not read \(pytorch_model.bin\)"):
            load_backbone(folder)

    def test_a_shard_that_is_not_there(self, edited):
        folder = edited("llada-tiny")
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match=r"lacks 1 of its 2 shards \(model-2.safetensors\)"):
            load_backbone(folder)

    def test_a_file_that_is_cut_off(self, edited):
        path = edited("llada-tiny") / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="is cut short"):
            load_backbone(path.parent)

    def test_a_folder_whose_only_safetensors_are_something_else(self, edited):
        path = edited("llada-tiny") / "model.safetensors"
        path.rename(path.with_name("adapter_model.safetensors"))
        with pytest.raises(CheckpointError, match=r"has no model.safetensors"):
            load_backbone(path.parent)

    def test_an_unknown_dtype(self, models):
        with pytest.raises(CheckpointError, match=r"`dtype=bfloat` is not known.*did you mean bfloat16"):
            load_backbone(models / "llada-tiny", dtype="bfloat")

    def test_a_device_that_is_not_there(self, models):
        with pytest.raises(CheckpointError, match=r"`device=cuda:99` does not exist: \d+ GPU"):
            load_backbone(models / "llada-tiny", device="cuda:99")

    def test_a_device_beside_a_device_map(self, models):
        with pytest.raises(CheckpointError, match="exclude each other"):
            load_backbone(models / "llada-tiny", device="cpu", device_map="auto")


class TestSelfTest:
    @pytest.mark.parametrize("name, scored_by", [("llada-tiny", [1, 2]), ("dream-tiny", [0, 1])])
    def test_causal_attention_is_caught(self, models, monkeypatch, name, scored_by):
        attend = forward._attend

        def attend_causally(queries, keys, values, mask, scale):
            columns = torch.arange(4) if queries.shape[1] == 4 else torch.tensor(scored_by)
            earlier = torch.arange(4) <= columns[:, None]
            return attend(queries, keys, values, earlier[None, None], scale)

        monkeypatch.setattr(forward, "_attend", attend_causally)
        with pytest.raises(CheckpointError, match=r"no position sees a later one under torch \d"):
            load_backbone(models / name, device="cpu")

    def test_weights_that_overflow_the_dtype_are_caught(self, edited):
        folder = edited("llada-tiny", tensors=lambda t: t | {"model.transformer.ln_f.weight": torch.full((64,), 6e4)})
        with pytest.raises(CheckpointError, match="not finite in float16"):
            load_backbone(folder, dtype="float16")
        load_backbone(folder, dtype="bfloat16", device="cpu")
