"""The loop of trainings by gradient, with something that learns nothing."""

import math

import pytest
import torch

from lm_eval_codd.training.loop import run_updates


class Learner:
    """Losses that fall by 0.01 an update, with normal noise of standard deviation 1."""

    def __init__(self, wrong_at=None):
        noise = torch.randn(400, generator=torch.Generator().manual_seed(0))
        self.losses = (noise - 0.01 * torch.arange(400)).tolist()
        self.wrong_at, self.updates = wrong_at, 0

    def update(self, step):
        self.updates += 1
        return math.nan if step == self.wrong_at else self.losses[step], True

    def measure(self, step):
        return {"held_out_loss": float(step)}

    def state(self):
        return {"updates": torch.tensor(self.updates)}

    def load_state(self, state):
        self.updates = int(state["updates"])


def run(learner, folder, total=400, key=None):
    return run_updates(learner, folder, key or {"seed": 0}, total, 200, "x", "cpu")


def test_the_spread_of_losses_has_no_trend_in_it(tmp_path):
    history = run(Learner(), tmp_path).history
    assert [row["step"] for row in history] == [0, 200, 400]
    for row, start in zip(history[1:], (0, 200), strict=True):
        assert row["loss"] == pytest.approx(sum(Learner().losses[start : start + 200]) / 200)
        assert row["loss_std"] == pytest.approx(1, abs=0.15)  # with the trend about 1.15


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="the loss of update 300 is nan; give a smaller `lr`"):
        run(Learner(wrong_at=300), tmp_path)
    learner = Learner()
    assert run(learner, tmp_path).history == run(Learner(), tmp_path / "whole").history
    assert learner.updates == 400
    with pytest.raises(ValueError, match="`seed=1` differs from the run"):
        run(Learner(), tmp_path, key={"seed": 1})
