"""What is masked and replaced: DSCD's collator as the original draws it, and the corrective objective's shares."""

import json
import random
from pathlib import Path

import pytest
import torch

from lm_eval_codd.training.objectives.corrective import corrective_noise
from lm_eval_codd.training.objectives.dscd import independent_masks, mask_counts, nested_masks

COLLATOR = json.loads((Path(__file__).parents[2] / "golden" / "decoders" / "dscd_collator.json").read_text())
MASK, PAD = 1, 0


class TestDscd:
    @pytest.mark.parametrize("case", COLLATOR["mask_counts"])
    def test_goldens_of_the_counts(self, case):
        counts = mask_counts(case["answer_len"], case["ratio_student"], case["ratio_teacher"])
        assert counts == (case["num_student"], case["num_teacher"])

    @pytest.mark.parametrize("case", COLLATOR["cases"], ids=["nested", "independent"])
    def test_goldens_of_the_collator_with_its_own_draws(self, case):
        """Lengths and tokens of the answers are taken from the golden: how text is tokenized is another matter."""
        rng, generator = random.Random(case["seed"]), torch.Generator().manual_seed(case["seed"])
        result = case["result"]
        for row, start in enumerate(result["answer_start_indices"]):
            student = torch.tensor(result["input_ids"][row])[start : sum(result["attention_mask"][row])]
            teacher = torch.tensor(result["teacher_consistency_input_ids"][row])[start : start + len(student)]
            if case["nested"]:
                of_student, of_teacher = nested_masks(len(student), rng, generator)
            else:
                of_student, of_teacher = independent_masks(len(student), 1000, generator)
            assert torch.equal(of_student, student == MASK)
            assert torch.equal(of_teacher, teacher == MASK)

    def test_the_teacher_never_has_a_mask_that_the_student_has_not(self):
        for length in range(1, 60):
            student, teacher = nested_masks(length, random.Random(length))
            assert student.any()
            assert not (teacher & ~student).any()


class TestCorrective:
    ORDINARY = torch.tensor([2, 3, 5, 7, 8])

    def noisy(self, tokens: torch.Tensor, share: float = 0.1, seed: int = 0):
        return corrective_noise(tokens, MASK, self.ORDINARY, share, torch.Generator().manual_seed(seed))

    def test_a_replacement_is_another_ordinary_token_and_each_of_them_alike(self):
        tokens = torch.tensor([2, 3, 5, 7, 8, 4, 9]).repeat(20_000)  # 4 and 9 are no ordinary ones
        noisy, replaced, ratio = self.noisy(tokens, share=1.0)
        assert torch.equal(replaced, noisy != MASK)
        assert (noisy == MASK).float().mean().item() == pytest.approx(ratio, abs=0.01)
        for token in tokens.unique():
            counts = noisy[replaced & (tokens == token)].bincount(minlength=10)
            possible = self.ORDINARY[token != self.ORDINARY]
            assert counts.sum() == counts[possible].sum()
            expected = counts.sum() / len(possible)
            assert ((counts[possible] - expected) ** 2 / expected).sum() < 25  # chi-square, 4 degrees at most

    def test_the_share_is_of_visible_tokens(self):
        tokens = torch.full((50_000,), 5)
        noisy, replaced, _ = self.noisy(tokens)
        assert (replaced.sum() / (noisy != MASK).sum()).item() == pytest.approx(0.1, abs=0.01)
        assert torch.equal(replaced, (noisy != MASK) & (noisy != tokens))

    def test_the_mask_ratio_stays_within_its_bounds(self):
        ratios = [self.noisy(torch.tensor([2]), seed=seed)[2] for seed in range(2000)]
        assert min(ratios) == pytest.approx(1 / 500)
        assert max(ratios) == pytest.approx(1 - 1 / 500)

    def test_with_a_share_of_zero_tokens_are_masked_only(self):
        tokens = torch.arange(2, 9)
        noisy, replaced, _ = self.noisy(tokens, share=0.0)
        assert not replaced.any()
        assert ((noisy == tokens) | (noisy == MASK)).all()
