"""The official code's unified folder: backbone, tokenizer, circuit and settings in one place.

Its `save_pretrained` writes the backbone and tokenizer as transformers does, the circuit as `pc_model.jpc`, and its
settings as `codd_config.json`; its `from_pretrained` reads that back (liuanji/CoDD, codd/model_class.py, CoDDConfig).
A folder of this kind is a checkpoint for `load_backbone` and a circuit for `load_circuit` as it stands.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.circuits.files.jpc import write_jpc
from lm_eval_codd.circuits.files.storage import FILE_NAMES, UNIFIED_JPC_NAME
from lm_eval_codd.names import check_names
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.circuits.hmm import HMM

_BASE_MODELS: Final = ("llada", "dream")
CONFIG_NAME: Final = "codd_config.json"

# CoDDConfig's fields. A field that is left out takes the official default when the folder is loaded there.
_FIELDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "base_model_id": str,
    "pc_model_id": str,
    "base_model_type": str,
    "mask_id": int,
    "vocab_size": int,
    "num_steps": int,
    "gen_length": int,
    "block_length": int,
    "temperature": (int, float),
    "cfg_scale": (int, float),
    "remasking": str,
    "pc_temperature": (int, float),
    "pc_frac": (int, float),
    "reverse_frac": bool,
}
# Their official defaults are LLaDA's, so a folder without them would be wrong for any other backbone.
_REQUIRED: Final = ("base_model_type", "mask_id", "vocab_size")


def save_unified(
    folder: str | os.PathLike[str], checkpoint_dir: str | os.PathLike[str], circuit: HMM, config: Mapping[str, Any]
) -> Path:
    """Write a unified folder: a copy of the checkpoint's files, the circuit and the settings.

    Args:
        folder: where to; made when missing.
        checkpoint_dir: local folder of the backbone and its tokenizer; every file directly in it is copied.
        circuit: becomes `pc_model.jpc`.
        config: fields of the official CoDDConfig; `base_model_type`, `mask_id` and `vocab_size` are needed.

    Raises:
        ValueError: `checkpoint_dir` is no checkpoint, or `config` is not CoDDConfig's.
    """
    folder, checkpoint_dir = Path(folder), Path(checkpoint_dir)
    _check_config(config)
    if not (checkpoint_dir / "config.json").is_file():
        raise ValueError(f"`checkpoint_dir={checkpoint_dir}` holds no config.json; give a folder with a checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.samefile(checkpoint_dir):
        for file in sorted(checkpoint_dir.iterdir()):
            if file.is_file() and file.name not in (*FILE_NAMES, CONFIG_NAME):
                shutil.copyfile(file, folder / file.name)
    write_jpc(circuit, folder / UNIFIED_JPC_NAME)
    (folder / CONFIG_NAME).write_text(json.dumps(dict(config), indent=2) + "\n")
    return folder


def load_unified_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a unified folder's `codd_config.json`, checked.

    Raises:
        ValueError: there is none, or it is not CoDDConfig's.
    """
    path = Path(folder) / CONFIG_NAME
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold one JSON object")
    _check_config(config)
    return config


def _check_config(config: Mapping[str, Any]) -> None:
    check_names(config, _FIELDS, kind="field of codd_config.json")
    for name in _REQUIRED:
        if name not in config:
            raise ValueError(f"`{name}` is missing from the config; codd_config.json needs {', '.join(_REQUIRED)}")
    for name, value in config.items():
        if not isinstance(value, _FIELDS[name]) or (isinstance(value, bool) and _FIELDS[name] is not bool):
            raise ValueError(f"`{name}={value!r}` is of the wrong type for codd_config.json")
    if config["base_model_type"] not in _BASE_MODELS:
        raise ValueError(unknown_value("base_model_type", config["base_model_type"], _BASE_MODELS))
