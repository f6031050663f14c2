"""Tiny models with outputs of the official code, and edited copies of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lm_eval_codd as codd
from lm_eval_codd.dit import DiT
from lm_eval_codd.dit.config import DiTConfig, Ids
from lm_eval_codd.dit.network import Network

# Of MDLM, SEDD and D3PM too: the goldens of all of them have the same weights.
WEIGHTS = "hf-duo-tiny"


@pytest.fixture(scope="session")
def folder(golden_dir, tmp_path_factory) -> Callable[[str], Path]:
    """name -> folder of a golden checkpoint."""
    root = golden_dir / "dit"
    mdlm = tmp_path_factory.mktemp("dit") / "hf-mdlm-tiny"
    shutil.copytree(root / "hf-mdlm-tiny", mdlm)
    shutil.copy(root / WEIGHTS / "model.safetensors", mdlm)
    return lambda name: mdlm if name == "hf-mdlm-tiny" else root / name


@pytest.fixture(scope="session")
def load(folder) -> Callable[..., DiT]:
    """(folder, algo) -> golden model in float32 (or `dtype`), each loaded once."""
    loaded = {}

    def get(name: str, algo: str | None = None, dtype: str = "float32") -> DiT:
        key = (name, algo, dtype)
        if key not in loaded:
            loaded[key] = codd.load_dit(folder(name), algo, dtype, "cpu")
        return loaded[key]

    return get


@pytest.fixture(scope="session")
def of_algo(load) -> Callable[..., DiT]:
    """algo -> golden model."""
    homes = {"duo": "hf-duo-tiny", "ar": "hf-ar-tiny"}
    return lambda algo, dtype="float32": load(homes.get(algo, "hf-mdlm-tiny"), algo, dtype)


@pytest.fixture
def golden(golden_dir, request) -> Callable[[str], dict]:
    """name -> arrays of a golden file; the whole one where it lies beside the project, a part of it elsewhere."""

    def read(name: str) -> dict:
        path = golden_dir / "dit" / f"{name}.npz"
        try:
            path = request.getfixturevalue("shared_dir") / "golden" / "dit" / path.name
        except pytest.skip.Exception:
            if not path.is_file():
                raise
        with np.load(path) as arrays:
            return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}

    return read


@pytest.fixture
def edited(folder, tmp_path) -> Callable[..., Path]:
    """A copy of a golden checkpoint with config fields changed (None removes) and tensors changed by a function."""

    def edit(name: str = WEIGHTS, tensors: Callable[[dict], None] | None = None, **config: object) -> Path:
        copy = tmp_path / f"{name}-edited"
        shutil.copytree(folder(name), copy)
        fields = json.loads((copy / "config.json").read_text()) | config
        fields = {key: value for key, value in fields.items() if value is not None}
        (copy / "config.json").write_text(json.dumps(fields))
        if tensors is not None:
            weights = load_file(copy / "model.safetensors")
            tensors(weights)
            save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        return copy

    return edit


def random_dit(algo: str, *, vocab_size: int, length: int, seed: int = 0, mask_id: int | None = None) -> DiT:
    """A tiny float64 model with random weights, modulation and output layer among them."""
    config = DiTConfig(
        algo=algo,
        vocab_size=vocab_size,
        hidden_dim=8,
        cond_dim=4,
        n_blocks=1,
        n_heads=2,
        model_length=length,
        causal=algo == "ar",
        time_conditioning=algo not in ("mdlm", "ar"),
        ids=Ids(vocab_size - 1 if mask_id is None else mask_id, 0, None),
    )
    network = Network(config).double().requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if "norm" not in name:
            scale = 0.2 if name.startswith("output_layer") else 0.5
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * scale)
    return DiT(network, config)


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The goldens' measure: |a - b| / (1 + |b|), the largest."""
    ours, theirs = ours.double(), theirs.double()
    return float(((ours - theirs).abs() / (1 + theirs.abs())).max())
