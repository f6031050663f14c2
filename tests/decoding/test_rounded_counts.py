"""The counts of dLLM's sampler (spec/decoders.md 6.1), by which A2D checkpoints are decoded; goldens: test_families."""

import functools
import itertools

import numpy as np
import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.decoding.decoders.schedule import rounded_table
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_loop import PROMPTS

MASK = 31
# Masks, steps -> what each step commits, as the authors' code gave it.
PUBLISHED = {
    (8, 3): [3, 2, 3],
    (32, 5): [6, 6, 7, 6, 7],
    (6, 4): [2, 1, 2, 1],
    (4, 3): [1, 1, 2],
    (10, 3): [3, 3, 4],
    (15, 6): [3, 2, 2, 3, 2, 3],
}
SHORT_LAST = {"gen_length": 20, "block_length": 8, "num_steps": 7}


def table(num_masks, num_steps):
    return [step.quota for step in rounded_table(num_steps, num_masks)]


@functools.cache
def shares(num_steps):
    """The formula of the specification, a step and a number at a time."""
    one, found = np.float32(1), []
    for j in range(num_steps):
        t, s = (num_steps - j) / num_steps, (num_steps - j - 1) / num_steps
        found.append(1.0 - float((one - (one - np.float32(s))) / (one - (one - np.float32(t)))))
    return found


def written_out(num_masks, num_steps):
    counts = []
    for share in shares(num_steps):
        counts.append(min(num_masks, round(num_masks * share)))
        num_masks -= counts[-1]
    return counts


def mdlm(model, prompt, gen_length, block_length, num_steps):
    """The sampler for one row, greedy: the answer, and its evaluations. The first of equal confidences goes first."""
    num_blocks = -(-gen_length // block_length)
    x = torch.tensor([prompt + [MASK] * gen_length])
    start, num_forward = len(prompt), 0
    for block in range(num_blocks):
        begin, end = start + block * block_length, start + min((block + 1) * block_length, gen_length)
        counts = written_out(int((x[0, begin:end] == MASK).sum()), -(-num_steps // num_blocks))
        for count in filter(None, counts):
            open_ = (x[0, start:] == MASK) & (torch.arange(start, x.shape[1]) < end)
            if not open_.any():
                continue  # officially one more evaluation, which changes nothing
            probabilities = model.logits_for(x)[0, start:].double().softmax(-1)
            confidence, tokens = probabilities.max(-1)
            order = confidence.masked_fill(~open_, -1).argsort(descending=True, stable=True)
            chosen = [place for place in order.tolist() if open_[place]][:count]
            x[0, start + torch.tensor(chosen)] = tokens[chosen]
            num_forward += 1
    return x[0, start:].tolist(), num_forward


def a2d(**settings) -> codd.DecodingConfig:
    return codd.DecodingConfig.for_family("a2d", **{"stop_at_eos": False, **settings})


def stub(family="a2d", **settings) -> StubBackbone:
    backbone = StubBackbone({"vocab": 32, "seed": 5, **settings})
    backbone.family = family
    return backbone


class TestCounts:
    @pytest.mark.parametrize(("shape", "counts"), PUBLISHED.items(), ids=str)
    def test_float32_decides_ties_as_in_the_authors_code(self, shape, counts):
        assert table(*shape) == written_out(*shape) == counts

    def test_they_are_the_formulas_for_every_small_shape(self):
        for shape in itertools.product((*range(1, 34), 63, 64), (*range(1, 34), 79)):
            assert table(*shape) == written_out(*shape), shape
            assert sum(table(*shape)) == shape[0], shape

    def test_they_are_lladas_where_the_steps_divide_the_masks_and_one_each_where_there_are_more_steps(self):
        for masks in (1, 6, 12, 32, 60, 64, 90, 128):
            for steps in (s for s in range(1, masks + 1) if masks % s == 0):
                assert table(masks, steps) == [masks // steps] * steps
            assert [count for count in table(masks, masks + 7) if count] == [1] * masks


class TestDecode:
    @pytest.mark.parametrize("num_steps", [1, 7, 40])
    @pytest.mark.parametrize("shape", [(20, 8), (16, 8), (12, 12), (5, 8)], ids=str)
    @pytest.mark.parametrize("mask_bias", [-3000, 250], ids=["never", "often predicts the mask"])
    def test_it_is_the_sampler_row_by_row(self, shape, num_steps, mask_bias):
        backbone = stub(bias={"31": mask_bias})
        prompts = [[5, 9, 14], [3] * 7, [1]]
        config = a2d(gen_length=shape[0], block_length=shape[1], num_steps=num_steps)
        for prompt in prompts:
            (output,) = codd.generate(backbone, [prompt], config)
            assert (output.tokens, output.num_forward) == mdlm(backbone.model, prompt, *shape, num_steps)

    def test_masks_that_an_earlier_block_was_left_with_compete(self):
        backbone, events = stub(bias={"31": 250}), []
        shape = {"gen_length": 16, "block_length": 8, "num_steps": 16}
        (rounded,) = codd.generate(backbone, [[5, 9, 14]], a2d(**shape), on_step=events.append)
        behind = [event for event in events if event.number[0] >= 8]
        assert any(((event.columns < 8) & event.commit & (event.tokens != MASK)).any() for event in behind)
        (even,) = codd.generate(backbone, [[5, 9, 14]], a2d(**shape, counts="even"))
        assert rounded.tokens[:8].count(MASK) < even.tokens[:8].count(MASK)

    def test_steps_without_a_count_need_no_evaluation(self):
        (output,) = codd.generate(stub(bias={"31": -3000}), [[5]], a2d(gen_length=3, block_length=3, num_steps=64))
        assert output.num_forward == 3

    def test_a_plain_config_means_them_for_an_a2d_backbone_and_no_other(self):
        shape = {"gen_length": 8, "block_length": 8, "num_steps": 3, "stop_at_eos": False}
        counts = {}
        for family, given in (("a2d", None), ("llada", None), ("llada", "rounded"), ("a2d", "even")):
            events = []
            config = codd.DecodingConfig(counts=given, **shape)
            codd.generate(stub(family, bias={"31": -3000}), [[5]], config, on_step=events.append)
            counts[family, given] = [int(event.commit.sum()) for event in events]
        assert counts == {
            ("a2d", None): [3, 2, 3],
            ("llada", None): [3, 3, 2],
            ("llada", "rounded"): [3, 2, 3],
            ("a2d", "even"): [3, 3, 2],
        }


class TestARowIsAlone:
    @pytest.mark.parametrize(
        "settings",
        [{}, {"temperature": 0.8}, {"cfg_scale": 0.5}, {"cache": "dual"}, {"cache": "prefix"}, {"threshold": 0.4}],
        ids=str,
    )
    def test_batches_of_any_size_decode_alike(self, load, settings):
        class A2D:
            family = "a2d"
            splits = True

            def __getattr__(self, name):
                return getattr(load("llada-tiny"), name)

        shape = {"gen_length": 24, "block_length": 8, "num_steps": 6} if "threshold" in settings else SHORT_LAST
        config = a2d(**{**shape, "stop_at_eos": True, **settings})
        alone = [codd.generate(A2D(), [prompt], config)[0] for prompt in PROMPTS]
        assert len({tuple(output.tokens) for output in alone}) > 1
        assert codd.generate(A2D(), PROMPTS, config, batch_size=3) == alone

    def test_with_a_circuit_too(self, load):
        backbone = stub(bias={"31": 250})
        circuit = random_circuit(32, 8, latents=6)
        config = a2d(gen_length=16, block_length=8, num_steps=6, pc_frac=0.9)
        alone = [codd.generate(backbone, [prompt], config, circuit=circuit)[0] for prompt in ([5, 9], [3, 6])]
        assert all(output.num_circuit for output in alone)
        assert codd.generate(backbone, [[5, 9], [3, 6]], config, circuit=circuit) == alone


class TestRefusals:
    def test_other_families_still_split_their_steps(self):
        for settings in ({"num_steps": 7}, {"gen_length": 20, "block_length": 8}):
            with pytest.raises(ValueError, match="cannot be"):
                codd.DecodingConfig.for_family("llada", **settings)
            codd.DecodingConfig.for_family("a2d", **settings)
            with pytest.raises(ValueError, match="cannot be"):
                codd.generate(stub("llada"), [[5]], codd.DecodingConfig(**settings))
        with pytest.raises(ValueError, match="`num_steps=7` cannot be split over 16 blocks"):
            codd.DecodingConfig.for_family("a2d", counts="even", num_steps=7)

    def test_an_unknown_word_and_another_decoder(self):
        with pytest.raises(ValueError, match=r"`counts=round` is not known.*did you mean rounded"):
            codd.DecodingConfig(counts="round")
        with pytest.raises(ValueError, match=r"`counts=rounded` is read by decoder=unmasking, not by `decoder=cad`"):
            codd.DecodingConfig(decoder="cad", counts="rounded")

    def test_a_circuit_has_no_window_in_a_shorter_block(self):
        config = a2d(**{**SHORT_LAST, "pc_frac": 0.9})
        with pytest.raises(ValueError, match="`gen_length=20` leaves a last block that is shorter than the circuit's"):
            codd.generate(stub(), [[1]], config, circuit=random_circuit(32, 8, latents=6))

    def test_where_cached_blocks_go_by_the_time_grid(self, load):
        config = codd.DecodingConfig(counts="rounded", cache="dual", gen_length=16, block_length=8, num_steps=4)
        with pytest.raises(ValueError, match="`counts=rounded` is not read with `cache=dual` by a dream checkpoint"):
            codd.generate(load("dream-tiny"), [[1]], config)
