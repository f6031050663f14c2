"""Supports and draws, against the definitions written out."""

import pytest
import torch

from lm_eval_codd import DecodingConfig
from lm_eval_codd.decoding.candidates import Support, draw, invert_cdf, most_likely, tempered_support


def logits(vocab=300, rows=3, positions=4, scale=3.0, seed=0):
    return scale * torch.randn(rows, positions, vocab, generator=torch.Generator().manual_seed(seed))


def official_support(values, temperature, top_p, top_k):
    """Dream's order: temperature, then the nucleus on the whole distribution, then the k largest of what is left."""
    values = values / temperature if temperature else values
    if top_p is not None:
        ordered, ids = values.sort(descending=True)
        beyond = ordered.softmax(-1).cumsum(-1) > top_p
        beyond[..., 1:] = beyond[..., :-1].clone()
        beyond[..., 0] = False
        values = values.masked_fill(torch.zeros_like(beyond).scatter(-1, ids, beyond), -torch.inf)
    if top_k is not None:
        values = values.masked_fill(values < values.topk(top_k).values[..., -1:], -torch.inf)
    return values


class TestTemperedSupport:
    @pytest.mark.parametrize("temperature", [0.0, 0.2, 1.0, 1.7])
    @pytest.mark.parametrize("top_p", [None, 0.3, 0.95])
    @pytest.mark.parametrize("top_k", [None, 1, 50, 1000])
    def test_it_is_dreams(self, temperature, top_p, top_k):
        values = logits()
        support = tempered_support(values, DecodingConfig(temperature=temperature, top_p=top_p, top_k=top_k))
        ids = torch.arange(300).expand_as(values) if support.ids is None else support.ids
        ours = torch.full_like(values, -torch.inf).scatter(-1, ids, support.values)
        wanted = official_support(values, temperature, top_p, None if top_k == 1000 else top_k)
        torch.testing.assert_close(ours, wanted)

    def test_the_first_token_past_the_nucleus_is_kept(self):
        values = torch.tensor([0.6, 0.3, 0.1]).log()[None, None]
        for top_p, kept in ((0.59, 1), (0.61, 2), (0.89, 2), (0.95, 3)):
            support = tempered_support(values, DecodingConfig(temperature=1.0, top_p=top_p))
            assert (support.values > -torch.inf).sum() == kept

    def test_a_nucleus_that_is_met_exactly_takes_one_more(self):
        # Halves and quarters are exact in float32; officially a token goes when those before it are more than top_p.
        for num_tokens, top_p, kept in ((2, 0.5, 2), (4, 0.25, 2), (4, 0.5, 3), (4, 0.75, 4)):
            values = torch.zeros(1, num_tokens)
            support = tempered_support(values, DecodingConfig(top_p=top_p))
            assert (support.values > -torch.inf).sum() == kept
            assert (official_support(values, 0.0, top_p, None) > -torch.inf).sum() == kept

    def test_excluded_tokens_leave_truncated_and_whole_supports(self):
        values = logits()
        for config in (DecodingConfig(), DecodingConfig(top_k=7)):
            support = tempered_support(values, config)
            best = support.token(most_likely(support.values))[0, 0]
            without = support.without((int(best),))
            assert without.token(most_likely(without.values))[0, 0] != best
            assert (support.values > -torch.inf).all()


class TestDraw:
    def test_greedy_is_the_argmax(self):
        values = logits()
        support = tempered_support(values, DecodingConfig(top_k=5))
        assert torch.equal(support.token(most_likely(support.values)), values.argmax(-1))

    @pytest.mark.parametrize("vocab", [5, 256, 700])
    def test_draws_follow_the_softmax(self, vocab):
        values = torch.randn(vocab, generator=torch.Generator().manual_seed(1)).mul(2)
        number = 200_000
        grid = (torch.arange(number, dtype=torch.float64) + 0.5) / number
        index = draw(Support(values.expand(1, number, -1)), grid[None])[0]
        counts = torch.bincount(index, minlength=vocab).double() / number
        assert (counts - values.double().softmax(-1)).abs().max() < 2e-5

    def test_entries_of_no_weight_never_come_out(self):
        weights = torch.zeros(1, 1, 1000)
        weights[..., [3, 700]] = torch.tensor([1e-30, 1.0])
        for uniform in (1e-300, 1e-9, 0.5, 1 - 1e-12, 1 - 2**-53):
            assert invert_cdf(weights, torch.tensor([[uniform]], dtype=torch.float64)).item() in (3, 700)

    def test_a_single_token_support_is_certain(self):
        support = tempered_support(logits(), DecodingConfig(temperature=1.0, top_k=1))
        uniform = torch.full((3, 4), 0.999, dtype=torch.float64)
        assert torch.equal(support.token(draw(support, uniform)), logits().argmax(-1))
