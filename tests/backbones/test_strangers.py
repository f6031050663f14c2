"""Checkpoints and adapters from strangers: one line with the file and the field, before memory is taken for them."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_codd.backbones import CheckpointError, load_backbone, load_tokenizer
from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.demo import CHECKPOINT

INDEX = "model.safetensors.index.json"
DEEP = "[" * 100_000


def line(folder, **options) -> str:
    """The one line with which loading is refused."""
    with pytest.raises(CheckpointError) as error:
        load_backbone(folder, device="cpu", **options)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < len(str(folder)) + 500
    return message


class TestSizes:
    @pytest.mark.parametrize(
        "field, value",
        [
            ("n_heads", 0),
            ("n_heads", -4),
            ("n_heads", True),
            ("n_heads", 4.0),
            ("embedding_size", "512"),
            ("embedding_size", [512]),
            ("embedding_size", 2**31),
            ("n_layers", 10**6),
            ("n_layers", {"deep": [[[1]]]}),
            ("d_model", 2**62),
            ("max_sequence_length", "4096"),
            ("rms_norm_eps", "small"),
            ("rms_norm_eps", -1),
            ("rope_theta", float("nan")),
        ],
    )
    def test_that_are_none_name_file_and_field(self, edited, field, value):
        assert f"config.json says `{field}=" in line(edited("llada-tiny", {field: value}))

    @pytest.mark.parametrize(
        "field, value, stored",
        [
            ("n_layers", 9_999, "30 tensors"),
            ("embedding_size", 1 << 23, "numbers"),
            ("mlp_hidden_size", 1 << 23, "numbers"),
            ("n_heads", 1 << 16, "numbers"),
        ],
    )
    def test_beyond_what_the_weights_hold(self, edited, field, value, stored):
        message = line(edited("llada-tiny", {field: value}))
        if field != "n_heads":  # 65,536 heads do not divide the width, which is said first
            assert f"{field}={value}" in message
            assert "its weights hold only" in message and stored in message

    @pytest.mark.parametrize("family", ["dream-tiny", "llada-tiny-gqa"])
    def test_any_value_in_any_field_is_loaded_or_one_line(self, edited, models, family, times, tmp_path):
        """Each field of config.json with values of other kinds; nothing but a `CheckpointError` is raised."""
        fields = json.loads((models / family / "config.json").read_text())
        folder = edited(family)
        values = ["text", 0, -1, 1.5, [], {}, [None], 2**70, True, "\x1b[2J\u202e"]
        chosen = [(name, value) for name in fields for value in values][:: times(23, 1)]
        for name, value in chosen:
            (folder / "config.json").write_text(json.dumps({**fields, name: value}))
            try:
                load_backbone(folder, device="cpu")
            except CheckpointError as error:
                assert "\n" not in str(error)


class TestFiles:
    @pytest.mark.parametrize(
        "shard", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors", "x.bin", "."]
    )
    def test_shards_outside_of_the_folder_are_refused(self, edited, shard):
        folder = edited("llada-tiny")
        (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
        (folder / INDEX).write_text(json.dumps({"weight_map": {"x": shard}}))
        assert f"{INDEX} has the shard" in line(folder)

    def test_a_snapshot_of_the_hub_is_links_to_its_blobs(self, edited, tmp_path):
        folder = edited("llada-tiny")
        snapshot, blobs = tmp_path / "snapshots" / "0123456789", tmp_path / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for number, file in enumerate(sorted(folder.iterdir())):
            file.rename(blobs / str(number))
            (snapshot / file.name).symlink_to(f"../../blobs/{number}")
        assert load_backbone(snapshot, device="cpu").vocab_size == 512

    @pytest.mark.parametrize(
        "content", [DEEP, '{"a":' * 50_000, "[1]", "null", "{", '"x"', "\udcff", "NaN", "1" * 5000]
    )
    @pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
    def test_json_that_is_none_names_its_file(self, edited, name, content):
        folder = edited("dream-tiny", {"mask_token_id": None, "model_type": "a2d-qwen2"})
        (folder / name).write_bytes(content.encode(errors="surrogateescape"))
        assert name in line(folder)

    @pytest.mark.parametrize(
        "changed",
        [
            lambda header: {name: {**entry, "dtype": 7} for name, entry in header.items()},
            lambda header: {
                name: {key: entry[key] for key in ("shape", "data_offsets")} for name, entry in header.items()
            },
            lambda header: {name: {**entry, "shape": [-1]} for name, entry in header.items()},
            lambda header: {name: {**entry, "shape": "64"} for name, entry in header.items()},
            lambda header: {name: {**entry, "data_offsets": [0]} for name, entry in header.items()},
            lambda header: {name: {**entry, "data_offsets": [0, 1 << 70]} for name, entry in header.items()},
            lambda header: dict.fromkeys(header, "text"),
            lambda header: list(header),
        ],
    )
    def test_headers_of_weights(self, edited, changed):
        folder = edited("llada-tiny")
        path = folder / "model.safetensors"
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        new = json.dumps(changed(header)).encode()
        path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])
        assert "model.safetensors` is " in line(folder)

    def test_a_header_nested_too_deeply(self, edited):
        folder = edited("llada-tiny")
        new = ('{"a":' * 50_000).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(new)) + new)
        assert "nested too deeply" in line(folder)

    def test_an_adapter_that_would_be_loaded_unasked_is_refused(self, edited):
        folder = edited("llada-tiny")
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/somewhere/else"}))
        (folder / "adapter_model.bin").write_bytes(b"cposix\nsystem\n.")
        assert "adapter_config.json beside its config.json" in line(folder)

    @pytest.mark.parametrize("content", ["[1]", "{", '{"max_length": "x", "eos_token_id": {}}', DEEP])
    def test_generation_config_is_one_line_or_not_read(self, edited, content):
        folder = edited("llada-tiny")
        (folder / "generation_config.json").write_text(content)
        try:
            load_backbone(folder, device="cpu")
        except CheckpointError as error:
            assert "\n" not in str(error)


class TestTokenizers:
    @pytest.fixture
    def folder(self, tmp_path):
        """The demo's tokenizer in a folder of its own."""
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name).write_bytes((CHECKPOINT / name).read_bytes())
        return tmp_path

    def test_files_are_those_of_the_folder(self, folder):
        path = folder / "tokenizer_config.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"tokenizer_file": "/etc/passwd", "vocab_file": "/etc/passwd"}))
        assert len(load_tokenizer(folder)) == len(load_tokenizer(CHECKPOINT))

    @pytest.mark.parametrize(
        "name, content",
        [
            ("tokenizer.json", {"added_tokens": [{"content": {}, "id": []}, 7], "model": {"vocab": [[], 1, [{}, 2]]}}),
            ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 5000: "x", "\u0663": {}}, "mask_token": [1]}),
            ("special_tokens_map.json", {"mask_token": {"content": {"a": 1}}}),
            ("vocab.json", {"a": [], "b": True}),
        ],
    )
    def test_other_forms_name_no_tokens(self, folder, name, content):
        config = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen2"}
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if "mask" not in k}))
        (folder / name).write_text(json.dumps(content))
        with pytest.raises(CheckpointError):
            load_backbone(folder, device="cpu")


class TestAdapters:
    @pytest.fixture
    def adapter(self, tmp_path):
        def make(**changed):
            settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4} | changed
            (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
            key = "base_model.model.model.transformer.blocks.0.q_proj.lora_A.weight"
            save_file({key: torch.zeros(2, 64)}, tmp_path / "adapter_model.safetensors")
            return tmp_path

        pytest.importorskip("peft")
        return make

    @pytest.mark.parametrize(
        "field, value",
        [
            ("r", 0),
            ("r", "2"),
            ("r", 10**9),
            ("lora_alpha", "4"),
            ("alpha_pattern", [1]),
            ("alpha_pattern", {"x": "y"}),
            ("alpha_pattern", {"(((a+)+)+)+$": 1}),
            ("bias", {"all": []}),
        ],
    )
    def test_settings_that_are_none(self, models, adapter, field, value):
        assert f"`{field}=" in line(models / "llada-tiny", peft=adapter(**{field: value}))

    def test_a_pickle_is_not_read(self, models, adapter):
        folder = adapter()
        (folder / "adapter_model.safetensors").unlink()
        (folder / "adapter_model.bin").write_bytes(b"cposix\nsystem\n.")
        assert "pickle files are not read" in line(models / "llada-tiny", peft=folder)

    def test_a_number_in_place_of_a_matrix(self, models, adapter):
        folder = adapter()
        path = folder / "adapter_model.safetensors"
        save_file({key: torch.tensor(1.0) for key in load_file(path)}, path)
        assert "of shape []" in line(models / "llada-tiny", peft=folder)


def test_what_is_fetched_from_the_hub_is_neither_code_nor_pickle():
    from lm_eval_codd.backbones.adapter import ADAPTER_FILES
    from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, WEIGHT_FILES

    endings = {name.rpartition(".")[2] for name in (*CONFIG_FILES, *WEIGHT_FILES, *ADAPTER_FILES)}
    assert endings == {"json", "jinja", "txt", "safetensors"}
    assert find_checkpoint(CHECKPOINT).commit is None
