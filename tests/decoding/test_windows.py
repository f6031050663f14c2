"""Where windows are placed, against the rules written out row by row."""

import pytest
import torch

from lm_eval_codd import DecodingConfig
from lm_eval_codd.decoding.canvas import Canvas, Ids
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.coupling.windows import BestWindow, CoveringWindows, Gate
from lm_eval_codd.decoding.step import Look
from tests.decoding.steps import step_on

LENGTH, WINDOW, MASK = 40, 8, 99
PROMPTS = [[1] * 3, [1] * 10, [1], [1] * 6]


class Scores:
    """Stands for a decoder whose confidences are given."""

    def __init__(self, scores):
        self.scores = scores

    def members(self, step, logits):
        return surest(self.scores.gather(1, step.columns), step.committable, step.budget)


@pytest.fixture(params=range(12))
def scene(request):
    """A half-decided canvas, the step on it and the confidences of all positions."""
    generator = torch.Generator().manual_seed(request.param)
    canvas = Canvas.from_prompts(
        PROMPTS, LENGTH, Ids(MASK, (98,)), seed=0, repeats=[0] * len(PROMPTS), device=torch.device("cpu")
    )
    decided = torch.rand(len(PROMPTS), LENGTH, generator=generator) < 0.4
    canvas.answer[decided] = 7
    masked = canvas.masked
    budget = torch.randint(1, 9, (len(PROMPTS),), generator=generator)
    step = step_on(canvas, Look(canvas.step, torch.zeros_like(budget), masked, masked.sum(1), budget=budget))
    scores = torch.randn(len(PROMPTS), LENGTH, generator=generator, dtype=torch.float64)
    return canvas, step, scores


def members_of(canvas, step, scores, row):
    """Canvas columns of the row's surest masked positions, from left to right."""
    open_columns = canvas.masked[row].nonzero()[:, 0].tolist()
    best = sorted(open_columns, key=lambda column: -scores[row, column])[: int(step.budget[row])]
    return sorted(canvas.answer_start + column for column in best)


def placed(placement, canvas, step, row):
    """(window start, columns that take the coupled logits) of each window of a row."""
    return [
        (int(columns[0]), columns[takes].tolist())
        for r, columns, takes in zip(
            placement.windows.row.tolist(), placement.windows.columns, placement.windows.takes, strict=True
        )
        if r == row
    ]


class TestBestWindow:
    def test_it_is_the_leftmost_of_the_fullest_centred_on_a_member(self, scene):
        canvas, step, scores = scene
        rule = BestWindow(
            DecodingConfig(paradigm="full", gen_length=LENGTH, pc_frac=1.5), WINDOW, Scores(scores).members
        )
        placement = rule(canvas, step, None)
        for row in range(len(PROMPTS)):
            members = members_of(canvas, step, scores, row)
            first, last = int(canvas.first[row]), canvas.tokens.shape[1] - WINDOW
            starts = [min(max(member - WINDOW // 2, first), last) for member in members]
            coverage = [sum(start <= member < start + WINDOW for member in members) for start in starts]
            start = starts[coverage.index(max(coverage))]
            forced = {member for member in members if not start <= member < start + WINDOW}
            columns = canvas.answer_start + step.columns[row]
            assert set(columns[placement.forced[row]].tolist()) == forced
            windows = placed(placement, canvas, step, row)
            if max(coverage) > 1:
                inside = range(start, start + WINDOW)
                masked = [c for c in inside if c >= canvas.answer_start and canvas.tokens[row, c] == MASK]
                assert windows == [(start, masked)]
                assert set(columns[placement.committable[row]].tolist()) == forced | set(masked)
            else:
                assert windows == []
                assert torch.equal(placement.committable[row], step.committable[row])

    def test_the_gate_looks_at_the_windows_own_share_of_masks(self, scene):
        canvas, step, scores = scene
        config = DecodingConfig(paradigm="full", gen_length=LENGTH, pc_frac=0.5)
        everywhere = BestWindow(
            DecodingConfig(paradigm="full", gen_length=LENGTH, pc_frac=1.5), WINDOW, Scores(scores).members
        )(canvas, step, None)
        gated = BestWindow(config, WINDOW, Scores(scores).members)(canvas, step, None)
        share = everywhere.windows.takes.sum(1) / WINDOW
        assert gated.windows.row.tolist() == everywhere.windows.row[share < 0.5].tolist()
        assert torch.equal(gated.forced, everywhere.forced)


class TestCoveringWindows:
    def test_every_member_is_in_one_window_and_they_are_as_few_as_can_be(self, scene):
        canvas, step, scores = scene
        rule = CoveringWindows(
            DecodingConfig(paradigm="full", gen_length=LENGTH, pc_frac=1.5), WINDOW, Scores(scores).members
        )
        placement = rule(canvas, step, None)
        for row in range(len(PROMPTS)):
            members = members_of(canvas, step, scores, row)
            windows = placed(placement, canvas, step, row)
            assert sorted(column for _, takes in windows for column in takes) == members
            for start, takes in windows:
                assert start <= min(takes) <= max(takes) < start + WINDOW
                assert int(canvas.first[row]) <= start <= canvas.tokens.shape[1] - WINDOW
            fewest, reach = 0, -1
            for member in members:
                if member > reach:
                    fewest, reach = fewest + 1, member + WINDOW - 1
            assert len(windows) == fewest
            columns = canvas.answer_start + step.columns[row]
            assert columns[placement.committable[row]].tolist() == members

    def test_the_gate_looks_at_the_whole_answer(self, scene):
        canvas, step, scores = scene
        share = canvas.masked.double().mean(1)
        threshold = float(share.sort().values[2])
        config = DecodingConfig(paradigm="full", gen_length=LENGTH, pc_frac=threshold)
        placement = CoveringWindows(config, WINDOW, Scores(scores).members)(canvas, step, None)
        assert set(placement.windows.row.tolist()) == set((share < threshold).nonzero()[:, 0].tolist())


class TestGate:
    def test_it_is_strict_and_exact_at_equality(self):
        counts = torch.tensor([0, 29, 30, 31, 100])
        opens = Gate(DecodingConfig(pc_frac=0.3))(counts, 100).tolist()
        assert opens == [True, True, False, False, False]
        opens = Gate(DecodingConfig(pc_frac=0.3, reverse_frac=True))(counts, 100).tolist()
        assert opens == [False, False, False, True, True]
