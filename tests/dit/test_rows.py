"""Rows to train on: lists of ids as they stand, texts packed; and what is said of data that are neither."""

import json
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import lm_eval_codd as codd
from lm_eval_codd.dit.config import Ids
from lm_eval_codd.dit.training.rows import load_rows
from lm_eval_codd.dit.training.run import train_dit
from lm_eval_codd.dit.training.settings import DiTTrainingConfig

IDS = Ids(9, 7, 8)


@pytest.fixture
def tokenizer():
    vocab = {f"w{number}": number for number in range(7)} | {"<s>": 7, "</s>": 8}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def read(tmp_path, tokenizer):
    """(rows of the file, length) -> Rows, one of them held out."""

    def read(values, length=None, has_tokenizer=True, ids=IDS):
        path = tmp_path / "rows.jsonl"
        path.write_text(
            "".join(json.dumps(value if isinstance(value, dict) else {"text": value}) + "\n" for value in values)
        )
        config = SimpleNamespace(data=str(path), column="text", tokenizer=None, limit=None, held_out=1, seed=0)
        return load_rows(config, tokenizer if has_tokenizer else None, length, ids)

    return read


def test_texts_are_packed_with_an_end_behind_each_and_both_ends_around_a_row(read):
    rows = read(["w1 w2 w3", "w4", "w5 w6 w1 w2"], length=5)
    every = sorted([*rows.train.tolist(), *rows.held_out.tolist()])
    # 1 2 3 8 4 8 5 6 1 2 8, in threes
    assert every == sorted([[7, 1, 2, 3, 8], [7, 8, 4, 8, 8], [7, 5, 6, 1, 8]])
    assert rows.num_dropped == 2
    assert (len(rows.train), len(rows.held_out)) == (2, 1)


def test_ids_are_rows_as_they_stand(read):
    rows = read([[1, 2], [3, 4], [5, 6]])
    assert sorted([*rows.train.tolist(), *rows.held_out.tolist()]) == [[1, 2], [3, 4], [5, 6]]
    assert rows.num_dropped == 0
    assert rows.identity != read([[1, 2], [3, 4], [5, 0]]).identity


@pytest.mark.parametrize(
    ("values", "given", "said"),
    [
        ([], {}, "has no rows; give one with `text` on each line"),
        ([{"body": "w1"}], {}, "row 1 has no column `text`; name the right one of body with column"),
        ([5], {}, "`text` of row 1 is 5, neither text nor a list of ids"),
        ([[]], {}, r"`text` of row 1 is \[\], neither text nor a list of ids"),
        ([[1, True]], {}, "neither text nor a list of ids"),
        ([[1, 2], "w1"], {}, "row 2 is text among lists of ids; give one kind"),
        (["w1", [1, 2]], {"length": 4}, "row 2 is a list of ids among texts; give one kind"),
        ([[1, 2], [1]], {}, "row 2 has 1 ids, not 2; cut all to one length"),
        (["w1"], {"length": 4, "has_tokenizer": False}, "has texts; give their `tokenizer`, such as gpt2"),
        (["w1"], {}, "`length=None` of rows of text must be given"),
        (["w1"], {"length": 4, "ids": Ids(9, None, 8)}, "give `bos_id` and `eos_id`"),
        (["w1"], {"length": 4}, "`held_out=1` leaves nothing to train on: .* has 1 rows of 4 ids"),
    ],
)
def test_what_is_no_data_is_said_in_one_line(read, values, given, said):
    with pytest.raises(ValueError, match=said):
        read(values, **given)


@pytest.mark.parametrize(
    ("special", "size", "mask"),
    [
        ({}, 10, 9),  # in the place of the [PAD] that is added to GPT-2's
        ({"pad_token": "</s>"}, 10, 9),
        ({"pad_token": "[PAD]", "mask_token": "[MASK]"}, 11, 10),
        ({"mask_token": "w3", "pad_token": "w2"}, 9, 3),
    ],
)
def test_the_vocabulary_is_the_tokenizers_and_a_mask(tmp_path, tokenizer, special, size, mask):
    tokenizer.add_special_tokens(special)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": "w1 w1 w4 w5 w6"}) + "\n" for _ in range(9)))
    sizes = {"length": 6, "hidden_dim": 8, "cond_dim": 4, "n_blocks": 1, "n_heads": 2, "steps": 1, "held_out": 2}
    given = {"data": str(data), "tokenizer": str(tmp_path / "tokenizer"), "device": "cpu"}
    train_dit(DiTTrainingConfig(algo="mdlm", **given, **sizes), tmp_path / "out")
    dit = codd.load_dit(tmp_path / "out", device="cpu")
    assert (dit.vocab_size, dit.mask_id, dit.bos_id, dit.eos_id) == (size, mask, 7, 8)
