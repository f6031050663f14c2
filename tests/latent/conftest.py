"""Tiny Coupling Models with outputs of the authors' code, and edited copies of their files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lm_eval_codd as codd
from lm_eval_codd.latent import CouplingModel

FILES = {
    "v3": "coupling_v3_transformer.pt",
    "latent_mdm": "coupling_v3_latent_mdm.pt",
    "lm1b": "coupling_lm1b.pt",
    "stage_a": "coupling_v3_stage_a.pt",
}


@pytest.fixture(scope="session")
def path(golden_dir) -> Callable[[str], Path]:
    """kind -> the golden checkpoint."""
    return lambda kind: golden_dir / "latent" / FILES[kind]


@pytest.fixture(scope="session")
def load(path) -> Callable[[str], CouplingModel]:
    """kind -> the golden model, loaded once."""
    models: dict[str, CouplingModel] = {}
    return lambda kind: models.get(kind) or models.setdefault(kind, codd.load_coupling(path(kind), device="cpu"))


@pytest.fixture(scope="session")
def golden(golden_dir) -> dict[str, torch.Tensor]:
    """The authors' arrays."""
    return load_file(golden_dir / "latent" / "coupling.safetensors")


def cases(prefix: str) -> list[dict]:
    """The seeded cases whose names begin so."""
    content = json.loads((Path(__file__).parents[1] / "golden" / "latent" / "coupling.json").read_text())
    return [case for case in content["cases"] if case["name"].startswith(prefix)]


@pytest.fixture
def edited(path, tmp_path) -> Callable[..., Path]:
    """A copy of a golden checkpoint, changed by a function of its content."""

    def edit(kind: str, change: Callable[[dict], object]) -> Path:
        content = torch.load(path(kind), weights_only=True)
        change(content)
        torch.save(content, tmp_path / "edited.pt")
        return tmp_path / "edited.pt"

    return edit
