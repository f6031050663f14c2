"""What the settings say of a block's gates, against the schedule and the gate that decode."""

import itertools

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.decoding.canvas import Canvas, Ids
from lm_eval_codd.decoding.coupling.windows import Gate
from lm_eval_codd.decoding.decoders.schedule import make_schedule
from lm_eval_codd.runs.gates import block_gates
from tests.decoding.test_coupling import random_circuit

MASK, EOS = 9, 8
SHAPES = [(32, 32, 4), (64, 32, 16), (24, 12, 10), (12, 6, 12), (16, 8, 64), (16, 16, 1), (30, 10, 21)]
EIGHTHS = [eighth / 8 for eighth in range(10)]
FRACTIONS = sorted({*EIGHTHS, *(tenth / 10 for tenth in range(12)), 1 / 3, 2 / 3, 0.9999})


def gates_in_a_decode(config: codd.DecodingConfig) -> list[list[bool]]:
    """Of every block, whether the gate is open at each of its steps, when random positions are committed."""
    generator = torch.Generator().manual_seed(config.num_steps)
    canvas = Canvas.from_prompts(
        [[1, 2]], config.gen_length, Ids(MASK, (EOS,)), seed=0, repeats=[0], device=torch.device("cpu")
    )
    schedule, gate = make_schedule(config, "llada", torch.device("cpu")), Gate(config)
    found: dict[int, list[bool]] = {}
    while int((plan := schedule.next(canvas)).budget):
        columns = plan.committable[0].nonzero()[:, 0]
        block = int(columns[0]) // config.block_length
        found.setdefault(block, []).append(bool(gate(plan.committable.sum(dim=1), config.block_length)))
        order = torch.randperm(len(columns), generator=generator)[: int(plan.budget)]
        canvas.answer[0, columns[order]] = 0
        canvas.step = plan.step + 1
    return list(found.values())


class TestGatesOfABlock:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("reverse", [False, True])
    def test_are_those_of_the_schedule_for_any_two_fractions(self, shape, reverse):
        gen_length, block_length, num_steps = shape
        patterns = {}
        for pc_frac in FRACTIONS:
            config = codd.DecodingConfig(
                gen_length=gen_length,
                block_length=block_length,
                num_steps=num_steps,
                pc_frac=pc_frac,
                reverse_frac=reverse,
            )
            blocks = gates_in_a_decode(config)
            assert len(blocks) == config.num_blocks
            assert all(tuple(block) == block_gates(config, "llada") for block in blocks)
            patterns[pc_frac] = blocks, block_gates(config, "llada")
        for one, other in itertools.combinations(FRACTIONS, 2):
            assert (patterns[one][0] == patterns[other][0]) == (patterns[one][1] == patterns[other][1])

    def test_at_four_steps_a_block_0_3_is_0_5_and_0_6_is_more(self):
        def gates(pc_frac):
            return block_gates(codd.DecodingConfig(num_steps=64, pc_frac=pc_frac), "llada")

        assert gates(0.3) == gates(0.4) == gates(0.5) == (False, False, False, True)
        assert gates(0.6) == gates(0.7) == (False, False, True, True)
        assert gates(0.25) == (False,) * 4
        assert gates(1.0) == (False, True, True, True)

    def test_are_not_known_in_the_full_paradigm(self):
        assert block_gates(codd.DecodingConfig(paradigm="full"), "llada") is None


class TestWholeDecodes:
    def test_fractions_that_open_the_same_gates_give_the_same_answers_and_others_do_not(self, load):
        backbone = load("llada-tiny")
        circuit = random_circuit(backbone.vocab_size, 8, 4, sharpness=6.0)

        def answers(pc_frac):
            config = codd.DecodingConfig(
                gen_length=16, block_length=8, num_steps=8, pc_frac=pc_frac, pc_temperature=1.0, stop_at_eos=False
            )
            outputs = codd.generate(backbone, [[1, 2, 3], [4, 5]], config, circuit=circuit)
            assert all(backbone.mask_id not in output.tokens for output in outputs)
            return [(output.tokens, output.num_circuit) for output in outputs]

        assert answers(0.3) == answers(0.4) == answers(0.5)
        assert answers(0.5) != answers(0.6)
        without = codd.DecodingConfig(gen_length=16, block_length=8, num_steps=8, stop_at_eos=False)
        alone = [(output.tokens, 0) for output in codd.generate(backbone, [[1, 2, 3], [4, 5]], without)]
        assert answers(0.25) == alone
