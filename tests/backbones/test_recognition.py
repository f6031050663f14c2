"""What a checkpoint is taken for, by its config.json and its tokenizer's files, and what is refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_codd.backbones import CheckpointError, load_backbone, load_tokenizer
from lm_eval_codd.backbones.inspect import main

BACKBONE = {"qwen2": "a2d_qwen2", "qwen3": "a2d_qwen3"}
LLAMAS = ("llama", "illada", "llada")
ENDS = {"<|endoftext|>": 5, "<|im_end|>": 6}


@pytest.fixture
def make(golden_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """A tiny Qwen2 or Qwen3 under a model_type, with tokenizer files as given."""

    def make(model_type: str, name: str = "tiny", config: dict | None = None, **files: dict) -> Path:
        kind = model_type.removeprefix("a2d-")
        golden = "a2d_llama" if kind in LLAMAS else BACKBONE[kind]
        folder = shutil.copytree(golden_dir / "families" / golden, tmp_path / name)
        fields = json.loads((folder / "config.json").read_text())
        fields |= {"model_type": model_type, "eos_token_id": 5, **(config or {})}
        (folder / "config.json").write_text(json.dumps(fields))
        for file, content in files.items():
            (folder / f"{file}.json").write_text(json.dumps(content))
        return folder

    return make


def tokenizer(size: int = 112, **special: int) -> dict:
    """A tokenizer.json of so many words, some of which are special."""
    words = {f"w{index}": index for index in range(size) if index not in special.values()} | special
    added = [
        {
            **{"id": index, "content": token, "special": True},
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
        }
        for token, index in special.items()
    ]
    model = {"type": "WordLevel", "vocab": words, "unk_token": "w0"}
    rest = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return {"version": "1.0", "added_tokens": added, "model": model, **rest}


def described(folder: Path, capsys: pytest.CaptureFixture, *arguments: str) -> dict[str, str]:
    assert main([str(folder), "--device", "cpu", *arguments]) == 0
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


class TestOpenDllm:
    @pytest.mark.parametrize("model_type", BACKBONE)
    @pytest.mark.parametrize(
        "files",
        [
            {"tokenizer_config": {"mask_token": "<M>", "added_tokens_decoder": {"111": {"content": "<M>"}}}},
            {"special_tokens_map": {"mask_token": {"content": "<odd>"}}, "added_tokens": {"<odd>": 111}},
            {"added_tokens": {"<M>": 111}},
            {"tokenizer": tokenizer(**{"<M>": 111})},
        ],
        ids=str,
    )
    def test_a_mask_token_in_the_tokenizers_files_is_the_mark_and_logits_are_shifted(self, make, model_type, files):
        backbone = load_backbone(make(model_type, **files), device="cpu")
        assert (backbone.family, backbone.mask_id, backbone.eos_id, backbone.eot_id) == ("open_dllm", 111, 5, None)
        assert (backbone.attention, backbone.decodes) == ("full", True)
        plain = load_backbone(make(f"a2d-{model_type}", "plain", **files), device="cpu")
        tokens = torch.arange(20).reshape(2, 10)
        assert torch.equal(backbone.logits(tokens)[:, 1:], plain.logits(tokens)[:, :-1])

    @pytest.mark.parametrize("model_type", BACKBONE)
    def test_an_autoregressive_model_is_refused_in_one_line(self, make, model_type):
        folder = make(model_type, tokenizer=tokenizer(**ENDS), tokenizer_config={"eos_token": "<|endoftext|>"})
        for given in ({}, {"mask_id": 111}):
            with pytest.raises(CheckpointError, match="no mask token, as an ordinary autoregressive model") as refusal:
                load_backbone(folder, device="cpu", **given)
            assert "\n" not in str(refusal.value) and "both family= (" in str(refusal.value)
            assert ("dream" in str(refusal.value)) == (model_type == "qwen2")
        with pytest.raises(CheckpointError, match="tokenizer's files do not name the token; give `mask_id=`"):
            load_backbone(folder, "open_dllm", device="cpu")

    def test_family_and_mask_id_together_say_that_it_is_a_diffusion_model(self, make):
        folder = make("qwen2")
        shifted = load_backbone(folder, "open_dllm", mask_id=111, device="cpu")
        tokens = torch.arange(10)[None]
        for family, is_shifted in (("dream", True), ("a2d", False)):
            other = load_backbone(folder, family, mask_id=111, device="cpu")
            assert (other.family, other.scored_by_previous) == (family, is_shifted)
            assert torch.equal(other.logits(tokens), shifted.logits(tokens)) == is_shifted
        with pytest.raises(CheckpointError, match=r"`family=llada`.* is open_dllm"):
            load_backbone(folder, "llada", mask_id=111, device="cpu")

    def test_nothing_is_resized_for_a_mask_token_without_a_column(self, make):
        folder = make("qwen2", added_tokens={"<M>": 113})
        with pytest.raises(CheckpointError, match="`mask_id=113` is outside the 113 logit columns"):
            load_backbone(folder, device="cpu")

    def test_a_configuration_with_several_ends_names_both(self, make):
        folder = make("qwen2", config={"eos_token_id": [5, 6]}, added_tokens={"<M>": 111})
        backbone = load_backbone(folder, device="cpu")
        assert (backbone.eos_id, backbone.eot_id) == (5, 6)

    def test_inspect_says_what_it_is_and_why(self, make, capsys):
        folder = make("qwen2", tokenizer=tokenizer(**ENDS, **{"<M>": 111}), tokenizer_config={"mask_token": "<M>"})
        lines = described(folder, capsys)
        assert lines["recognised"] == (
            "as open_dllm, since its model_type is qwen2, and tokenizer_config.json has the mask token <M>; the mask "
            "is the mask token of tokenizer_config.json"
        )
        assert lines["mask"] == "111 <M>"
        assert lines["scores"] == "the next position (shifted)"
        assert lines["attention"].startswith("full")
        given = described(make("qwen3", "other"), capsys, "--family", "a2d", "--mask_id", "111")
        assert given["recognised"] == (
            "as a2d, since family=a2d was given, its model_type is qwen3; the mask is as given"
        )
        assert given["scores"] == "its own position (not shifted)"


class TestA2D:
    @pytest.mark.parametrize("model_type", ["a2d-qwen2", "a2d-qwen3"])
    @pytest.mark.parametrize(
        ("files", "mask_id"),
        [
            ({"tokenizer": tokenizer(**ENDS, **{"<|mask|>": 100})}, 100),
            ({"tokenizer": tokenizer(**ENDS), "added_tokens": {"<|MASK|>": 99}}, 99),
            ({"tokenizer": tokenizer(112, **ENDS)}, 112),
            ({"vocab": {"a": 0, "b": 70}, "added_tokens": {"<|endoftext|>": 5, "<|im_end|>": 6}}, 71),
        ],
        ids=["spelled", "in capitals", "first free", "first free of vocab.json"],
    )
    def test_its_mask_is_spelled_or_the_first_id_that_is_free(self, make, model_type, files, mask_id):
        backbone = load_backbone(make(model_type, **files), device="cpu")
        assert (backbone.family, backbone.mask_id, backbone.eos_id, backbone.eot_id) == ("a2d", mask_id, 5, 6)
        assert not backbone.scored_by_previous

    def test_a_full_tokenizer_leaves_no_column_for_a_mask(self, make):
        with pytest.raises(CheckpointError, match="`mask_id=113` is outside the 113 logit columns"):
            load_backbone(make("a2d-qwen2", tokenizer=tokenizer(113, **ENDS)), device="cpu")

    def test_both_ends_are_ends_where_the_turns_end_is_the_texts_end(self, make):
        folder = make("a2d-qwen3", config={"eos_token_id": 6}, tokenizer=tokenizer(**ENDS, **{"<|mask|>": 100}))
        backbone = load_backbone(folder, device="cpu")
        assert (backbone.eos_id, backbone.eot_id) == (5, 6)
        assert load_backbone(folder, eos_id=6, device="cpu").eos_id == 6

    def test_its_name_says_whether_it_has_blocks_and_the_log_says_so(self, make, caplog):
        tokens = tokenizer(**ENDS, **{"<|mask|>": 100})
        folder = make("a2d-qwen3", "Tiny-BD3LM-v0.1", tokenizer=tokens)
        with caplog.at_level(logging.INFO, logger="lm_eval.codd"):
            backbone = load_backbone(folder, device="cpu")
        assert (backbone.attention, backbone.block_length, backbone.decodes) == ("block", 32, True)
        assert "`attention=block`, since bd3lm is in the name" in caplog.text
        assert load_backbone(folder, attention="full", device="cpu").decodes
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="lm_eval.codd"):
            assert load_backbone(make("a2d-qwen3", "Tiny-mdlm", tokenizer=tokens), device="cpu").attention == "full"
        assert "`attention=full`, since bd3lm is not in the name" in caplog.text

    def test_inspect_says_what_it_is_and_why(self, make, capsys):
        folder = make("a2d-qwen2", "tiny-bd3lm", tokenizer=tokenizer(**ENDS))
        lines = described(folder, capsys)
        assert lines["recognised"] == (
            "as a2d, since its model_type is a2d-qwen2; the mask is the first id that the tokenizer leaves free"
        )
        assert lines["mask"] == "112 (not in the tokenizer)"
        assert lines["attention"] == "block: a position sees its own block of 32 and those before it"
        assert lines["family"].startswith("a2d (model_type a2d-qwen2")
        assert lines["decoded"] == "by     decoder=block_diffusion, rule=bd3lm"
        full = described(folder, capsys, "--attention", "full")
        assert full["attention"].startswith("full") and full["family"].startswith("a2d (model_type a2d-qwen2")

    def test_its_tokenizer_loads_although_transformers_does_not_know_its_model_type(self, make):
        files = {"tokenizer": tokenizer(**ENDS), "tokenizer_config": {"tokenizer_class": "Qwen2Tokenizer"}}
        assert load_tokenizer(make("a2d-qwen2", **files)).convert_tokens_to_ids("<|im_end|>") == 6

    @pytest.mark.parametrize("model_type", ["a2d-qwen2", "a2d-qwen3"])
    @pytest.mark.parametrize("is_stored", [True, False], ids=["head stored", "head left out"])
    def test_tied_embeddings_are_the_head(self, make, model_type, is_stored):
        folder = make(model_type, config={"tie_word_embeddings": True})
        # Copies: the file that they are mapped from is written anew.
        weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
        weights.pop("lm_head.weight", None)  # of the golden Qwen2, which is not tied
        if is_stored:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        backbone = load_backbone(folder, mask_id=111, device="cpu")
        assert torch.equal(backbone.model.lm_head.weight, weights["model.embed_tokens.weight"])


class TestA2DLlama:
    def test_its_ends_are_llamas_and_its_mask_is_spelled_or_free(self, make):
        ends = {"<|end_of_text|>": 5, "<|eot_id|>": 6}
        files = {"tokenizer": tokenizer(**ENDS, **ends, **{"<|mask|>": 100})}
        backbone = load_backbone(make("a2d-llama", **files), device="cpu")
        assert (backbone.family, backbone.mask_id, backbone.eos_id, backbone.eot_id) == ("a2d", 100, 5, 6)
        chat = make("a2d-llama", "chat", config={"eos_token_id": [5, 7, 6]}, tokenizer=tokenizer(112, **ends))
        backbone = load_backbone(chat, device="cpu")
        assert (backbone.mask_id, backbone.eos_id, backbone.eot_id) == (112, 5, 6)
        assert load_backbone(make("a2d-llama", "a-bd3lm", **files), device="cpu").block_length == 32

    def test_what_llama_does_not_have_is_refused_by_its_field(self, make):
        with pytest.raises(CheckpointError, match="`hidden_act=gelu`, and only hidden_act=silu"):
            load_backbone(make("a2d-llama", config={"hidden_act": "gelu"}), device="cpu")


class TestILLaDA:
    """Its files were not seen: what is held is that it is told from LLaDA, and decoded by LLaDA's rules."""

    @pytest.mark.parametrize("model_type", ["illada", "llada"])
    def test_it_is_told_by_llamas_field_names(self, make, capsys, model_type):
        folder = make(model_type, tokenizer=tokenizer(**ENDS, **{"<[MASK]>": 4}))
        backbone = load_backbone(folder, device="cpu")
        assert (backbone.layout, backbone.family, backbone.mask_id) == ("illada", "llada", 4)
        assert (backbone.scored_by_previous, backbone.attention) == (False, "full")
        lines = described(folder, capsys)
        mark = " with hidden_size and intermediate_size and num_hidden_layers" if model_type == "llada" else ""
        assert lines["recognised"].startswith(f"as illada, since its model_type is {model_type}{mark}; the mask")
        assert lines["equal"].endswith("no golden (unsupported)") and "not seen here" in lines["unverified"]

    def test_llada_itself_is_not_taken_for_it(self, models, tmp_path):
        folder = shutil.copytree(models / "llada-tiny", tmp_path / "llada")
        config = json.loads((folder / "config.json").read_text())
        names = {
            "hidden_size": "d_model",
            "intermediate_size": "mlp_hidden_size",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
        }
        beside = {llamas: config[own] for llamas, own in names.items()}
        (folder / "config.json").write_text(json.dumps(config | beside))
        assert load_backbone(folder, device="cpu").layout == "llada"

    def test_a_llada_without_its_width_is_still_said_to_be_one(self, models, tmp_path):
        folder = shutil.copytree(models / "llada-tiny", tmp_path / "llada")
        config = json.loads((folder / "config.json").read_text())
        del config["d_model"]
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r"config\.json has no `d_model`"):
            load_backbone(folder, device="cpu")


class TestDreamsOthers:
    def test_dream_reasoner_is_refused_by_its_norms_with_the_reason(self, make):
        folder = make("qwen3", "reasoner")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "Dream", "mask_token_id": 111}))
        with pytest.raises(CheckpointError, match=r"q_norm\.weight: it normalises queries and keys, as DreamReasoner"):
            load_backbone(folder, device="cpu")

    def test_what_has_dreams_model_type_is_shifted_and_decoded_by_its_rules(self, make):
        # Dream-Coder and DiffuCoder: the same config.json and names of weights as Dream.
        folder = make("qwen2", "DiffuCoder-tiny")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "Dream", "mask_token_id": 111}))
        backbone = load_backbone(folder, device="cpu")
        assert (backbone.family, backbone.scored_by_previous, backbone.mask_id) == ("dream", True, 111)


def test_a_student_of_cd4lm_is_a_llada_checkpoint(models, tmp_path):
    folder = shutil.copytree(models / "llada-tiny", tmp_path / "dscd-student")
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "<|mdm_mask|>"}))
    backbone = load_backbone(folder, device="cpu")
    assert (backbone.family, backbone.mask_id, backbone.scored_by_previous) == ("llada", 490, False)
