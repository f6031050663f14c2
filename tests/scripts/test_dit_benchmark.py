"""The benchmark of the DiT family's samplers, on very little."""

import argparse

import pytest
import torch
from benchmarks import dit as dit_benchmark

import lm_eval_codd as codd
from lm_eval_codd.dit import DiT
from lm_eval_codd.dit.schedules import sampling_times
from tests.scripts.test_harness_benchmarks import measure

TINY = ("--blocks", "1", "--width", "16", "--heads", "2", "--vocab-size", "64", "--length", "32")


def test_it_measures_memory_and_the_ratio():
    figures = measure("dit", *TINY, "--rows", "3", "--steps", "4", "--rounds", "1")
    assert figures["dit.mdlm.samples_per_second_ratio"] > 0
    assert 0.1 < figures["dit.mdlm.peak_memory"] < 6 and 0.1 < figures["dit.duo.peak_memory"] < 6


def test_the_plain_formula_draws_what_the_sampler_draws_from_the_same_numbers():
    parser = argparse.ArgumentParser()
    dit_benchmark.add_arguments(parser)
    arguments = parser.parse_args([*TINY])
    dit = DiT(dit_benchmark.random_network(arguments), dit_benchmark.config_of("mdlm", arguments))
    noise = torch.rand(3, 4, 32, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = codd.sample_dit(dit, 4, 32, 3, noise_removal="none", uniforms=lambda step: noise[step])
    drawn = dit_benchmark.plain(dit, 4, 32, sampling_times(3), lambda step, row, shape, device: noise[step, row])
    assert drawn.tolist() == [sample.tokens for sample in samples]
    left = [
        sum(token == dit.mask_id for row in dit_benchmark.sampled(dit, 4, 32, sampling_times(8)[:n]) for token in row)
        for n in (3, 9)
    ]
    assert 70 < left[0] < 118 and left[1] < 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--heads", "3", "--width", "16"), "`--heads 3`"), (("--timed-steps", "9", "--steps", "8"), "`--timed-steps 9`")],
)
def test_sizes_that_cannot_be(arguments, said):
    parser = argparse.ArgumentParser()
    dit_benchmark.add_arguments(parser)
    with pytest.raises(ValueError, match=said):
        dit_benchmark.run(parser.parse_args([*arguments]))
