"""What each step of corrective refinement made of a row: one decode holds those with fewer steps."""

import math

import pytest
import torch

import lm_eval_codd as codd
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_corrective import EXACT, MASK, config_of
from tests.device_waits import Operations

GIVEN = [case for case in EXACT if config_of(case).remask_schedule is None]
SMALL = {"decoder": "corrective", "num_steps": 6, "threshold": 0.5}
PROMPTS = [[1 + index, 5] * (1 + index % 3) for index in range(7)]
DRAFTS = [[20 + index, 7, 9] * (1 + index % 4) for index in range(7)]


def revise(case, **settings):
    """A case decoded with its rounds kept, or with other settings."""
    return codd.generate(
        StubBackbone(case["stub"]),
        [[] for _ in case["input_ids"]],
        config_of(case, **settings),
        drafts=case["input_ids"],
        fixed=[[bool(fixed) for fixed in row] for row in case["fix_mask"]],
        keep_rounds=True,
    )


def variable_of(case):
    """(row, column) of what may change, in the order of the goldens' lists."""
    return [tuple(place) for place in (1 - torch.tensor(case["fix_mask"])).nonzero().tolist()]


class TestRounds:
    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_are_the_official_states_but_for_what_is_masked_again(self, case):
        """What official code had there before it masked again is not in the goldens; its confidences are, elsewhere."""
        outputs, filled = revise(case), 0
        assert len(case["history"]) == len(outputs[0].rounds) == case["params"]["steps"]
        for number, official in enumerate(case["history"]):
            for row, output in enumerate(outputs):
                after, masked_again = official["sequence"][row], official["remask"][row]
                for one, token, masked in zip(output.rounds[number], after, masked_again, strict=True):
                    assert token == one or (masked and token == MASK)
                    filled += masked and token == MASK != one
        assert filled or "predicts_mask" in case["id"] or case["output"] == case["input_ids"]

    @pytest.mark.parametrize("case", GIVEN, ids=lambda case: case["id"])
    def test_are_the_answers_of_decodes_with_fewer_steps(self, case):
        rounds = [output.rounds for output in revise(case)]
        for num_steps in range(1, case["params"]["steps"] + 1):
            shorter = revise(case, num_steps=num_steps)
            assert [output.tokens for output in shorter] == [of_row[num_steps - 1] for of_row in rounds]

    def test_hold_for_drawn_tokens_too(self, load):
        settings = {**SMALL, "temperature": 0.8, "stop_at_eos": False}
        found = codd.generate(
            load("llada-tiny"), PROMPTS, codd.DecodingConfig(**settings), drafts=DRAFTS, keep_rounds=True
        )
        for num_steps in range(1, 7):
            config = codd.DecodingConfig(**{**settings, "num_steps": num_steps})
            shorter = codd.generate(load("llada-tiny"), PROMPTS, config, drafts=DRAFTS)
            assert [one.tokens for one in shorter] == [one.rounds[num_steps - 1] for one in found]

    def test_of_a_schedule_are_not(self):
        differing = 0
        for case in EXACT:
            if case not in GIVEN and case["params"]["steps"] > 2:
                shorter = revise(case, num_steps=case["params"]["steps"] - 1)
                differing += [one.tokens for one in shorter] != [one.rounds[-2] for one in revise(case)]
        assert differing

    def test_end_with_the_answer(self):
        for case in EXACT:
            assert all(output.rounds[-1] == output.tokens for output in revise(case))

    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_first_confidences_are_the_official_ones(self, case):
        outputs = revise(case)
        official = dict(zip(variable_of(case), case["history"][0]["conf_variable"], strict=True))
        for row, output in enumerate(outputs):
            assert len(output.first_confidence) == len(output.tokens)
            for column, confidence in enumerate(output.first_confidence):
                if (row, column) in official and output.num_forward and case["params"]["steps"] > 1:
                    assert confidence == pytest.approx(official[row, column], abs=2e-6)
                elif (row, column) not in official:
                    assert math.isnan(confidence)

    def test_of_a_row_do_not_depend_on_its_batch(self, load):
        config = codd.DecodingConfig(**SMALL)
        backbone = load("llada-tiny")
        found = [
            codd.generate(backbone, PROMPTS, config, drafts=DRAFTS, batch_size=size, keep_rounds=True)
            for size in (1, 2, 7)
        ]
        for alone, *others in zip(*found, strict=True):
            assert [len(answer) for answer in alone.rounds] == [len(alone.tokens)] * 6
            for other in others:
                assert other.rounds == alone.rounds
                assert other.first_confidence == pytest.approx(alone.first_confidence, abs=1e-6)

    def test_change_no_answer_and_are_not_there_unasked(self, load):
        config = codd.DecodingConfig(**SMALL)
        without = codd.generate(load("llada-tiny"), PROMPTS, config, drafts=DRAFTS)
        kept = codd.generate(load("llada-tiny"), PROMPTS, config, drafts=DRAFTS, keep_rounds=True)
        assert [one.tokens for one in kept] == [one.tokens for one in without]
        assert {(one.rounds, one.first_confidence) for one in without} == {(None, None)}

    def test_wait_for_the_device_no_more_than_without(self, load):
        def waits(keep_rounds):
            config = codd.DecodingConfig(**SMALL)
            with Operations() as operations:
                outputs = codd.generate(load("llada-tiny"), PROMPTS, config, drafts=DRAFTS, keep_rounds=keep_rounds)
            return operations.num_waits, max(output.num_forward for output in outputs)

        (with_rounds, steps), (without, _) = waits(True), waits(False)
        assert steps > 1
        # Two lists of each row that is through, and none a step.
        assert with_rounds - without <= 2 * len(PROMPTS)

    @pytest.mark.parametrize("decoder", ["unmasking", "p2"])
    def test_are_refused_where_a_decoder_keeps_none(self, load, decoder):
        config = codd.DecodingConfig(decoder=decoder)
        with pytest.raises(ValueError, match=f"`keep_rounds` is for `decoder=corrective`, and `decoder={decoder}`"):
            codd.generate(load("llada-tiny"), PROMPTS, config, keep_rounds=True)
