"""The counter-based random numbers."""

import math

import torch

from lm_eval_codd.tensors.noise import Stream, gumbel, row_keys, uniforms

CPU = torch.device("cpu")


def draws(seed=1, stream=Stream.TOKEN, step=3, width=4096, prompt=(1, 2, 3), repeat=0):
    keys = row_keys(seed, [prompt], [repeat], CPU)
    return uniforms(keys, stream, torch.tensor([step]), torch.arange(width)[None])[0]


class TestUniforms:
    def test_they_are_uniform_and_inside_the_open_interval(self):
        values = draws(width=200_000)
        assert values.min() > 0
        assert values.max() < 1
        counts = torch.histc(values, bins=50, min=0, max=1)
        chi_square = ((counts - 4000) ** 2 / 4000).sum()
        assert 20 < chi_square < 90  # 49 degrees of freedom: both tails beyond 1 in 1000

    def test_neighbouring_columns_steps_streams_and_seeds_are_uncorrelated(self):
        base = draws()
        others = [
            base.roll(1),
            draws(step=4),
            draws(stream=Stream.RANK),
            draws(seed=2),
            draws(repeat=1),
            draws(prompt=(1, 2, 4)),
        ]
        for other in others:
            correlation = torch.corrcoef(torch.stack([base, other]))[0, 1]
            assert abs(correlation) < 4 / math.sqrt(len(base))

    def test_a_draw_depends_on_its_own_row_step_and_column_only(self):
        keys = row_keys(1, [(1, 2, 3), (4,)], [0, 0], CPU)
        columns = torch.tensor([[5, 9], [7, 5]])
        values = uniforms(keys, Stream.TOKEN, torch.tensor([3, 8]), columns)
        assert values[0].tolist() == draws()[[5, 9]].tolist()
        assert values[1].tolist() == draws(prompt=(4,), step=8)[[7, 5]].tolist()

    def test_prompts_that_read_alike_have_different_keys(self):
        keys = row_keys(1, [(1, 23), (12, 3), (1, 2, 3), ()], [0] * 4, CPU)
        assert len(set(keys.tolist())) == 4

    def test_gumbel_has_its_mean(self):
        assert abs(gumbel(draws(width=100_000)).mean() - 0.57722) < 0.02
