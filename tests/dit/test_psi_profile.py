"""Profiles of Psi samplers: the ones that official code made, by their names."""

import numpy as np
import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.dit import psi_profile
from lm_eval_codd.dit.schedules import Schedule

from .conftest import random_dit

SCHEDULE = Schedule("log-linear")
OFFICIAL = {
    "cap": {"modes": "max-capped-0.05"},
    "rescale": {"modes": "max-rescale-0.05"},
    "pc": {"modes": ("pure-posterior", "constant-0.5", "pure-pc"), "shares": (0.2, 0.6)},
    "loop": {
        "modes": ("pure-posterior", "max-capped-0.01", "pure-posterior"),
        "shares": (0.45, 0.45),
        "times": "linear-constant-linear-0.1",
    },
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_are_the_official_ones(golden_dir, name):
    with np.load(golden_dir / "dit" / "psi_profiles.npz") as arrays:
        official = {which: torch.from_numpy(arrays[f"mdlm_{name}__{which}"]) for which in ("timesteps", "kappas")}
    times, kappas = psi_profile(SCHEDULE, 16, **OFFICIAL[name])
    assert torch.equal(times.float(), official["timesteps"])
    assert torch.allclose(kappas, official["kappas"].double(), atol=1e-6)


def test_a_constant_strength_is_over_the_noise_that_is_left():
    times, kappas = psi_profile(SCHEDULE, 4, "constant-remdm-0.1")
    left = 1 - SCHEDULE.alpha(times[1:4])
    assert torch.allclose(kappas[:3], 1 - 0.1 / left) and kappas[3:].tolist() == [0.0, 1.0]


def test_nothing_but_the_posterior_is_the_ancestral_sampler():
    model = random_dit("duo", vocab_size=7, length=6)
    psi = psi_profile(model.schedule, 5, "pure-posterior")
    assert codd.sample_dit(model, 4, 6, predictor="psi", psi=psi) == codd.sample_dit(model, 4, 6, 5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modes": "max-caped-0.05"}, "`modes=max-caped-0.05` is not known; use one of pure-posterior"),
        ({"modes": "max-capped"}, "`modes=max-capped` is not known"),
        ({"modes": "constant-1.5"}, "`modes=constant-1.5` must have a share"),
        ({"modes": ("pure-pc", "pure-pc")}, "must be one mode, or three"),
        ({"modes": "pure-pc", "shares": (0.6, 0.6)}, "at most 1 together"),
        ({"modes": "pure-pc", "steps": 0}, "`steps=0`"),
        ({"modes": "pure-pc", "steps": 2, "shares": (0.5, 0.5)}, "are 2 and 2 of 3 times"),
        ({"modes": "pure-pc", "times": "cosine"}, "`times=cosine` is not known"),
        ({"modes": "pure-pc", "times": "linear-constant-linear-2"}, "c from 1e-5 to 1"),
        ({"modes": "pure-pc", "times": "linear-constant-linear-0.1"}, "begins at 1 in the high segment"),
    ],
)
def test_mistakes_are_said_in_one_line(options, said):
    with pytest.raises(ValueError) as caught:
        psi_profile(SCHEDULE, **({"steps": 16} | options))
    assert said in str(caught.value) and "\n" not in str(caught.value)
