"""The benchmark of the DiT family's samplers, on very little."""

import argparse

import pytest
import torch
from benchmarks import dit as dit_benchmark

import lm_eval_codd as codd
from lm_eval_codd.dit import DiT
from lm_eval_codd.dit.schedules import sampling_times
from tests.scripts.test_harness_benchmarks import measure

TINY = ("--blocks", "1", "--width", "16", "--heads", "2", "--vocab-size", "64", "--length", "32", "--device", "cpu")


def arguments_of(*words):
    parser = argparse.ArgumentParser()
    dit_benchmark.add_arguments(parser)
    return parser.parse_args(words)


def test_it_measures_memory_and_the_ratio():
    figures = measure("dit", *TINY, "--rows", "3", "--steps", "4", "--rounds", "1")
    assert figures["dit.mdlm.samples_per_second_ratio"] > 0
    assert 0.1 < figures["dit.mdlm.peak_memory"] < 6 and 0.1 < figures["dit.duo.peak_memory"] < 6
    assert "dit.mdlm.samples_per_second" not in figures


def test_all_steps_give_whole_samples(monkeypatch):
    seen = []
    sampled, plain = dit_benchmark.sampled, dit_benchmark.plain
    monkeypatch.setattr(dit_benchmark, "sampled", lambda *args: seen.append(args[3]) or sampled(*args))
    monkeypatch.setattr(dit_benchmark, "plain", lambda *args: seen.append(args[3]) or plain(*args))
    arguments = arguments_of(*TINY, "--rows", "3", "--steps", "4", "--timed-steps", "4", "--rounds", "1")
    figures = {row.name: row.value for row in dit_benchmark.run(arguments)}
    assert [times.tolist() for times in seen] == [sampling_times(4).tolist()] * 3
    for name in ("mdlm", "duo", "plain"):
        a_step, a_second = figures[f"dit.{name}.seconds_per_step"], figures[f"dit.{name}.samples_per_second"]
        assert 4 * a_step * a_second == pytest.approx(3)


def test_the_plain_formula_draws_what_the_sampler_draws_from_the_same_numbers():
    arguments = arguments_of(*TINY)
    dit = DiT(dit_benchmark.random_network(arguments, torch.device("cpu")), dit_benchmark.config_of("mdlm", arguments))
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
    [
        (("--heads", "3", "--width", "16"), "`--heads 3`"),
        (("--timed-steps", "9", "--steps", "8"), "`--timed-steps 9`"),
        (("--device", "cuda:99"), "`--device cuda:99` is not there"),
        (("--device", "gpu"), "`--device gpu` is no device of torch"),
    ],
)
def test_sizes_that_cannot_be(arguments, said):
    with pytest.raises(ValueError, match=said):
        dit_benchmark.run(arguments_of(*arguments))
