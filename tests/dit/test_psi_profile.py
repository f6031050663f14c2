"""Profiles of Psi samplers: the ones that official code made, by their names."""

import numpy as np
import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.dit import psi_profile
from lm_eval_codd.dit.processes import make_process
from lm_eval_codd.dit.schedules import Schedule
from lm_eval_codd.settings import DiTSettings
from lm_eval_codd.settings.dit import PREDICTORS_OF

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


@pytest.mark.parametrize(
    ("algo", "given", "said"),
    [
        ("duo", {}, "`predictor=psi` needs `psi_modes`; give one, or three with / between: pure-posterior, pure-pc"),
        ("duo", {"psi_modes": "pure-p"}, "`psi_modes=pure-p` is not known; use one of pure-posterior"),
        ("duo", {"psi_modes": "pure-pc/pure-pc"}, "`psi_modes=pure-pc/pure-pc` must be one mode, or three with /"),
        ("duo", {"psi_modes": "pure-pc", "psi_shares": "0.6"}, "`psi_shares=0.6` must be two numbers with / between"),
        ("duo", {"psi_modes": "pure-pc", "psi_shares": "0.6/0.6"}, "`psi_shares=0.6/0.6` must be two shares"),
        (
            "duo",
            {"psi_modes": "pure-pc/pure-pc/pure-posterior"},
            "`psi_modes=pure-pc/pure-pc/pure-posterior` has three",
        ),
        ("duo", {"psi_modes": "pure-pc", "psi_times": "cosine"}, "`psi_times=cosine` is not known"),
        ("mdlm", {"psi_modes": "pure-pc", "p_nucleus": 0.9}, "`p_nucleus=0.9` does not go with predictor=psi"),
        ("mdlm", {"predictor": None, "psi_modes": "pure-pc"}, "`psi_modes=pure-pc` is read by predictor=psi; add that"),
        ("sedd", {"psi_modes": "pure-pc"}, "`predictor=psi` is not one of sedd; use analytic or ancestral"),
        ("ar", {"psi_modes": "pure-pc"}, "`predictor=psi` is of diffusions"),
    ],
)
def test_settings_that_ask_for_none_are_refused_by_name(algo, given, said):
    with pytest.raises(ValueError) as caught:
        DiTSettings.for_algo(algo, coupled=False, **{"predictor": "psi", **given})
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_settings_without_a_circuit_alone():
    with pytest.raises(ValueError, match="a circuit goes with predictor=ancestral alone, not with `predictor=psi`"):
        DiTSettings.for_algo("mdlm", coupled=True, predictor="psi", psi_modes="pure-pc")


def test_predictors_of_settings_are_those_of_the_processes():
    own = {algo: make_process(algo, 8, 7).predictors for algo in PREDICTORS_OF if algo != "ar"}
    assert own == {algo: predictors for algo, predictors in PREDICTORS_OF.items() if algo != "ar"}
