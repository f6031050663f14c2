"""Tokens in a tokenizer's files: where they are looked for, in which order, and files of another form."""

import pytest

from lm_eval_codd.files.special_tokens import Found, end_of_text, find_mask, find_token, first_free_id


def reader(**files: dict):
    """The files by their names without `.json`."""
    return lambda name: files.get(name.removesuffix(".json"), {})


class TestMask:
    @pytest.mark.parametrize(
        ("files", "found"),
        [
            ({}, None),
            ({"tokenizer_config": {"mask_token": None}}, None),
            ({"tokenizer_config": {"mask_token": "<odd>"}}, None),
            (
                {"tokenizer_config": {"mask_token": {"content": "<odd>"}}, "vocab": {"<odd>": 4, "<M>": 3}},
                Found("<odd>", 4, "tokenizer_config.json"),
            ),
            (
                {"special_tokens_map": {"mask_token": "<odd>"}, "added_tokens": {"<odd>": 9}},
                Found("<odd>", 9, "special_tokens_map.json"),
            ),
            (
                {"tokenizer_config": {"added_tokens_decoder": {"7": {"content": "<M>"}}}},
                Found("<M>", 7, "tokenizer_config.json"),
            ),
            ({"added_tokens": {"<|mask|>": 8}}, Found("<|mask|>", 8, "added_tokens.json")),
            ({"tokenizer": {"added_tokens": [{"content": "[MASK]", "id": 6}]}}, Found("[MASK]", 6, "tokenizer.json")),
            ({"tokenizer": {"model": {"vocab": {"<mask>": 5}}}}, Found("<mask>", 5, "tokenizer.json")),
            ({"tokenizer": {"model": {"vocab": [["a", -1.0], ["<mask>", 0]]}}}, Found("<mask>", 1, "tokenizer.json")),
        ],
        ids=str,
    )
    def test_is_declared_or_spelled_as_one(self, files, found):
        assert find_mask(reader(**files)) == found

    def test_of_a_family_with_a_spelling_of_its_own(self):
        files = reader(vocab={"<M>": 3, "<x>": 2})
        assert find_mask(files, ("<x>",)) == Found("<x>", 2, "vocab.json")


def test_the_first_free_id_follows_the_largest_of_all_files():
    assert first_free_id(reader()) is None
    files = {"vocab": {"a": 0, "b": 10}, "added_tokens": {"c": 12}, "tokenizer": {"model": {"vocab": {"a": 11}}}}
    assert first_free_id(reader(**files)) == 13


def test_the_end_of_text_is_the_declared_one():
    files = {"tokenizer_config": {"eos_token": "</s>"}, "vocab": {"</s>": 3}}
    assert end_of_text(reader(**files)) == Found("</s>", 3, "vocab.json")
    assert end_of_text(reader(vocab={"</s>": 3})) is None


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config": {"added_tokens_decoder": ["<M>"], "mask_token": 3}},
        {"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "<M>"}}}},
        {"tokenizer": {"added_tokens": ["<M>", {"content": None}], "model": "BPE"}},
        {"tokenizer": {"added_tokens": "<M>", "model": {"vocab": 4}}},
        {"added_tokens": {"<M>": "3"}},
    ],
    ids=str,
)
def test_files_of_another_form_name_nothing(files):
    assert find_mask(reader(**files)) is None
    assert find_token(reader(**files), "<M>") is None
    assert first_free_id(reader(**files)) is None
