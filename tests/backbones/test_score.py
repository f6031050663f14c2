"""Scores of given canvases: ragged rows and positions in, log probabilities of the asked tokens out."""

import pytest
import torch

from lm_eval_codd.backbones import score as module
from lm_eval_codd.backbones.score import read_canvases

MODELS = ("llada-tiny", "dream-tiny")
LENGTHS, COUNTS = (9, 17, 4, 17), (3, 8, 0, 1)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    canvases = [torch.randint(0, 400, (length,), generator=generator) for length in LENGTHS]
    positions = [
        torch.randperm(length, generator=generator)[:count].sort().values
        for length, count in zip(LENGTHS, COUNTS, strict=True)
    ]
    targets = torch.randint(0, 400, (sum(COUNTS),), generator=generator)
    return canvases, positions, targets


def one_by_one(backbone, canvases, positions):
    logits = [backbone.logits(canvas[None])[0, columns] for canvas, columns in zip(canvases, positions, strict=True)]
    return torch.cat(logits).float()


class LogitsOnly:
    """A backbone that has the public attributes and method, and nothing else."""

    def __init__(self, backbone):
        self.logits = backbone.logits
        self.mask_id, self.eos_id, self.vocab_size = backbone.mask_id, backbone.eos_id, backbone.vocab_size


@pytest.mark.parametrize("name", MODELS)
class TestScores:
    @pytest.mark.parametrize("wrap", [lambda backbone: backbone, LogitsOnly])
    def test_are_those_of_each_canvas_alone(self, load, rows, name, wrap):
        canvases, positions, targets = rows
        reading = read_canvases(wrap(load(name)), canvases, positions)
        expected = one_by_one(load(name), canvases, positions).log_softmax(-1)
        scores = reading.score(targets, tops=True)
        torch.testing.assert_close(scores.targets, expected.gather(1, targets[:, None])[:, 0], rtol=0, atol=1e-4)
        assert torch.equal(scores.tokens, expected.argmax(-1))
        torch.testing.assert_close(scores.tops, expected.amax(-1), rtol=0, atol=1e-4)

    def test_do_not_depend_on_how_many_logits_exist_at_once(self, load, rows, name, monkeypatch):
        whole = read_canvases(load(name), *rows[:2]).score(rows[2])
        monkeypatch.setattr(module, "_ROOM_ON_A_CPU", 2 * 4 * load(name).vocab_size)
        pieces = read_canvases(load(name), *rows[:2])
        assert pieces.rows_at_a_time == 2
        torch.testing.assert_close(pieces.score(rows[2]).targets, whole.targets, rtol=0, atol=1e-4)

    def test_guidance_is_between_the_canvas_with_its_prompt_and_without(self, load, rows, name):
        canvases, positions, targets = rows
        backbone, prompts = load(name), [4, 10, 2, 0]
        blind = [canvas.clone() for canvas in canvases]
        for canvas, length in zip(blind, prompts, strict=True):
            canvas[:length] = backbone.mask_id
        conditional, unconditional = (one_by_one(backbone, given, positions) for given in (canvases, blind))
        expected = (unconditional + 2.5 * (conditional - unconditional)).log_softmax(-1)
        reading = read_canvases(backbone, canvases, positions, cfg_scale=1.5, prompt_lengths=prompts)
        scores = reading.score(targets)
        torch.testing.assert_close(scores.targets, expected.gather(1, targets[:, None])[:, 0], rtol=0, atol=1e-4)
        assert scores.tokens is None
