"""Remasking rules against float64 definitions."""

import pytest
import torch

from lm_eval_codd.decoding.candidates import Support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.confidence import RULES, entropy, low_confidence, margin
from lm_eval_codd.settings import ALGS

VALUES = 4 * torch.randn(2, 5, 90, generator=torch.Generator().manual_seed(0))
BEST = VALUES.argmax(-1)
EXACT = VALUES.double().softmax(-1)


class TestRules:
    def test_low_confidence_is_the_candidates_probability(self):
        torch.testing.assert_close(low_confidence(Support(VALUES), BEST, None), EXACT.amax(-1), rtol=1e-5, atol=0)
        other = torch.full_like(BEST, 7)
        torch.testing.assert_close(low_confidence(Support(VALUES), other, None), EXACT[..., 7], rtol=1e-5, atol=0)

    def test_low_confidence_orders_what_float32_rounds_to_one(self):
        values = torch.zeros(1, 3, 50)
        values[0, :, 0] = torch.tensor([30.0, 31.0, 32.0])
        scores = low_confidence(Support(values), torch.zeros(1, 3, dtype=torch.int64), None)[0]
        assert scores[0] < scores[1] < scores[2] <= 1
        assert (values.softmax(-1)[0, :, 0] == 1).all()

    def test_large_logits_cost_a_margin_no_digits(self):
        large = VALUES + 100
        top = large.double().softmax(-1).topk(2).values
        torch.testing.assert_close(margin(Support(large), BEST, None), top[..., 0] - top[..., 1], rtol=0, atol=2e-7)

    def test_a_candidate_that_is_ruled_out_has_no_confidence(self):
        values = torch.tensor([[[-torch.inf, 0.0], [-torch.inf, -torch.inf]]])
        assert low_confidence(Support(values), torch.zeros(1, 2, dtype=torch.int64), None).tolist() == [[0.0, 0.0]]

    def test_a_lone_candidate_is_certain(self):
        values = torch.tensor([[[2.0, -torch.inf]]])
        index = torch.zeros(1, 1, dtype=torch.int64)
        assert low_confidence(Support(values), index, None).item() == 1
        assert margin(Support(values), index, None).item() == 1
        assert margin(Support(values[..., :1]), index, None).item() == 1
        assert abs(entropy(Support(values), index, None).item()) < 1e-6

    def test_margin_and_entropy(self):
        top = EXACT.topk(2).values
        torch.testing.assert_close(margin(Support(VALUES), BEST, None), top[..., 0] - top[..., 1], rtol=1e-5, atol=1e-7)
        wanted = (EXACT * (EXACT + 1e-10).log()).sum(-1)
        torch.testing.assert_close(entropy(Support(VALUES), BEST, None), wanted, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("offset", [0.0, 1024.0])
    def test_margins_of_sure_positions_keep_their_digits(self, offset):
        gaps = torch.tensor([18.0, 20.0, 22.0, 24.0])
        # In float32 each largest share is 1; in float64 the margins are 1 - 2 exp(-gap), and ordered.
        values = torch.stack([torch.zeros(4), -gaps], dim=-1) + offset
        wanted = -torch.expm1(-gaps.double()) / (1 + torch.exp(-gaps.double()))
        got = margin(Support(values), torch.zeros(4, dtype=torch.int64), None)
        torch.testing.assert_close(1 - got, 1 - wanted, rtol=1e-5, atol=0)
        assert (got.diff() > 0).all()

    def test_every_name_has_its_rule(self):
        assert set(RULES) == set(ALGS)


class TestSurest:
    def test_the_budget_goes_to_the_best_committable(self):
        score = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1]])
        committable = torch.tensor([[True, False, True, True], [True, True, True, True]])
        chosen = surest(score, committable, torch.tensor([2, 1]))
        assert chosen.tolist() == [[False, False, True, True], [True, False, False, False]]

    def test_ties_go_to_the_left(self):
        chosen = surest(torch.zeros(1, 64), torch.arange(64)[None] % 2 == 1, torch.tensor([3]))
        assert chosen[0].nonzero()[:, 0].tolist() == [1, 3, 5]

    def test_a_score_of_minus_infinity_still_counts(self):
        score = torch.tensor([[5.0, -torch.inf, 0.0]])
        chosen = surest(score, torch.tensor([[False, True, False]]), torch.tensor([1]))
        assert chosen.tolist() == [[False, True, False]]
