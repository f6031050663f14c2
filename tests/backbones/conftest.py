"""Golden checkpoints, and edited copies of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from lm_eval_codd.backbones import Backbone, load_backbone


@pytest.fixture(scope="session")
def models(golden_dir: Path) -> Path:
    return golden_dir / "decoding" / "models"


@pytest.fixture(scope="session")
def load(models: Path) -> Callable[..., Backbone]:
    """Loads a golden checkpoint once for each set of arguments."""
    loaded: dict[tuple, Backbone] = {}

    def _load(name: str, **options: Any) -> Backbone:
        key = (name, *sorted(options.items()))
        if key not in loaded:
            loaded[key] = load_backbone(models / name, device="cpu", **options)
        return loaded[key]

    return _load


@pytest.fixture
def edited(models: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a golden checkpoint with config fields changed (None removes) and tensors changed by a function."""

    def _edit(name: str, config: dict | None = None, tensors: Callable[[dict], dict] | None = None) -> Path:
        folder = tmp_path / f"{name}-edited"
        shutil.copytree(models / name, folder)
        fields = json.loads((folder / "config.json").read_text()) | (config or {})
        fields = {key: value for key, value in fields.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(fields))
        if tensors is not None:
            path = folder / "model.safetensors"
            save_file(tensors(load_file(path)), path, metadata={"format": "pt"})
        return folder

    return _edit
