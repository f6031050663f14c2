"""Windows out of texts: which there are, and that no machine has others."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.corpora.tokenise import tokenise
from lm_eval_codd.dit.packing import GROUP, pack

BOS, EOS = 29, 28


def official(rows, length, group):
    """Windows as the training code has them, where one worker has all texts."""
    windows, dropped = [], 0
    for start in range(0, len(rows), group):
        joined = list(itertools.chain(*rows[start : start + group]))
        whole = len(joined) // (length - 2) * (length - 2)
        dropped += len(joined) - whole
        windows += [[BOS, *joined[at : at + length - 2], EOS] for at in range(0, whole, length - 2)]
    return windows, dropped


@given(st.lists(st.lists(st.integers(0, 27), max_size=7), max_size=25), st.integers(3, 9), st.integers(1, 30))
def test_are_the_official_ones_of_one_worker(rows, length, group):
    packed = pack(rows, length=length, bos=BOS, eos=EOS, group=group)
    assert (packed.windows.tolist(), packed.dropped_tokens) == official(rows, length, group)
    assert packed.tokens == sum(map(len, rows))


def test_a_group_drops_its_rest_and_all_texts_together_drop_one():
    rows = [[1, 2, 3]] * 4
    by_two, by_all = (pack(rows, length=6, bos=BOS, eos=EOS, group=group) for group in (2, None))
    assert by_two.windows.tolist() == [[BOS, 1, 2, 3, 1, EOS]] * 2 and by_two.dropped_tokens == 4
    assert len(by_all.windows) == 3 and by_all.dropped_tokens == 0
    assert by_two.sha256 != by_all.sha256


@pytest.mark.parametrize("end", [None, 29])
def test_one_worker_and_eight_make_the_same_windows(word_tokenizer, end):
    tokenizer = load_plain_tokenizer(word_tokenizer)
    texts = [" ".join(f"w{(number * place) % 29}" for place in range(number % 8)) for number in range(2 * GROUP + 137)]
    one, eight = (
        pack(tokenise(texts, tokenizer, "wikitext", end, workers), length=12, bos=BOS, eos=EOS) for workers in (1, 8)
    )
    assert np.array_equal(one.windows, eight.windows)
    assert (one.tokens, one.dropped_tokens, one.sha256) == (eight.tokens, eight.dropped_tokens, eight.sha256)
    # The reference with eight workers: an eighth of the texts each, whose rests are dropped apart.
    rows = [tokenizer(text)["input_ids"] + ([] if end is None else [end]) for text in texts]
    shares = np.array_split(np.arange(len(rows)), 8)
    by_worker = sum(len(official([rows[row] for row in share], 12, GROUP)[0]) for share in shares)
    assert by_worker < len(one.windows) == len(official(rows, 12, GROUP)[0])
