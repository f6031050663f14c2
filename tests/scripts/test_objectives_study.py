"""The study's corruptions and comparisons; its trainings and figures take minutes, and are in docs/objectives.md."""

import numpy as np
import objectives_study
import pytest

from lm_eval_codd.backbones import load_backbone, load_tokenizer


@pytest.fixture(scope="module")
def demo():
    return load_backbone("demo", device="cpu"), load_tokenizer("demo")


@pytest.mark.parametrize("count", [1, 3])
def test_a_corrupted_answer_has_so_many_other_tokens_of_the_same_kinds(demo, count):
    backbone, tokenizer = demo
    items = objectives_study.read_items("test", tokenizer, backbone)[:150]
    drafts = objectives_study.corrupted(items, count, tokenizer, seed=0)
    kinds = set()
    for item, draft in zip(items, drafts, strict=True):
        pairs = [(a, b) for a, b in zip(item.example.answer, draft, strict=True) if a != b]
        assert len(pairs) == count
        for pair in pairs:
            kind, other = (objectives_study._kind(token) for token in tokenizer.convert_ids_to_tokens(pair))
            assert kind == other
            kinds.add(kind)
    assert kinds == {"number", "sign", "name", "thing", "word"} or count == 1
    assert drafts == objectives_study.corrupted(items, count, tokenizer, seed=0)
    assert drafts != objectives_study.corrupted(items, count, tokenizer, seed=1)


def test_the_shipped_answers_are_among_the_right_ones(demo):
    backbone, tokenizer = demo
    for item in objectives_study.read_items("test", tokenizer, backbone):
        assert item.example.answer in item.whole
        assert len({tuple(answer) for answer in item.whole}) == 5


def test_a_corrupted_answer_is_scored_and_refined(demo):
    backbone, tokenizer = demo
    items = objectives_study.read_items("test", tokenizer, backbone)[:3]
    drafts = objectives_study.corrupted(items, 1, tokenizer, seed=0)
    gaps, hits = objectives_study.tell_apart(backbone, items, drafts)
    assert all(-1 <= gap <= 1 for gap in gaps)
    assert len(hits) == 3
    outcomes = objectives_study.decode(backbone, items, tokenizer, objectives_study.refining(1, 0.0), drafts)
    assert [o.whole for o in outcomes] == [False] * 3  # nothing is ever masked again
    same = objectives_study.decode(
        backbone, items, tokenizer, objectives_study.refining(1, 0.0), [item.example.answer for item in items]
    )
    assert all(o.whole and o.right for o in same)


def test_a_comparison_counts_signs():
    mean, low, high, above, below, p = objectives_study._signs(np.array([1, 1, 1, 1, 1, 0, -1]))
    assert (mean, above, below) == (pytest.approx(4 / 7), 5, 1)
    assert low < mean < high
    assert p == pytest.approx(14 / 64)
