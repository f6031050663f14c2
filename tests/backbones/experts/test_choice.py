"""Routing as pure functions: the authors' maps, gates, schedules and factors, and what holds for any logits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lm_eval_codd.backbones.experts.choice import expert_choice, token_choice
from lm_eval_codd.backbones.experts.scaling import expert_choice_factors, token_choice_factor
from lm_eval_codd.backbones.experts.schedules import SCHEDULES, scheduled_k

GOLDENS = Path(__file__).parents[2] / "golden" / "experts"
EXPERT_CHOICE = json.loads((GOLDENS / "ec_router.json").read_text())
TOKEN_CHOICE = json.loads((GOLDENS / "tc_router.json").read_text())
FACTORS = json.loads((GOLDENS / "ec_scaling_factors.json").read_text())
COUNTS = json.loads((GOLDENS / "ec_schedule.json").read_text())


def gates_of(case: dict) -> str:
    return "pre" if case["pre_softmax"] else {"softmax": "post", "sigmoid": "sigmoid"}[case["activation"]]


class TestExpertChoice:
    @pytest.mark.parametrize("case", EXPERT_CHOICE, ids=lambda case: case["name"])
    def test_is_the_authors(self, case):
        golden = load_file(GOLDENS / "ec_router.safetensors")
        logits = golden[f"{case['name']}.logits"].transpose(0, 1)
        k = case["topk"] if case["dynamic_topk"] is None else torch.tensor(case["dynamic_topk"])
        factors = case["scaling_factors"]
        if case["enable_scaling_factor"]:
            factors = expert_choice_factors(case["E"], case["shared_experts"])
        choice, picks = expert_choice(
            logits,
            k,
            gates=gates_of(case),
            scope="batch" if case["batch_level"] else "sequence",
            scale=case["pre_softmax_scaling"] or 1.0,
            factors=None if factors is None else torch.tensor(factors),
        )
        expected = golden[f"{case['name']}.routing_map"].unflatten(0, (case["S"], case["B"])).transpose(0, 1)
        assert torch.equal(choice.map, expected)
        assert choice.map.sum(dim=1).tolist() == case["tokens_per_expert"]
        assert picks.taken.sum() == expected.sum()
        probabilities = golden[f"{case['name']}.probs"].unflatten(0, (case["S"], case["B"])).transpose(0, 1)
        torch.testing.assert_close(choice.gates, probabilities, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("gates", ["pre", "post", "sigmoid"])
    def test_of_a_row_does_not_depend_on_its_padding_or_the_others(self, gates):
        logits, k = torch.randn(3, 11, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3, 2])
        valid = torch.ones(3, 11, dtype=torch.bool)
        valid[1, :5], valid[2, 7:] = False, False
        together, _ = expert_choice(logits, k, gates=gates, valid=valid)
        for row in range(3):
            alone, _ = expert_choice(logits[row][valid[row]][None], k[row : row + 1], gates=gates)
            assert torch.equal(together.map[row][valid[row]], alone.map[0])
            torch.testing.assert_close(together.gates[row][valid[row]], alone.gates[0], atol=1e-7, rtol=0)
            assert not together.map[row][~valid[row]].any()

    def test_takes_the_lower_of_equal_positions(self):
        choice, _ = expert_choice(torch.zeros(1, 6, 2), 1, gates="post")
        assert choice.map[0].any(dim=1).tolist() == [True, True, True, False, False, False]

    def test_with_room_for_all_is_token_choice_of_all_experts(self):
        logits = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(1))
        for gates in ("pre", "post", "sigmoid"):
            by_experts, _ = expert_choice(logits, 5, gates=gates)
            by_tokens, _ = token_choice(logits[0], 5, gates=gates)
            assert torch.equal(by_experts.map[0], by_tokens.map)
            assert torch.equal(by_experts.gates[0], by_tokens.gates)

    def test_gates_of_what_nobody_picked_are_zero_and_the_others_add_up_to_one(self):
        logits = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(2))
        for gates in ("post", "sigmoid"):
            choice, _ = expert_choice(logits, 1, gates=gates)
            sums, picked = choice.gates.sum(dim=-1), choice.map.any(dim=-1)
            assert not picked.all()
            assert (sums[~picked] == 0).all()
            torch.testing.assert_close(sums[picked], torch.ones_like(sums[picked]))


class TestTokenChoice:
    @pytest.mark.parametrize("case", TOKEN_CHOICE, ids=lambda case: case["name"])
    def test_is_the_authors(self, case):
        golden = load_file(GOLDENS / "tc_router.safetensors")
        name = case["name"]
        choice, counts = token_choice(
            golden[f"{name}.logits"], case["topk"], gates=gates_of(case), capacity_factor=case["capacity_factor"]
        )
        assert torch.equal(choice.map, golden[f"{name}.routing_map"])
        assert torch.equal(counts, golden[f"{name}.tokens_per_expert"])
        torch.testing.assert_close(choice.gates, golden[f"{name}.probs"], atol=1e-6, rtol=0)


class TestSchedules:
    @pytest.mark.parametrize("case", COUNTS, ids=lambda case: f"{case['scheduler']}-{case['k_max']}-{case['L']}")
    def test_are_the_authors_for_every_number_of_masks(self, case):
        ratio = torch.tensor(case["masks"], dtype=torch.float32) / case["L"]
        got = scheduled_k(case["scheduler"], ratio, case["k_min"], case["k_max"], case["sigma"])
        assert got.tolist() == case["topk"]

    def test_all_are_there(self):
        assert {case["scheduler"] for case in COUNTS} == SCHEDULES.keys()


class TestScalingFactors:
    @pytest.mark.parametrize("name", FACTORS["ec"])
    def test_of_expert_choice_are_the_authors(self, name):
        experts, shared = (int(part[1:]) for part in name.split("_"))
        assert expert_choice_factors(experts, shared) == pytest.approx(FACTORS["ec"][name], abs=1e-6)

    @pytest.mark.parametrize("name", FACTORS["tc"])
    def test_of_token_choice_are_the_authors(self, name):
        experts, k, shared, activation, *renormalised = name.split("_")
        got = token_choice_factor(
            int(experts[1:]), int(k[1:]), int(shared[1:]), activation=activation, renormalised=bool(renormalised)
        )
        assert got == pytest.approx(FACTORS["tc"][name], abs=1e-12)
