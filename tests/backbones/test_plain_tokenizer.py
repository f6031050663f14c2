"""Tokenizers that belong to no checkpoint of the families."""

import json
import shutil

import pytest

from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.files.hub_ids import with_owner


@pytest.fixture
def edited(word_tokenizer, tmp_path):
    """A copy of the tokenizer with other words in its tokenizer_config.json."""

    def edit(**config):
        folder = tmp_path / "tokenizer"
        shutil.copytree(word_tokenizer, folder)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return edit


def test_padding_is_added_behind_the_last_id(word_tokenizer):
    tokenizer = load_plain_tokenizer(word_tokenizer)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)) == (29, 29, 30, 31)
    assert tokenizer.decode([1, 30]).endswith("[PAD]")


def test_berts_classification_and_separation_begin_and_end(edited):
    tokenizer = load_plain_tokenizer(edited(cls_token="w1", sep_token="w2", pad_token="w3"))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 3)


def test_a_folder_of_a_model_that_transformers_does_not_know(edited):
    folder = edited(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    (folder / "config.json").write_text(json.dumps({"model_type": "mdlm", "auto_map": {"AutoConfig": "code.Config"}}))
    assert load_plain_tokenizer(folder).eos_token_id == 29


@pytest.mark.parametrize("config", [{}, {"model_type": "gpt2"}], ids=["a tokenizer's class", "a model's"])
def test_files_are_those_of_the_folder(edited, config):
    elsewhere = dict.fromkeys(("tokenizer_file", "vocab_file", "merges_file"), "/etc/passwd")
    folder = edited(bos_token="w1", eos_token="w2", **elsewhere)
    (folder / "config.json").write_text(json.dumps(config))
    assert load_plain_tokenizer(folder).convert_tokens_to_ids("w3") == 3


def test_mistakes_are_one_line(edited, tmp_path):
    for folder, said in (
        (edited(), "has neither bos_token nor cls_token"),
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(CheckpointError) as caught:
            load_plain_tokenizer(folder)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_names_from_before_the_hub_had_owners(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert with_owner("gpt2-large") == "openai-community/gpt2-large"
    assert with_owner("a/b") == "a/b" and with_owner("llama") == "llama"
    (tmp_path / "gpt2").mkdir()
    assert with_owner("gpt2") == "gpt2"
