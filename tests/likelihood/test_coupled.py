"""Likelihoods with a circuit against enumeration of every window."""

import itertools
import math

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.circuits import HMM
from tests.conftest import random_circuit
from tests.likelihood.conftest import pairs_of

WIDTH = 3
ALWAYS = {"pc_frac": 1.1, "pc_temperature": 0.6}


@pytest.fixture(scope="module")
def circuit():
    return random_circuit(3, num_positions=WIDTH, num_latents=4, vocab_size=6)


def log_p_window(circuit, tokens):
    """log p_omega of a whole window."""
    state = circuit.initial * circuit.emission[:, tokens[0]]
    for token in tokens[1:]:
        state = (state @ circuit.transition) * circuit.emission[:, token]
    return float(state.sum().log())


def by_enumeration(model, circuit, prompt, target, masked, *, is_open, tau=0.6):
    """log p of a target's masked tokens given its other ones, window by window."""
    canvas = [model.mask_id if hidden else token for token, hidden in zip(target, masked, strict=True)]
    log_p, value = model.log_p(prompt, canvas), 0.0
    for start in range(0, len(target), WIDTH):
        places = range(start, min(start + WIDTH, len(target)))
        hidden = [place for place in places if masked[place]]
        if not is_open(len(hidden) / len(places)):
            value += sum(float(log_p[place, target[place]]) for place in hidden)
            continue
        evidence = (log_p / tau).log_softmax(-1)
        beyond = WIDTH - len(places)
        mass, of_target = [], []
        for filling in itertools.product(range(6), repeat=len(hidden)):
            window = list(target[start : start + len(places)])
            for place, token in zip(hidden, filling, strict=True):
                window[place - start] = token
            weight = sum(float(evidence[place, token]) for place, token in zip(hidden, filling, strict=True))
            for rest in itertools.product(range(6), repeat=beyond):
                mass.append(weight + log_p_window(circuit, [*window, *rest]))
                if window == list(target[start : start + len(places)]):
                    of_target.append(mass[-1])
        value += math.log(math.fsum(map(math.exp, of_target))) - math.log(math.fsum(map(math.exp, mass)))
    return value


def bound(model, circuit, prompt, target, is_open):
    total, n = 0.0, len(target)
    for masked in itertools.product([False, True], repeat=n):
        if number := sum(masked):
            value = by_enumeration(model, circuit, prompt, target, masked, is_open=is_open)
            total += value / number / math.comb(n, number)
    return total


class TestAgainstEnumeration:
    @pytest.mark.parametrize("length", [1, 3, 5])
    def test_every_mask_of_a_target_and_a_short_last_tile(self, tiny, circuit, length):
        _, (prompt, target) = pairs_of(2, (length,))
        config = codd.LikelihoodConfig(estimator="exact", **ALWAYS)
        (likelihood,) = codd.log_likelihood(tiny, [(prompt, target)], config, circuit)
        expected = bound(tiny, circuit, prompt, target, lambda share: True)
        assert likelihood.value == pytest.approx(expected, abs=2e-4)
        assert likelihood.num_circuit > 0 and likelihood.num_impossible == 0

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("frac", [0.4, 2 / 3])
    def test_the_gate_is_that_of_decoding_a_strict_bound_on_each_tile(self, tiny, circuit, frac, reverse):
        _, (prompt, target) = pairs_of(2, (5,), seed=3)
        is_open = (lambda share: share > frac) if reverse else (lambda share: share < frac)
        config = codd.LikelihoodConfig(estimator="exact", pc_temperature=0.6, pc_frac=frac, reverse_frac=reverse)
        (likelihood,) = codd.log_likelihood(tiny, [(prompt, target)], config, circuit)
        assert likelihood.value == pytest.approx(bound(tiny, circuit, prompt, target, is_open), abs=2e-4)

    def test_a_gate_that_never_opens_leaves_the_backbone_alone(self, tiny, circuit):
        pairs = pairs_of(4, (3, 5))
        config = codd.LikelihoodConfig(num_samples=16, pc_frac=0.0)
        alone, coupled = (codd.log_likelihood(tiny, pairs, config, each) for each in (None, circuit))
        assert [one.num_circuit for one in coupled] == [0] * 4
        assert [one.value for one in coupled] == pytest.approx([one.value for one in alone], abs=1e-4)


class TestChain:
    @pytest.mark.parametrize("order", ["left", "confident"])
    def test_is_a_distribution_over_the_targets_of_a_length(self, tiny, order):
        circuit = random_circuit(5, num_positions=2, num_latents=4, vocab_size=6)
        pairs = [([2, 0], list(target)) for target in itertools.product(range(6), repeat=3)]
        config = codd.LikelihoodConfig(estimator="chain", order=order, **ALWAYS)
        values = [one.value for one in codd.log_likelihood(tiny, pairs, config, circuit, batch_size=256)]
        assert math.fsum(map(math.exp, values)) == pytest.approx(1, abs=1e-4)

    def test_what_is_greedy_is_greedy(self, tiny, circuit):
        config = codd.LikelihoodConfig(estimator="chain", order="confident", is_greedy=True, **ALWAYS)
        pairs = [([2, 0, 1], list(target)) for target in itertools.product(range(6), repeat=3)]
        likelihoods = codd.log_likelihood(tiny, pairs, config, circuit)
        assert sum(one.is_greedy for one in likelihoods) == 1


class TestMonteCarlo:
    def test_it_agrees_with_exact_and_batches_change_nothing(self, tiny, circuit):
        pairs = pairs_of(6, (4, 5, 6))
        exact = codd.log_likelihood(tiny, pairs, codd.LikelihoodConfig(estimator="exact", **ALWAYS), circuit)
        config = codd.LikelihoodConfig(num_samples=64, **ALWAYS)
        one_by_one, together = (codd.log_likelihood(tiny, pairs, config, circuit, batch_size=b) for b in (1, 50))
        for drawn, other, true in zip(one_by_one, together, exact, strict=True):
            assert abs(drawn.value - true.value) < 4 * drawn.stderr
            assert drawn.value == pytest.approx(other.value, abs=1e-3)
            assert (drawn.num_forward, drawn.num_circuit) == (other.num_forward, other.num_circuit)

    def test_where_the_circuit_rules_everything_out_the_backbone_speaks_alone(self, tiny):
        emission = torch.zeros(2, 6, dtype=torch.float64)
        emission[:, 0] = 1
        only_zeros = HMM(torch.tensor([0.5, 0.5]).double(), torch.full((2, 2), 0.5).double(), emission, WIDTH)
        pairs = [([1], [3, 3, 3])]
        config = codd.LikelihoodConfig(estimator="chain", **ALWAYS)
        (coupled,), (alone,) = (codd.log_likelihood(tiny, pairs, config, each) for each in (only_zeros, None))
        # The first is masked with the rest: the circuit has mass, but none for a 3.
        assert coupled.value == -math.inf
        assert coupled.num_circuit == 3 and coupled.num_impossible == 2
        assert math.isfinite(alone.value)

    def test_a_circuit_of_fewer_tokens_is_refused(self, tiny):
        small = random_circuit(0, num_positions=WIDTH, vocab_size=4)
        with pytest.raises(ValueError, match="the circuit's vocabulary of 4 tokens is smaller than the backbone's 6"):
            codd.log_likelihood(tiny, [([1], [2])], codd.LikelihoodConfig(), small)
