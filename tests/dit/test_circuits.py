"""A circuit in the samplers: the joint law of the tokens, and nothing else, is another one."""

from itertools import product

import pytest
import torch

import lm_eval_codd as codd

from .conftest import random_dit

ALWAYS = 1.1  # a share of masked positions below which every window is open


def joint_law(model, circuit, length: int) -> dict:
    """ids -> probability of a row of masks' product of x_theta and circuit, by enumeration."""
    masks = torch.full((1, length), model.mask_id)
    level = -torch.tensor([1e-3]).log().double()
    clean = model.diffusion.log_clean(model.log_x_theta(masks, level)[0]).exp()
    clean[:, model.mask_id] = 0
    states = list(product(range(model.vocab_size), repeat=length))
    weights = torch.stack([torch.stack([clean[i, s[i]] for i in range(length)]).prod() for s in states])
    shares = circuit.log_partition(torch.zeros(len(states), length, circuit.vocab_size).double(), torch.tensor(states))
    weights = weights * shares.exp()
    return dict(zip(states, (weights / weights.sum()).tolist(), strict=True))


@pytest.mark.parametrize("algo", ["mdlm", "sedd", "d3pm"])
def test_tokens_that_leave_together_have_the_law_of_the_product(algo, make_circuit, times):
    model = random_dit(algo, vocab_size=4, length=2, mask_id=1)
    circuit, number = make_circuit(num_positions=2, num_latents=2, vocab_size=4), times(4000, 50_000)
    # One step from 1 to 1e-5, which all but 2e-5 of the masks leave: at once.
    samples = codd.sample_dit(model, number, 2, 1, noise_removal="none", circuit=circuit, pc_frac=ALWAYS)
    if algo == "d3pm":  # whose mass on the mask lets some stay a moment longer; they come later and are left out
        samples = [sample for sample in samples if model.mask_id not in sample.tokens]
    law, counts = joint_law(model, circuit, 2), {}
    for sample in samples:
        counts[tuple(sample.tokens)] = counts.get(tuple(sample.tokens), 0) + 1
    usual = {ids: len(samples) * share for ids, share in law.items() if len(samples) * share > 5}
    chi_square = sum((counts.get(ids, 0) - mean) ** 2 / mean for ids, mean in usual.items())
    assert len(usual) > 5 and chi_square < len(usual) + 4 * (2 * len(usual)) ** 0.5
    assert {sample.num_circuit for sample in samples} == {1}


def test_who_leaves_the_mask_and_when_is_untouched(make_circuit):
    model = random_dit("mdlm", vocab_size=6, length=7)
    circuit = make_circuit(num_positions=3, num_latents=2, vocab_size=5)  # without the mask, which is the last id
    for steps in range(1, 5):
        alone, coupled = (
            codd.sample_dit(model, 12, 7, steps, noise_removal="none", **options)
            for options in ({}, {"circuit": circuit, "pc_frac": ALWAYS})
        )
        left = [[token == model.mask_id for token in sample.tokens] for sample in alone]
        assert [[token == model.mask_id for token in sample.tokens] for sample in coupled] == left
    assert [sample.tokens for sample in alone] != [sample.tokens for sample in coupled]


def test_a_closed_gate_leaves_everything_as_it_is(make_circuit):
    model = random_dit("mdlm", vocab_size=6, length=7)
    circuit = make_circuit(num_positions=3, num_latents=2, vocab_size=6)
    closed = codd.sample_dit(model, 4, 7, 5, circuit=circuit, pc_frac=0.0)
    assert closed == codd.sample_dit(model, 4, 7, 5)
    assert not any(sample.num_circuit for sample in closed)


@pytest.mark.parametrize("algo", ["mdlm", "sedd", "d3pm"])
def test_rows_are_alone(algo, make_circuit):
    model = random_dit(algo, vocab_size=6, length=7)
    circuit = make_circuit(num_positions=3, num_latents=2, vocab_size=6)
    together = codd.sample_dit(model, 6, 7, 4, circuit=circuit, pc_frac=0.8)
    assert codd.sample_dit(model, 6, 7, 4, circuit=circuit, pc_frac=0.8, batch_size=2) == together
    assert not any(model.mask_id in sample.tokens for sample in together)
    assert any(sample.num_circuit for sample in together)


@pytest.mark.parametrize(
    ("algo", "options", "said"),
    [
        ("duo", {}, "it has no mask"),
        ("ar", {}, "one token at a time"),
        ("mdlm", {"predictor": "analytic"}, "predictor=ancestral"),
        ("mdlm", {"use_float64": False}, "in float64 alone"),
        ("mdlm", {"noise_removal": "greedy"}, "noise_removal=greedy"),
        ("mdlm", {"pc_frac": -1.0}, "`pc_frac=-1`"),
    ],
)
def test_what_it_does_not_go_with_is_one_line(algo, options, said, make_circuit):
    model, circuit = random_dit(algo, vocab_size=6, length=7), make_circuit(num_positions=3, vocab_size=6)
    with pytest.raises(ValueError) as caught:
        codd.sample_dit(model, 2, 7, 2, circuit=circuit, **options)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_circuit_of_another_vocabulary_is_refused(make_circuit):
    model = random_dit("mdlm", vocab_size=6, length=7, mask_id=2)
    with pytest.raises(ValueError, match="vocabulary of 5 tokens is smaller than the 6"):
        codd.sample_dit(model, 2, 7, 2, circuit=make_circuit(num_positions=3, vocab_size=5))
