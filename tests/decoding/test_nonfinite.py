"""Logits that are not numbers: the row is counted and keeps its text, and the others go on as if it were not there."""

import pytest

import lm_eval_codd as codd
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_loop import SMALL

INF = float("inf")
MARK = 200  # stands in the prompt whose logits are spoiled
PROMPTS = [[11, 12, 13], [7] * 6, [MARK, 3, 45], [1]]
SICK = 2
SETTINGS = [
    {},
    {"temperature": 0.7},
    {"temperature": 0.7, "top_p": 0.9, "top_k": 9},
    {"alg": "margin", "temperature": 0.7, "top_p": 0.9},
    {"alg": "entropy", "alg_temp": 0.5, "confidence_eos_eot_inf": True},
    {"alg": "random", "paradigm": "full"},
    {"threshold": 0.5},
    {"cfg_scale": 1.0},
    {"paradigm": "full"},
]
COUPLED = [
    {"pc_sampling": sampling, **windows}
    for sampling in ("latent", "any_order", "marginal", "map")
    for windows in ({}, {"paradigm": "full"}, {"paradigm": "full", "pc_windows": "cover", "temperature": 0.7})
]


class Injecting:
    """A backbone that spoils the logits of one prompt's row."""

    def __init__(self, backbone, spoil, from_masks=0):
        self.backbone, self.spoil, self.from_masks = backbone, spoil, from_masks
        self.family, self.vocab_size = backbone.family, backbone.vocab_size
        self.mask_id, self.eos_id, self.eot_id = backbone.mask_id, backbone.eos_id, backbone.eot_id

    def logits(self, tokens, attention_mask=None, positions=None):
        logits = self.backbone.logits(tokens, attention_mask, positions).float()
        end = tokens.shape[1] - SMALL["gen_length"]
        is_sick = (tokens[:, :end] == MARK).any(dim=1)
        is_sick &= (tokens[:, end:] == self.mask_id).sum(dim=1) >= self.from_masks
        logits[is_sick] = self.spoil(logits[is_sick])
        return logits


def put(value, where=...):
    def spoil(logits):
        logits = logits.clone()
        logits[(..., where)] = value
        return logits

    return spoil


SPOILS = {"nan": put(float("nan"), 17), "inf": put(INF, 17), "nothing": put(-INF)}


class TestARowWithSuchLogits:
    @pytest.mark.parametrize(
        ("settings", "spoil"),
        [*((settings, "nan") for settings in SETTINGS), *((settings, "inf") for settings in SETTINGS[:3])]
        + [(settings, "nothing") for settings in SETTINGS[:3]],
        ids=str,
    )
    def test_is_counted_and_leaves_the_others_alone(self, backbone, settings, spoil):
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL, **settings)
        healthy = codd.generate(backbone, PROMPTS, config)
        outputs = codd.generate(Injecting(backbone, SPOILS[spoil]), PROMPTS, config, batch_size=3)
        assert [output for row, output in enumerate(outputs) if row != SICK] == [
            output for row, output in enumerate(healthy) if row != SICK
        ]
        assert outputs[SICK].num_nonfinite == outputs[SICK].num_forward > 0
        assert len(outputs[SICK].tokens) == SMALL["gen_length"]
        assert {output.num_nonfinite for output in healthy} == {0}

    @pytest.mark.parametrize("settings", COUPLED, ids=str)
    def test_so_it_is_with_a_circuit(self, backbone, settings):
        circuit = random_circuit(backbone.vocab_size, SMALL["block_length"], 4)
        config = codd.DecodingConfig(stop_at_eos=False, pc_frac=0.9, **SMALL, **settings)
        healthy = codd.generate(backbone, PROMPTS, config, circuit=circuit)
        outputs = codd.generate(Injecting(backbone, SPOILS["nan"]), PROMPTS, config, circuit=circuit)
        assert [output for row, output in enumerate(outputs) if row != SICK] == [
            output for row, output in enumerate(healthy) if row != SICK
        ]
        assert outputs[SICK].num_nonfinite == outputs[SICK].num_forward > 0

    def test_only_the_steps_count_in_which_they_were_such(self, backbone):
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL | {"num_steps": 8})
        per_step = SMALL["gen_length"] // 8
        spoiled = Injecting(backbone, SPOILS["nan"], from_masks=SMALL["gen_length"] - 2 * per_step)
        output = codd.generate(spoiled, PROMPTS, config)[SICK]
        assert (output.num_nonfinite, output.num_forward) == (3, 8)

    def test_tokens_of_minus_infinity_are_merely_ruled_out(self, backbone):
        config = codd.DecodingConfig(stop_at_eos=False, logits_eos_inf=True, **SMALL)
        outputs = codd.generate(Injecting(backbone, put(-INF, slice(40, None))), PROMPTS, config)
        assert {output.num_nonfinite for output in outputs} == {0}
        assert max(outputs[SICK].tokens) < 40
