"""Caches, thresholds and factors: rules written out, and properties of whole decodes. Parity is in test_goldens."""

import dataclasses
import itertools

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.decoding.commitment import make_floor, surest
from lm_eval_codd.decoding.network import Cached
from lm_eval_codd.decoding.slots import Slots
from tests.decoding.test_batches import an_end
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_loop import PROMPTS, SMALL

CACHES = ("prefix", "dual")
MODES = [
    *({"cache": cache, **extra} for cache in CACHES for extra in ({}, {"threshold": 0.4}, {"paradigm": "full"})),
    {"threshold": 0.4},
    {"threshold": 0.4, "paradigm": "full"},
    {"factor": 1.0},
    {"cache": "dual", "factor": 1.5},
    {"cache": "dual", "temperature": 0.7, "alg": "margin"},
    {"cache": "prefix", "temperature": 0.7, "alg": "random"},
]
# Settings with which rows take steps of their own in number.
FLOORS = {"threshold", "factor"}


class Fixed:
    """A backbone that always gives the same logits for a position of the answer."""

    family, mask_id, eos_id, eot_id, vocab_size = "llada", 9, 8, None, 10

    def __init__(self, logits, prompt_length=1):
        self.table, self.prompt_length = logits, prompt_length

    def logits(self, tokens, attention_mask=None, positions=None):
        return self.table[positions - self.prompt_length]


def sure_of(*shares):
    """Logits [G, V] that give token 0 these probabilities."""
    table = torch.zeros(len(shares), Fixed.vocab_size)
    share = torch.tensor(shares, dtype=torch.float64)
    table[:, 0] = (share / (1 - share) * (Fixed.vocab_size - 1)).log()
    return table


def commits(backbone, **settings):
    """The answer's columns that each step commits."""
    events = []
    config = codd.DecodingConfig(stop_at_eos=False, **settings)
    codd.generate(backbone, [[1]], config, on_step=events.append)
    return [sorted(event.columns[event.commit].tolist()) for event in events]


class TestARowIsAlone:
    @pytest.mark.parametrize("mode", [mode for mode in MODES if "cache" in mode and len(mode.keys() & FLOORS)], ids=str)
    def test_passes_over_all_slots_in_order_decode_alike(self, backbone, mode, monkeypatch):
        """As a GPU has them: rows that begin a block and slots without a row are among them."""
        config = codd.DecodingConfig(**SMALL, **mode)
        alone = codd.generate(backbone, PROMPTS, config, batch_size=1)
        spread, make = [], Cached.__init__

        def make_as_on_a_gpu(self, *arguments):
            make(self, *arguments)
            self._is_launched = True

        def noted(self, slots, values, **filling):
            spread.append(len(slots) < self.number)
            return place(self, slots, values, **filling)

        place = Slots.spread
        monkeypatch.setattr(Cached, "__init__", make_as_on_a_gpu)
        monkeypatch.setattr(Slots, "spread", noted)
        together = codd.generate(backbone, PROMPTS, config, batch_size=3)
        assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]
        assert any(spread) == (mode["cache"] == "dual")

    @pytest.mark.parametrize("mode", MODES, ids=str)
    @pytest.mark.parametrize("batch_size", [2, 3, None])
    def test_batches_of_any_size_decode_alike_while_rows_end_and_join(self, backbone, mode, batch_size):
        end = an_end(backbone, codd.DecodingConfig(stop_at_eos=False, **SMALL, **mode))
        config = codd.DecodingConfig(eos_id=end, **SMALL, **mode)
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config, batch_size=batch_size) == alone
        assert len({answer.num_forward for answer in alone}) > 1

    @pytest.mark.parametrize(
        "mode",
        [
            {"cache": "dual"},
            {"cache": "prefix", "threshold": 0.3},
            {"factor": 1.0},
            {"cache": "dual", "paradigm": "full"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("pc_sampling", ["latent", "any_order"])
    def test_so_they_do_with_a_circuit(self, backbone, mode, pc_sampling):
        circuit = random_circuit(backbone.vocab_size, SMALL["block_length"], 4)
        config = codd.DecodingConfig(pc_frac=0.9, pc_sampling=pc_sampling, **SMALL, **mode)
        alone = [codd.generate(backbone, [prompt], config, circuit=circuit)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config, circuit=circuit, batch_size=3) == alone
        assert sum(answer.num_circuit for answer in alone) > 0
        assert alone != [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]


class TestCaches:
    @pytest.mark.parametrize("cache", CACHES)
    def test_with_one_step_a_block_nothing_is_read_from_the_cache(self, load, cache):
        backbone = load("llada-tiny")
        exact = codd.DecodingConfig(**SMALL | {"num_steps": 4}, stop_at_eos=False)
        cached = dataclasses.replace(exact, cache=cache)
        assert codd.generate(backbone, PROMPTS, cached) == codd.generate(backbone, PROMPTS, exact)

    def test_the_two_and_none_are_three_decodes(self, backbone):
        answers = [
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(cache=cache, stop_at_eos=False, **SMALL))
            for cache in ("none", *CACHES)
        ]
        assert all(one != other for one, other in itertools.combinations(answers, 2))

    @pytest.mark.parametrize(("cache", "widths"), [("prefix", [32, 24, 16, 8]), ("dual", [8, 8, 8, 8])])
    def test_a_block_begins_with_a_full_pass_and_goes_on_with_its_own_columns(self, load, cache, widths):
        backbone, passes = load("llada-tiny"), []

        class Spy(type(backbone)):
            def __init__(self):
                self.__dict__.update(vars(backbone))

            def hidden_at(self, tokens, attention_mask=None, positions=None, *, start=None, width=None, **kwargs):
                passes.append(tokens.shape[1] if start is None else width)
                return backbone.hidden_at(tokens, attention_mask, positions, start=start, width=width, **kwargs)

        config = codd.DecodingConfig(cache=cache, stop_at_eos=False, **SMALL | {"num_steps": 12})
        codd.generate(Spy(), PROMPTS[:1], config)
        assert passes == [length for width in widths for length in (35, width, width)]

    def test_dreams_full_pass_decides_the_blocks_first_position_and_no_other(self, load):
        for settings in ({"num_steps": 8}, {"num_steps": 8, "threshold": 1e-6}):
            events = []
            config = codd.DecodingConfig(cache="dual", stop_at_eos=False, **SMALL | settings)
            codd.generate(load("dream-tiny"), PROMPTS[:1], config, on_step=events.append)
            columns = [event.columns[event.commit].tolist() for event in events]
            assert columns[0::2] == [[0], [8], [16], [24]]
            assert [sorted(some) for some in columns[1::2]] == [list(range(b + 1, b + 8)) for b in (0, 8, 16, 24)]

    def test_a_backbone_without_keys_and_values_is_refused(self):
        with pytest.raises(ValueError, match="`cache=dual` needs a backbone that keeps keys and values, and Fixed"):
            commits(Fixed(sure_of(*[0.5] * 8)), cache="dual", gen_length=8, block_length=4, num_steps=2)

    def test_with_a_cache_the_block_is_the_circuits_window(self, load):
        backbone = load("dream-tiny")
        config = codd.DecodingConfig(cache="dual", paradigm="full", **SMALL)
        with pytest.raises(ValueError, match="`block_length=8` must equal the circuit's window of 4"):
            codd.generate(backbone, PROMPTS, config, circuit=random_circuit(backbone.vocab_size, 4, 2))


class TestThreshold:
    def test_a_step_commits_what_reaches_it_and_the_surest_at_least(self):
        backbone = Fixed(sure_of(0.3, 0.95, 0.6, 0.9000001, 0.2, 0.1, 0.89, 0.5))
        settings = {"gen_length": 8, "block_length": 4, "num_steps": 2, "threshold": 0.9}
        assert commits(backbone, **settings) == [[1, 3], [2], [0], [6], [7], [4], [5]]

    def test_a_block_ends_when_it_is_full(self):
        settings = {"gen_length": 8, "block_length": 4, "num_steps": 8, "threshold": 0.5}
        assert commits(Fixed(sure_of(*[0.9] * 8)), **settings) == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert commits(Fixed(sure_of(*[0.9] * 8)), **settings, paradigm="full") == [[*range(8)]]

    def test_a_backbone_that_predicts_the_mask_comes_to_an_end(self):
        table = sure_of(*[0.9] * 8).roll(-1, dims=1)
        steps = commits(Fixed(table), gen_length=8, block_length=4, num_steps=8, threshold=0.5)
        assert [{column // 4 for column in step} for step in steps] == [{0}] * 4 + [{1}] * 4

    def test_any_order_stops_at_the_first_token_below_it(self):
        backbone = Fixed(sure_of(0.3, 0.95, 0.6, 0.93))
        uniform = torch.full((1, 10), 0.1)
        circuit = codd.circuits.HMM(torch.ones(1), torch.ones(1, 1), uniform, 4)
        events = []
        config = codd.DecodingConfig(
            gen_length=4,
            block_length=4,
            num_steps=1,
            threshold=0.9,
            pc_sampling="any_order",
            pc_frac=1.5,
            pc_temperature=1.0,
            stop_at_eos=False,
        )
        output = codd.generate(backbone, [[1]], config, circuit=circuit, on_step=events.append)[0]
        assert [event.columns[event.commit].tolist() for event in events] == [[1, 3], [2], [0]]
        # Each step also evaluates the circuit for the token that stops it; the last one has none left.
        assert output.num_circuit == 3 + 2 + 1


class TestFactor:
    def test_the_nth_surest_needs_one_minus_factor_over_n_plus_one(self):
        shares = torch.tensor([[0.99, 0.2, 0.7, 0.8, 0.9, 0.77]], dtype=torch.float64)
        everything = torch.ones_like(shares, dtype=torch.bool)
        for factor in (0.05, 0.3, 0.6, 1.0, 5.0):
            floor = make_floor(codd.DecodingConfig(factor=factor))
            ordered = sorted(shares[0].tolist(), reverse=True)
            number = 1
            while number < 6 and ordered[number] >= 1 - factor / (number + 2):
                number += 1
            chosen = surest(shares, everything, torch.tensor([6]), floor)
            assert sorted(shares[chosen].tolist(), reverse=True) == ordered[:number]

    def test_positions_that_cannot_be_committed_do_not_count(self):
        shares = torch.tensor([[0.99, 0.9, 0.2, 0.9]], dtype=torch.float64)
        committable = torch.tensor([[False, True, True, True]])
        chosen = surest(shares, committable, torch.tensor([4]), make_floor(codd.DecodingConfig(threshold=0.9)))
        assert chosen.tolist() == [[False, True, False, True]]
