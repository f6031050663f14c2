"""The transcription of the official estimate, against the official code's values at their seeds."""

import json
from pathlib import Path

import pytest
import torch

from tests.official_likelihood import reference_likelihood

GOLDEN = Path(__file__).parents[1] / "golden" / "decoding" / "loglik" / "loglik.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"].partition("/")[2])
def test_it_gives_the_official_value_at_the_seed(load, case):
    kwargs = case["kwargs"]
    torch.manual_seed(case["seed"])
    value = reference_likelihood(
        *(load(case["model"]), case["prompt"], case["answer"], kwargs["mc_num"], kwargs["batch_size"]),
        cfg_scale=kwargs["cfg_scale"],
    )
    assert value == pytest.approx(case["value"], abs=case["atol_same_seed"])
