"""Bounds by Monte Carlo against the same integral by enumeration, and what a row's noise depends on."""

import math
from itertools import permutations, product

import pytest
import torch

from lm_eval_codd.dit import log_likelihood_bounds
from lm_eval_codd.dit.likelihood import stream, times_of_draws

from .conftest import random_dit

SIZE, LENGTH = 4, 2
ROW = [2, 0]


def exact(model, context: list[int], target: list[int], mode: str) -> float:
    """Minus the mean over times in [1e-3, 1] (or d3pm's grid) and all noisy rows of the bound, in nats."""
    x0 = torch.tensor([context + target])
    first = 0 if mode == "joint" else len(context)
    if model.algo == "d3pm":
        times = torch.arange(2, 1001).double() / 1000
        shares = torch.full_like(times, 1 / len(times))
    else:
        # Simpson's rule over log t: the bounds rise as 1 / t.
        times = torch.logspace(-3, 0, 401, dtype=torch.float64)
        shares = torch.ones_like(times)
        shares[1:-1:2], shares[2:-1:2] = 4, 2
        shares *= times * (math.log(1000) / 400 / 3) / (1 - 1e-3)
    total = 0.0
    for noise in product(range(SIZE) if model.algo == "duo" else (None, model.mask_id), repeat=x0.shape[1] - first):
        z = x0.clone()
        alpha = model.schedule.alpha(times)
        weight = torch.ones_like(times)
        for column, each in enumerate(noise, first):
            if model.algo == "duo":
                z[0, column] = each
                weight = weight * ((1 - alpha) / SIZE + alpha * (each == x0[0, column]))
            else:
                z[0, column] = x0[0, column] if each is None else each
                weight = weight * (alpha if each is None else 1 - alpha)
        nats = model.nelbo(x0.expand(len(times), -1), z.expand(len(times), -1), times)[:, first:].sum(dim=1)
        total += float((shares * weight * nats).sum())
    return -total


@pytest.mark.parametrize("mode", ["suffix", "joint"])
@pytest.mark.parametrize("algo", ["duo", "mdlm", "sedd", "d3pm"])
def test_the_mean_of_the_draws_is_the_integral(algo, mode, times):
    model = random_dit(algo, vocab_size=SIZE, length=LENGTH + 1)
    bound = log_likelihood_bounds(model, [([1], ROW)], mode, num_samples=times(2000, 50_000), batch_size=500)[0]
    value = exact(model, [1], ROW, mode)
    assert abs(bound.value - value) < 4 * bound.stderr + 0.01
    assert bound.stderr < 0.1 * abs(value)


@pytest.mark.parametrize(("mode", "number"), [("suffix", 1), ("joint", 2)])
def test_masks_among_what_is_scored_are_counted_and_said_once(harness_log, mode, number):
    model = random_dit("mdlm", vocab_size=SIZE, length=LENGTH + 1)
    pairs = [([1], [model.mask_id, 0]), ([model.mask_id], ROW), ([1], ROW)]
    log_likelihood_bounds(model, pairs, mode, num_samples=2)
    (line,) = harness_log.messages
    assert line.startswith(f"{number} targets hold the mask token (id {model.mask_id})")


def test_to_duo_that_id_is_a_token_like_any_other(harness_log):
    log_likelihood_bounds(random_dit("duo", vocab_size=SIZE, length=LENGTH + 1), [([1], [SIZE - 1, 0])], num_samples=2)
    assert not harness_log.messages


def test_mdlms_bound_is_the_mean_over_all_orders_of_unmasking():
    """Without the noise level as an input, continuous time only says in which order tokens come."""
    model, row = random_dit("mdlm", vocab_size=SIZE, length=3), [2, 0, 1]
    total = 0.0
    for order in permutations(range(3)):
        z = torch.full((1, 3), model.mask_id)
        for column in order:
            total += float(model.log_x_theta(z)[0, column, row[column]])
            z[0, column] = row[column]
    bound = log_likelihood_bounds(model, [([], row)], num_samples=2000, batch_size=500)[0]
    assert abs(bound.value - total / 6) < 4 * bound.stderr + 0.01


def test_ar_is_exact():
    model = random_dit("ar", vocab_size=SIZE, length=4)
    bound = log_likelihood_bounds(model, [([0, 1], [2, 3])])[0]
    log_p = model.log_x_theta(torch.tensor([[0, 1, 2]]))[0]
    assert bound.value == pytest.approx(float(log_p[1, 2] + log_p[2, 3]))
    assert (bound.stderr, bound.num_forward, bound.num_tokens) == (0.0, 1, 2)
    together = sum(
        torch.tensor(log_likelihood_bounds(model, [([0], [a, b])])[0].value).exp() for a in range(4) for b in range(4)
    )
    assert float(together) == pytest.approx(1.0)


@pytest.mark.parametrize("algo", ["duo", "mdlm", "sedd", "d3pm", "ar"])
def test_rows_are_alone(algo):
    model = random_dit(algo, vocab_size=6, length=5)
    pairs = [([0], [1, 2]), ([0, 3], [1, 2]), ([0], [4]), ([1], []), ([0], [1, 2, 3, 4])]
    together = log_likelihood_bounds(model, pairs, num_samples=5, batch_size=3)
    alone = [log_likelihood_bounds(model, [pair], num_samples=5, batch_size=64)[0] for pair in pairs]
    for one, other in zip(together, alone, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-9)
        assert (one.num_forward, one.num_tokens) == (other.num_forward, other.num_tokens)
    assert together[3].value == 0.0


@pytest.mark.parametrize("algo", ["duo", "mdlm", "sedd", "d3pm", "ar"])
def test_rows_by_themselves_are_the_same_to_the_last_bit(algo, of_algo):
    model = of_algo(algo)
    pairs = [([29], [1, 2]), ([29, 3], [1, 2]), ([29], [4]), ([29], [1, 2, 3, 4])]
    together = {one.index: one.bound for one in stream(model, pairs, num_samples=5, batch_size=None)}
    for index, pair in enumerate(pairs):
        (alone,) = stream(model, [pair], num_samples=5, batch_size=None)
        assert alone.bound == together[index]
        assert alone.bound.value == pytest.approx(
            log_likelihood_bounds(model, [pair], num_samples=5, batch_size=3)[0].value, rel=1e-5
        )


def test_is_greedy_in_one_step_from_all_of_the_target_masked():
    model = random_dit("mdlm", vocab_size=6, length=5)
    z = torch.tensor([[0, 3, model.mask_id, model.mask_id]])
    likely = model.log_x_theta(z)[0, 2:].argmax(dim=-1).tolist()
    pairs = [([0, 3], likely), ([0, 3], [likely[0], (likely[1] + 1) % 5])]
    bounds = log_likelihood_bounds(model, pairs, num_samples=2, is_greedy=True)
    assert [one.is_greedy for one in bounds] == [True, False]
    assert [one.is_greedy for one in log_likelihood_bounds(model, pairs, num_samples=2)] == [None, None]


def test_is_greedy_of_ar_token_by_token_and_of_duo_never():
    model = random_dit("ar", vocab_size=6, length=5)
    row = [0, 3]
    for _ in range(2):
        row.append(int(model.log_x_theta(torch.tensor([row]))[0, -1].argmax()))
    pairs = [(row[:2], row[2:]), (row[:2], [(row[2] + 1) % 5, row[3]])]
    assert [one.is_greedy for one in log_likelihood_bounds(model, pairs, is_greedy=True)] == [True, False]
    duo = random_dit("duo", vocab_size=6, length=5)
    assert log_likelihood_bounds(duo, [([0], [1])], num_samples=2, is_greedy=True)[0].is_greedy is False


def test_choices_of_one_context_share_their_noise():
    """A choice that the model cannot tell from another has the same value to the last bit."""
    model = random_dit("mdlm", vocab_size=6, length=5)
    weights = model.network.vocab_embed.embedding, model.network.output_layer.linear
    weights[0][2], weights[1].weight[2], weights[1].bias[2] = weights[0][1], weights[1].weight[1], weights[1].bias[1]
    one, same, other = log_likelihood_bounds(model, [([0], [1, 3]), ([0], [2, 3]), ([4], [1, 3])], num_samples=3)
    assert one.value == same.value != other.value
    assert log_likelihood_bounds(model, [([0], [1, 3])], num_samples=3, seed=7)[0].value != one.value


def test_rows_may_have_noise_of_their_own():
    """Not that of their context: a mean over rows of one context then has the noise of one row."""
    model, rows = random_dit("mdlm", vocab_size=SIZE, length=LENGTH + 1), [[2, 0], [2, 1]]
    shared = log_likelihood_bounds(model, [([1], row) for row in rows], num_samples=4)
    own = log_likelihood_bounds(model, [([1], row) for row in rows], num_samples=4, noise_of=rows)
    assert all(one.value != other.value for one, other in zip(shared, own, strict=True))
    [alone] = log_likelihood_bounds(model, [([1], rows[1])], num_samples=4, noise_of=rows[1:])
    assert alone.value == pytest.approx(own[1].value)
    by_context = log_likelihood_bounds(model, [([1], row) for row in rows], num_samples=4, noise_of=[[1], [1]])
    assert [one.value for one in by_context] == [one.value for one in shared]


def test_times_of_a_rows_draws_are_spread_evenly():
    number = torch.arange(8)
    times = times_of_draws(torch.rand(8, dtype=torch.float64), number, 8)
    assert ((times - 1e-3) / (1 - 1e-3) * 8).floor().tolist() == number.tolist()


class TestCounts:
    def test_forwards_tokens_and_errors(self):
        model = random_dit("d3pm", vocab_size=6, length=5)
        suffix, joint = (log_likelihood_bounds(model, [([0], [1, 2])], mode, 4)[0] for mode in ("suffix", "joint"))
        assert (suffix.num_tokens, joint.num_tokens) == (2, 3)
        assert suffix.num_forward == 5  # four draws, and the clean row once
        assert log_likelihood_bounds(model, [([0], [1, 2])], num_samples=1)[0].stderr is None

    def test_a_token_that_is_ruled_out_has_no_likelihood_for_certain(self):
        model = random_dit("mdlm", vocab_size=6, length=5)
        model.network.output_layer.linear.bias[3] = -torch.inf
        (bound,) = log_likelihood_bounds(model, [([0], [1, 3])], num_samples=16)
        assert (bound.value, bound.stderr) == (-math.inf, 0.0)

    def test_the_usual_mode_is_of_the_algorithm(self):
        for algo, mode in (("duo", "joint"), ("mdlm", "suffix"), ("sedd", "suffix"), ("d3pm", "suffix")):
            model = random_dit(algo, vocab_size=6, length=5)
            usual, named = (log_likelihood_bounds(model, [([0], [1, 2])], each, 2)[0] for each in (None, mode))
            assert usual == named


@pytest.mark.parametrize(
    ("algo", "pairs", "options", "said"),
    [
        ("mdlm", [([0], [1, 2, 3, 4, 5])], {}, "longer than the 5"),
        ("mdlm", [([0], [1])], {"mode": "sufix"}, "`mode=sufix` is not known"),
        ("mdlm", [([0], [1])], {"num_samples": 0}, "`num_samples=0`"),
        ("ar", [([], [1])], {}, "give a context"),
        ("ar", [([0], [1])], {"mode": "joint"}, "use suffix"),
    ],
)
def test_mistakes_are_one_line(algo, pairs, options, said):
    with pytest.raises(ValueError) as caught:
        log_likelihood_bounds(random_dit(algo, vocab_size=6, length=5), pairs, **options)
    assert said in str(caught.value) and "\n" not in str(caught.value)
