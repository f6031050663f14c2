"""The estimators against enumeration, on a network that is small enough for it."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.likelihood.asking import Target, Told
from lm_eval_codd.likelihood.mc import mc, official_ladder, strata
from tests.likelihood.conftest import Tiny, pairs_of

GOLDEN = Path(__file__).parents[1] / "golden" / "decoding" / "loglik" / "loglik.json"


def config(**settings):
    return codd.LikelihoodConfig(**settings)


def by_enumeration(model, prompt, target):
    """The bound, from every mask by itself."""
    n, total = len(target), 0.0
    for masked in itertools.product([False, True], repeat=n):
        num_masked = sum(masked)
        if num_masked:
            canvas = [model.mask_id if hidden else token for token, hidden in zip(target, masked, strict=True)]
            log_p = model.log_p(prompt, canvas)
            value = sum(float(log_p[i, target[i]]) for i in range(n) if masked[i])
            total += value / num_masked / math.comb(n, num_masked)
    return total


class TestExact:
    def test_is_the_mean_over_all_masks(self, tiny):
        pairs = pairs_of(8, (1, 2, 3, 5))
        for pair, likelihood in zip(pairs, codd.log_likelihood(tiny, pairs, config(estimator="exact")), strict=True):
            assert likelihood.value == pytest.approx(by_enumeration(tiny, *pair), abs=1e-4)
            assert likelihood.num_forward == 2 ** len(pair[1]) - 1

    def test_long_targets_are_refused(self, tiny):
        with pytest.raises(ValueError, match="`estimator=exact` looks at all masks, and a target has 15 tokens"):
            codd.log_likelihood(tiny, [([], [0] * 15)], config(estimator="exact"))


class TestMonteCarlo:
    def test_fifty_targets_lie_within_the_stated_error(self, tiny):
        pairs = pairs_of(50, (2, 3, 4, 5, 6, 7))
        exact = codd.log_likelihood(tiny, pairs, config(estimator="exact"))
        drawn = codd.log_likelihood(tiny, pairs, config(num_samples=32))
        inside = [
            abs(one.value - true.value) <= 1.96 * one.stderr + 1e-5 for one, true in zip(drawn, exact, strict=True)
        ]
        assert 44 <= sum(inside) <= 50
        # And the error is not just large.
        squares = [(one.value - true.value) ** 2 for one, true in zip(drawn, exact, strict=True)]
        assert sum(one.stderr**2 for one in drawn) < 3 * sum(squares)

    @pytest.mark.parametrize("size", [8, 16, 32])
    @pytest.mark.parametrize("length", [4, 6, 8])
    def test_unbiased_varies_no_more_than_the_official_ladder(self, length, size):
        model = Tiny(seed=length)
        ((prompt, target),) = pairs_of(1, (length,), seed=length)
        told = every_mask(model, prompt, target)
        settings = {"num_samples": 2 * size, "ladder_size": size}
        unbiased, official = (
            torch.tensor([estimate(told, length, config(ladder=ladder, seed=seed, **settings)) for seed in range(200)])
            for ladder in ("unbiased", "official")
        )
        assert unbiased.var() <= official.var()
        assert abs(unbiased.mean() - by_enumeration(model, prompt, target)) < 4 * unbiased.std() / 200**0.5

    def test_one_token_needs_no_luck(self, tiny):
        ((prompt, target),) = pairs = pairs_of(1, (1,))
        expected = float(tiny.log_p(prompt, [tiny.mask_id])[0, target[0]])
        for estimator in ("mc", "mc_bernoulli", "chain", "exact"):
            (likelihood,) = codd.log_likelihood(tiny, pairs, config(estimator=estimator))
            assert likelihood.value == pytest.approx(expected, abs=1e-5)
            assert likelihood.stderr == 0 and likelihood.num_forward == 1

    @pytest.mark.parametrize("settings", [{}, {"target_stderr": 1.0}, {"ladder": "official"}])
    @pytest.mark.parametrize("estimator", ["mc", "mc_bernoulli"])
    def test_a_token_that_is_ruled_out_has_no_likelihood_for_certain(self, make_tiny, estimator, settings):
        model = make_tiny()
        model._own[:, 2] = -torch.inf
        if estimator == "mc_bernoulli" and "ladder" in settings:
            settings = {"ladder_size": 8}
        (one,) = codd.log_likelihood(model, [([0], [2, 1, 3])], config(estimator=estimator, num_samples=64, **settings))
        assert (one.value, one.stderr) == (-math.inf, 0.0)

    def test_the_official_ladder_has_the_official_numbers_of_masks(self):
        for case in json.loads(GOLDEN.read_text())["cases"]:
            if "official_l_distribution" not in case:
                continue
            length, size = len(case["answer"]), case["kwargs"]["batch_size"]
            starts = [torch.full((size,), (start + 0.5) / length).double() for start in range(length)]
            numbers = torch.cat([official_ladder(each, length) for each in starts])
            shares = torch.bincount(numbers, minlength=length + 1)[1:] / len(numbers)
            expected = [case["official_l_distribution"][str(number)] for number in range(1, length + 1)]
            torch.testing.assert_close(shares, torch.tensor(expected), rtol=0, atol=1e-6)

    def test_strata_are_uniform_and_in_range(self):
        generator = torch.Generator().manual_seed(0)
        numbers = torch.cat([strata(torch.rand(7, generator=generator).double(), 5) for _ in range(4000)])
        shares = torch.bincount(numbers, minlength=6) / len(numbers)
        torch.testing.assert_close(shares, torch.tensor([0, 0.2, 0.2, 0.2, 0.2, 0.2]), rtol=0, atol=0.01)

    def test_it_stops_once_the_error_is_small(self, tiny):
        pairs = pairs_of(6, (8, 9))
        few, all_of_them = (
            codd.log_likelihood(tiny, pairs, config(num_samples=512, ladder_size=16, target_stderr=target))
            for target in (1.0, 1e-9)
        )
        assert all(one.stderr <= 1 for one in few)
        assert sum(one.num_forward for one in few) < sum(one.num_forward for one in all_of_them) / 2
        exact = codd.log_likelihood(tiny, pairs, config(estimator="exact"))
        assert all(abs(one.value - true.value) < 4 for one, true in zip(few, exact, strict=True))

    def test_targets_of_one_prompt_are_seen_through_the_same_masks(self, make_tiny, monkeypatch):
        seen = []
        model = make_tiny()
        logits = model.logits
        monkeypatch.setattr(model, "logits", lambda tokens, *rest: seen.append(tokens) or logits(tokens, *rest))
        codd.log_likelihood(model, [([1, 2], [0, 1, 2, 3]), ([1, 2], [4] * 4)], config(num_samples=6))
        masks = {}
        for row in torch.cat(seen)[:, 2:]:
            which = "of the second" if set(row.tolist()) <= {4, 5} else "of the first"
            masks.setdefault(which, set()).add(tuple((row == 5).tolist()))
        everything = {(True,) * 4}  # where both look alike
        assert masks["of the first"] - everything == masks["of the second"] - everything
        assert len(masks["of the first"]) > 2


def every_mask(model, prompt, target):
    """log p of the masked tokens under each mask, by the mask's bits."""
    told = {}
    for masked in itertools.product([False, True], repeat=len(target)):
        canvas = [model.mask_id if hidden else token for token, hidden in zip(target, masked, strict=True)]
        log_p = model.log_p(prompt, canvas)
        told[masked] = sum(float(log_p[i, target[i]]) for i, hidden in enumerate(masked) if hidden)
    return told


def estimate(told, length, settings):
    """One run of `mc`, told what it asks out of a table."""
    target = Target(torch.zeros(length, dtype=torch.int64), 0, torch.tensor([settings.seed * 7919 + 13]))
    estimator = mc(target, settings)
    ask = next(estimator)
    try:
        estimator.send(Told(torch.tensor([told[tuple(mask)] for mask in ask.masked.tolist()], dtype=torch.float64)))
    except StopIteration as stop:
        return stop.value.value
    raise AssertionError("it asked twice")


class TestBernoulli:
    def test_its_mean_is_that_of_its_masks(self, tiny):
        """The last token always stands; the others are masked alone or together, with probability p."""
        ((prompt, target),) = pairs_of(1, (3,), seed=4)
        prompt = prompt or [1]
        both, first, second = (
            tiny.log_p(prompt, canvas)
            for canvas in ([5, 5, target[2]], [5, target[1], target[2]], [target[0], 5, target[2]])
        )
        pair = float(both[0, target[0]] + both[1, target[1]])
        single = float(first[0, target[0]] + second[1, target[1]])
        # Of p uniform on [eps, 1]: E[p^2 / p] and E[p (1 - p) / p].
        expected = pair * (1 + 1e-3) / 2 + single * (1 - 1e-3) / 2
        (drawn,) = codd.log_likelihood(
            tiny, [(prompt, target)], config(estimator="mc_bernoulli", num_samples=20_000, ladder_size=20)
        )
        assert drawn.value == pytest.approx(expected, abs=4 * drawn.stderr)

    def test_the_first_token_stands_too_without_a_prompt(self, make_tiny, monkeypatch):
        model, seen = make_tiny(), []
        logits = model.logits
        monkeypatch.setattr(model, "logits", lambda tokens, *rest: seen.append(tokens) or logits(tokens, *rest))
        codd.log_likelihood(model, [([], [0, 1, 2, 3])], config(estimator="mc_bernoulli"))
        masked = torch.cat(seen) == 5
        assert masked[:, 1:3].any(dim=0).all() and not masked[:, [0, 3]].any()


class TestChain:
    @pytest.mark.parametrize("order", ["left", "confident"])
    def test_is_the_sum_of_conditionals(self, tiny, order):
        _, (prompt, target) = pairs_of(2, (5,), seed=2)
        canvas, expected = [tiny.mask_id] * 5, 0.0
        while tiny.mask_id in canvas:
            log_p = tiny.log_p(prompt, canvas)
            left = [i for i, token in enumerate(canvas) if token == tiny.mask_id]
            place = left[0] if order == "left" else max(left, key=lambda i: float(log_p[i].max()))
            expected += float(log_p[place, target[place]])
            canvas[place] = target[place]
        (likelihood,) = codd.log_likelihood(tiny, [(prompt, target)], config(estimator="chain", order=order))
        assert likelihood.value == pytest.approx(expected, abs=1e-4)
        assert likelihood.num_forward == 5

    def test_left_to_right_is_a_distribution(self, tiny):
        """The likelihoods of all targets of a length sum to one."""
        pairs = [([2, 0], list(target)) for target in itertools.product(range(6), repeat=3)]
        values = [one.value for one in codd.log_likelihood(tiny, pairs, config(estimator="chain"))]
        assert math.fsum(map(math.exp, values)) == pytest.approx(1, abs=1e-4)
