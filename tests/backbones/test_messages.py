"""What a user reads, who has only the message, about files that are damaged, wrapped, quantised or somebody else's."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lm_eval_codd.backbones import CheckpointError, load_backbone, load_tokenizer
from lm_eval_codd.demo import CHECKPOINT

FIRST = "model.transformer.blocks.0.attn_norm.weight"


def fails(message: str, folder: Path | str, **options: object) -> None:
    """Loading raises one line that holds `message`."""
    with pytest.raises(CheckpointError) as error:
        load_backbone(folder, **{"device": "cpu", **options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class TestWeights:
    @pytest.mark.parametrize("dtype", [None, "float32"])
    @pytest.mark.parametrize("stored, name", [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
    def test_quantised_ones_are_refused_whatever_dtype_is_asked_for(self, edited, dtype, stored, name):
        folder = edited("llada-tiny", tensors=lambda t: {k: v.clamp(-1, 1).to(stored) for k, v in t.items()})
        fails(f"stores 30 of 30 tensors as numbers of another kind ({FIRST} as {name}), so it is", folder, dtype=dtype)

    def test_a_single_quantised_matrix_too(self, edited):
        def one(tensors):
            return tensors | {FIRST: tensors[FIRST].to(torch.int8)}

        fails("stores 1 of 30 tensors as numbers of another kind", edited("llada-tiny", tensors=one), dtype="float32")

    @pytest.mark.parametrize(
        "part, wrapper",
        [("module.", "DataParallel"), ("_orig_mod.", "torch.compile"), ("base_model.model.", "peft")],
    )
    def test_names_with_a_wrapper_s_part(self, edited, part, wrapper):
        folder = edited("llada-tiny", tensors=lambda t: {part + k: v for k, v in t.items()})
        fails(f"{wrapper}", folder)
        fails(f"put `{part}` into the names of its weights ({part}{FIRST}); save the model inside", folder)

    def test_names_of_another_layout(self, edited):
        folder = edited("llada-tiny", tensors=lambda t: {k.removeprefix("model."): v for k, v in t.items()})
        fails("none of their 30 names is known there (transformer.blocks.0.attn_norm.weight)", folder)

    def test_a_shape_that_config_json_contradicts(self, edited):
        folder = edited("llada-tiny", {"embedding_size": 600, "vocab_size": 600})
        fails("2 mismatched (lm_head.weight is [512, 64], by config.json [600, 64])", folder)

    def test_numbers_that_are_none_are_not_the_dtypes_fault_in_float32(self, edited):
        folder = edited("llada-tiny", tensors=lambda t: {k: v * torch.nan for k, v in t.items()})
        fails("not finite in float32: its weights hold some", folder)

    @pytest.mark.parametrize("index", ['{"weight_map": [1]}', '{"weights": {}}'])
    def test_an_index_without_shards(self, edited, index):
        folder = edited("llada-tiny")
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(index)
        fails("model.safetensors.index.json has no `weight_map` that names its shards", folder)


class TestConfig:
    @pytest.mark.parametrize(
        "field, value, message",
        [
            # The reason is transformers' own, another one in each of its versions.
            ("n_heads", 7, "the llada layout"),
            ("d_model", "64", "config.json says `d_model='64'`, and it must be a whole number"),
            ("eos_token_id", "470", "`eos_id='470'` of"),
            ("eos_token_id", [], "config.json has no eos_token_id"),
            (
                "model_type",
                None,
                "config.json names no `model_type`; say which layout its files have with family=llada",
            ),
        ],
    )
    def test_a_field_that_makes_no_sense(self, edited, field, value, message):
        fails(message, edited("llada-tiny", {field: value}))

    @pytest.mark.parametrize(
        "source, options, message",
        [
            (" ", {}, "no checkpoint is named"),
            ("llada-tiny", {"mask_id": "490"}, "`mask_id='490'` of"),
            ("llada-tiny", {"device": "mps"}, "`device=mps` cannot decode"),
            ("llada-tiny", {"peft": "nowhere"}, "adapter `nowhere` does not exist"),
        ],
    )
    def test_an_argument_that_makes_no_sense(self, models, source, options, message):
        fails(message, models / source if source.strip() else source, **options)


class TestTokenizers:
    @pytest.fixture
    def demo(self, tmp_path):
        """`demo(name, content)`: a copy of the demo checkpoint with one file rewritten."""

        def make(name: str, content: str) -> Path:
            folder = shutil.copytree(CHECKPOINT, tmp_path / "demo")
            (folder / name).write_text(content)
            return folder

        return make

    @pytest.mark.parametrize(
        "name, content, message",
        [
            ("tokenizer.json", "{", "its tokenizer cannot be read from tokenizer.json (JSONDecodeError"),
            ("tokenizer.json", "{}", "its tokenizer cannot be read from tokenizer.json (KeyError"),
            ("tokenizer_config.json", "{", "tokenizer_config.json is not valid JSON"),
        ],
    )
    def test_a_damaged_file(self, demo, name, content, message):
        with pytest.raises(CheckpointError) as error:
            load_tokenizer(demo(name, content))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_damaged_file_where_only_an_id_is_looked_up(self, demo):
        fails("tokenizer.json is not valid JSON", demo("tokenizer.json", "{"))

    def test_an_id_that_is_none_is_looked_up_in_the_next_file(self, demo):
        assert load_backbone(demo("added_tokens.json", json.dumps({"<|eot_id|>": "x"})), device="cpu").eot_id == 80

    def test_vocabulary_and_merges_of_the_older_kind(self, edited):
        folder = edited("dream-tiny")
        (folder / "vocab.json").write_text('{"a": 0}')
        (folder / "merges.txt").write_text("a b c\n")
        with pytest.raises(CheckpointError, match=r"cannot be read from vocab.json and merges.txt \(.*Merges"):
            load_tokenizer(folder)
