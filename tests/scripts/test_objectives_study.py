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


def test_a_corrupted_answer_is_scored_and_refined(demo):
    backbone, tokenizer = demo
    items = objectives_study.read_items("test", tokenizer, backbone)[:3]
    drafts = objectives_study.corrupted(items, 1, tokenizer, seed=0)
    for repair in objectives_study.repair(backbone, items, drafts, lambda tokens, item: True):
        assert -1 <= repair.gap <= 1
        assert len(repair.exact) == len(repair.right) == len(objectives_study.ROUNDS)


def test_a_comparison_counts_signs():
    mean, low, high, above, below, p = objectives_study._signs(np.array([1, 1, 1, 1, 1, 0, -1]))
    assert (mean, above, below) == (pytest.approx(4 / 7), 5, 1)
    assert low < mean < high
    assert p == pytest.approx(14 / 64)
