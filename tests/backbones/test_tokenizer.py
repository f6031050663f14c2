"""Tokenizers without remote code: LLaDA's tokenizer.json, and the files that Dream ships."""

import json
import shutil

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers import models as tokenizer_models

from lm_eval_codd.backbones import CheckpointError, load_backbone, load_tokenizer
from lm_eval_codd.demo import CHECKPOINT

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2+2? Ça va, 日本!"}]


def added(content):
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": content, "special": True} | flags


@pytest.fixture(scope="module")
def dream(shared_dir, tmp_path_factory):
    """Dream's repository without its weights: Qwen2.5's files, two more tokens, a class that is remote code."""
    source, folder = shared_dir / "data" / "tokenizers" / "qwen2.5", tmp_path_factory.mktemp("dream")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).symlink_to(source / name)
    extra = {"<|beginoftext|>": 151665, "<|mask|>": 151666}
    config = json.loads((source / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] |= {str(index): added(token) for token, index in extra.items()}
    config |= {
        "additional_special_tokens": list(extra),
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "tokenizer_class": "DreamTokenizer",
        "bos_token": "<|beginoftext|>",
        "eos_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    added_tokens = json.loads((source / "added_tokens.json").read_text()) | extra
    (folder / "added_tokens.json").write_text(json.dumps(added_tokens))
    (folder / "config.json").write_text(json.dumps({"model_type": "Dream"}))
    return folder


class TestDream:
    def test_ids_are_the_published_ones(self, dream):
        tokenizer = load_tokenizer(dream)
        assert (tokenizer.mask_token_id, tokenizer.bos_token_id) == (151666, 151665)
        assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (151643, 151643)
        assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 151645
        assert len(tokenizer) == 151667

    def test_text_is_tokenized_as_by_the_tokenizer_it_extends(self, dream, shared_dir):
        from transformers import Qwen2Tokenizer

        original = Qwen2Tokenizer.from_pretrained(shared_dir / "data" / "tokenizers" / "qwen2.5")
        tokenizer = load_tokenizer(dream, "dream")
        text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
        assert text == original.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text).input_ids
        assert ids == original(text).input_ids
        assert tokenizer.decode(ids) == text

    def test_special_tokens_in_text_are_one_id_and_can_be_left_out(self, dream):
        tokenizer = load_tokenizer(dream)
        ids = tokenizer("a<|mask|>b<|im_end|>").input_ids
        assert ids[1] == 151666 and ids[3] == 151645 and len(ids) == 4
        assert tokenizer.decode(ids, skip_special_tokens=True) == "ab"

    def test_a_repository_that_has_a_tokenizer_json_loads_the_same(self, dream, tmp_path):
        tokenizer = load_tokenizer(dream)
        tokenizer.save_pretrained(tmp_path)
        shutil.copy(dream / "config.json", tmp_path)
        again = load_tokenizer(tmp_path)
        text = "<|im_start|>user\nÇa va <|mask|>" + "\n\n  x"
        assert again(text).input_ids == tokenizer(text).input_ids
        assert again.chat_template == tokenizer.chat_template

    def test_the_end_of_turn_id_is_found_without_building_it(self, dream, models, tmp_path):
        # Too few logit columns for it, which is how it shows.
        for source in (models / "dream-tiny", dream):
            for path in source.iterdir():
                if not (tmp_path / path.name).exists():
                    shutil.copy(path, tmp_path / path.name)
        with pytest.raises(CheckpointError, match="`eot_id=151645` is outside the 512 logit columns"):
            load_backbone(tmp_path)


@pytest.fixture(scope="module")
def llada(shared_dir, tmp_path_factory):
    """LLaDA's published tokenizer_config.json with a stand-in vocabulary under its added tokens."""
    source, folder = shared_dir / "data" / "tokenizers" / "llada_config_only", tmp_path_factory.mktemp("llada")
    for name in ("config.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(source / name, folder)
    config = json.loads((source / "tokenizer_config.json").read_text())
    vocabulary = {f"w{index}": index for index in range(126080)}
    tokenizer = Tokenizer(tokenizer_models.WordLevel(vocabulary, unk_token="w0"))
    decoder = sorted((int(index), entry["content"]) for index, entry in config["added_tokens_decoder"].items())
    tokenizer.add_special_tokens([AddedToken(content, special=True, normalized=False) for _, content in decoder])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


class TestLlada:
    def test_ids_and_chat_template_are_the_published_ones(self, llada):
        tokenizer = load_tokenizer(llada)
        assert tokenizer.convert_tokens_to_ids(["<|mdm_mask|>", "<|eot_id|>"]) == [126336, 126348]
        assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (126080, 126081, 126081)
        text = tokenizer.apply_chat_template(CHAT[1:], tokenize=False)
        assert text.startswith("<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nWhat")
        assert text.endswith("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")

    def test_no_code_is_run_and_nobody_is_asked(self, llada, tmp_path, monkeypatch):
        for path in llada.iterdir():
            shutil.copy(path, tmp_path)
        for name in ("configuration_llada.py", "modeling_llada.py"):
            (tmp_path / name).write_text("raise SystemExit('remote code ran')")
        monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run remote code"))
        assert len(load_tokenizer(tmp_path)) == 126349


class TestWhatIsMissing:
    def test_a_llada_checkpoint_without_tokenizer_json(self, models):
        with pytest.raises(CheckpointError, match=r"has no tokenizer.json"):
            load_tokenizer(models / "llada-tiny")

    def test_a_dream_checkpoint_without_vocabulary(self, models):
        with pytest.raises(CheckpointError, match=r"neither tokenizer.json nor vocab.json and merges.txt"):
            load_tokenizer(models / "dream-tiny")


class TestATokenizerApart:
    """`tokenizer=`: files for a checkpoint of one family, wherever they come from."""

    @pytest.mark.parametrize("config", [None, '{"model_type": "llada"}', '{"model_type": "qwen2"}'])
    def test_is_not_asked_for_a_family(self, tmp_path, config):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(CHECKPOINT / name, tmp_path)
        if config is not None:
            (tmp_path / "config.json").write_text(config)
        assert len(load_tokenizer(tmp_path, "dream", is_apart=True)) == len(load_tokenizer("demo"))

    def test_is_called_a_tokenizer_in_messages(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"^tokenizer `nowhere` does not exist"):
            load_tokenizer("nowhere", "llada", is_apart=True)
        with pytest.raises(CheckpointError, match=r"^tokenizer `.*` has no tokenizer\.json"):
            load_tokenizer(tmp_path, "llada", is_apart=True)
