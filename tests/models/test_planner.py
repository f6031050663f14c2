"""`planner=`: a second checkpoint that scores what P2 decides."""

import pytest

from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.masked_setup import made_by

P2 = {"decoder": "p2", "num_steps": 6, "gen_length": 16, "device": "cpu"}
PROMPTS = ["a", "bb bb", "c" * 9]


class TestPlanner:
    def test_its_calls_are_counted_apart_and_it_is_in_the_result(self, checkpoints, ask):
        lm = LLaDA(checkpoints["llada"], planner=checkpoints["llada"], **P2)
        ask(lm, PROMPTS)
        info = lm.get_model_info()
        assert info["planner_calls"] == info["nfe"] > 0
        assert info["mean_planner_calls"] == info["mean_nfe"]
        assert (info["planner"], info["planner_identity"]) == (checkpoints["llada"], info["checkpoint_identity"])

    def test_without_one_there_are_none(self, checkpoints, ask):
        lm = LLaDA(checkpoints["llada"], **P2)
        ask(lm, PROMPTS)
        info = lm.get_model_info()
        assert (info["planner"], info["planner_identity"], info["planner_calls"]) == (None, None, 0)

    def test_what_it_scores_above_temperature_0_is_said(self, checkpoints):
        cold = LLaDA(checkpoints["llada"], **P2).get_model_info()
        warm = LLaDA(checkpoints["llada"], temperature=0.5, **P2).get_model_info()
        by_chance = LLaDA(checkpoints["llada"], temperature=0.5, score="random", **P2).get_model_info()
        (said,) = warm["departures"]
        assert "tempered distribution" in said
        of_paper = LLaDA(checkpoints["llada"], temperature=0.5, form="paper", **P2).get_model_info()
        assert cold["departures"] == by_chance["departures"] == of_paper["departures"] == []

    def test_ids_that_are_given_are_the_planners_too(self, checkpoints):
        lm = LLaDA(checkpoints["llada"], planner=checkpoints["llada"], mask_id=7, eos_id=8, eot_id=9, **P2)
        assert (lm.planner.mask_id, lm.planner.eos_id, lm.planner.eot_id) == (7, 8, 9)

    def test_a_journalled_answer_is_found_only_with_the_same_planner(self, checkpoints):
        lm = LLaDA(checkpoints["llada"], planner=checkpoints["llada"], **P2)
        parts = (lm.config, lm.backbone, None)
        assert "planner" not in made_by(*parts)
        assert made_by(*parts, lm.planner) == {
            **made_by(*parts),
            "planner": lm.planner.identity,
            "planner_dtype": "float32",
        }

    def test_another_decoder_takes_none(self, checkpoints):
        with pytest.raises(ValueError, match="`planner` is read by decoder=p2, not by `decoder=unmasking`"):
            LLaDA(checkpoints["llada"], planner="nowhere", num_steps=4, gen_length=16, block_length=16)
