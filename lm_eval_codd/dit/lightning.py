"""Checkpoints of the training code (Lightning `.ckpt`), read without running anything of the file.

Such a file is a pickle that names classes of its own (a configuration of OmegaConf). Every name that PyTorch does not
know as harmless gets an inert stand-in, which stores what it is given and does nothing; torch's restricted unpickler
reads the rest, so that no code and no class of the file, or of what it names, is ever called.
"""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from lm_eval_codd.backbones.checkpoint import CheckpointError, identity_of_file
from lm_eval_codd.dit.config import DiTConfig, read_config
from lm_eval_codd.dit.network import Network

_logger = logging.getLogger("lm_eval.codd")

SUFFIX: Final = ".ckpt"
_PREFIX: Final = "backbone."
_REFUSED: Final = re.compile(r"uns\w+ (?:GLOBAL|class) (\S+)", re.IGNORECASE)
_TEACHER: Final = "teacher."
# How training code calls its algorithms, and the older MDLM repository its parameterisations.
_ALGOS: Final = {
    "duo_base": "duo",
    "duo": "duo",
    "distillation": "duo",
    "mdlm": "mdlm",
    "subs": "mdlm",
    "sedd": "sedd",
    "d3pm": "d3pm",
    "d3pm_absorb": "d3pm",
    "ar": "ar",
}


@dataclass(frozen=True)
class Lightning:
    """What a `.ckpt` holds, as a folder would say it.

    Attributes:
        source: the file, as given.
        fields: of a config.json.
        weights: by the names of `Network`.
        identity: of the file, and of which of its weights these are.
    """

    source: str
    fields: dict[str, Any]
    weights: dict[str, Tensor]
    identity: str

    def config(self, algo: str | None, mask_id: int | None) -> DiTConfig:
        """See `read_config`."""
        return read_config(self.source, self.fields, algo, mask_id)


def is_lightning(source: str | Path) -> bool:
    """Whether a source is a Lightning checkpoint on this machine."""
    path = Path(source).expanduser()
    return path.suffix == SUFFIX and path.is_file()


def read_lightning(path: str | Path, ema: bool = True, algo: str | None = None) -> Lightning:
    """Read a `.ckpt`.

    Args:
        path: the file.
        ema: take the averaged weights, of which all published numbers are; False takes the last ones.
        algo: where the file does not say it.

    Raises:
        CheckpointError: one line: the file is no such checkpoint, or its weights do not belong together.
    """
    source, path = str(path), Path(path).expanduser()
    content = _load(source, path)
    stored = content.get("state_dict")
    if not isinstance(stored, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()
    ):
        raise CheckpointError(f"checkpoint `{source}` has no state_dict of tensors; give a .ckpt of the training code")
    teachers = [name for name in stored if name.startswith(_TEACHER)]
    if teachers:
        _logger.info("`%s`: %d weights of its teacher are left out", source, len(teachers))
    others = [name for name in stored if not name.startswith((_PREFIX, _TEACHER))]
    if others:
        raise CheckpointError(
            f"checkpoint `{source}` holds {len(others)} weights that are no part of the network ({min(others)})"
        )
    weights = {name.removeprefix(_PREFIX): stored[name] for name in stored if name.startswith(_PREFIX)}
    fields = _fields(source, _tree(content.get("hyper_parameters")), weights, algo)
    if ema:
        weights |= _averages(source, content.get("ema"), weights, read_config(source, fields, algo))
    return Lightning(source, fields, weights, identity_of_file(path) + ("" if ema else "+last"))


def _load(source: str, path: Path) -> Mapping[str, Any]:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        # One class a name, or one of them would stand for all.
        stand_ins: list[Any] = [(type("StandIn", (_StandIn,), {}), name) for name in names]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except Exception as error:  # of the archive, the unpickler and whatever a damaged file makes of them
        # What torch says before that is how to read the file without this protection.
        if isinstance(error, pickle.UnpicklingError):
            asked = _REFUSED.search(str(error))
            what = f" (it asks for {asked[1]})" if asked else ""
            raise CheckpointError(f"checkpoint `{source}` is refused: it is more than weights{what}") from None
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"checkpoint `{source}` cannot be read ({reason}); fetch the file again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"checkpoint `{source}` holds no dict; give a .ckpt of the training code")
    return content


class _StandIn:
    """In the place of a class or function that a file names: keeps its state, and does nothing."""

    state: object = None

    def __new__(cls, *arguments: object, **options: object) -> _StandIn:
        return object.__new__(cls)

    def __init__(self, *arguments: object, **options: object) -> None: ...

    def __call__(self, *arguments: object, **options: object) -> _StandIn:
        return self

    def __setstate__(self, state: object) -> None:
        # Not into __dict__, where a file could put names that Python looks up.
        object.__setattr__(self, "state", state)

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...

    def add(self, value: object) -> None: ...


def _tree(node: object) -> Any:
    """Plain values out of stand-ins of OmegaConf's nodes, which keep theirs as `_content` or `_val`."""
    state = getattr(node, "state", node) if isinstance(node, _StandIn) else node
    if isinstance(node, _StandIn) and isinstance(state, Mapping):
        return _tree(state["_content"] if "_content" in state else state.get("_val"))
    if isinstance(state, Mapping):
        return {key: _tree(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_tree(value) for value in state]
    return None if isinstance(state, _StandIn) else state


def _fields(source: str, said: Any, weights: Mapping[str, Tensor], algo: str | None) -> dict[str, Any]:
    """A config.json's fields, from the configuration and, where that is silent, from shapes."""
    embedding, rotation = weights.get("vocab_embed.embedding"), weights.get("rotary_emb.inv_freq")
    if embedding is None or rotation is None or embedding.dim() != 2 or rotation.dim() != 1:
        raise CheckpointError(
            f"checkpoint `{source}` has no weights of a DiT (no {_PREFIX}vocab_embed.embedding [V, d] and "
            f"{_PREFIX}rotary_emb.inv_freq [d / 2h])"
        )
    told = weights.get("sigma_map.mlp.2.weight")
    width = embedding.shape[1]
    blocks = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    name = _at(said, "algo", "name") or _at(said, "parameterization")
    if algo is None and str(name) not in _ALGOS:
        said_so = "does not say its algorithm" if name is None else f"says algo.name {name}, which is not known here"
        raise CheckpointError(f"checkpoint `{source}` {said_so}; give algo=")
    own = _ALGOS.get(str(name))
    conditioned = _at(said, "algo", "time_conditioning")
    if conditioned is None:
        conditioned = _at(said, "time_conditioning")
    fields = {
        "model_type": "mdlm" if own == "mdlm" else "DUO",
        "algo": own,
        "vocab_size": embedding.shape[0],
        "hidden_dim": _at(said, "model", "hidden_size") or width,
        "cond_dim": _at(said, "model", "cond_dim") or (1 if told is None else len(told)),
        "n_blocks": _at(said, "model", "n_blocks") or len(blocks),
        "n_heads": _at(said, "model", "n_heads") or width // (2 * len(rotation)),
        "model_length": _at(said, "model", "length"),
        "causal": told is None,
        "time_conditioning": None if told is None else conditioned,
        "noise": {"type": _at(said, "noise", "type") or "log-linear", "eps": _at(said, "noise", "eps") or 1e-3},
        "torch_dtype": str(embedding.dtype).removeprefix("torch."),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _at(said: Any, *path: str) -> Any:
    said = said.get("config", said) if isinstance(said, dict) else None
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return said


def _averages(source: str, ema: object, last: Mapping[str, Tensor], config: DiTConfig) -> dict[str, Tensor]:
    """The averaged weights, which have an order and no names: that of the network's parameters."""
    shadows = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if not isinstance(shadows, Sequence) or not all(isinstance(shadow, Tensor) for shadow in shadows):
        raise CheckpointError(f"checkpoint `{source}` has no averaged weights; ema=False takes the last ones")
    with torch.device("meta"):
        expected = dict(Network(config).named_parameters())
    if len(shadows) != len(expected):
        raise CheckpointError(
            f"checkpoint `{source}` averages {len(shadows)} weights, and its network has {len(expected)}"
        )
    absent = sorted(expected.keys() - last.keys())
    if absent:  # then the averages may be of another network, whose order is not this one
        raise CheckpointError(f"checkpoint `{source}` averages {absent[0]}, which its state_dict does not hold")
    for (name, weight), shadow in zip(expected.items(), shadows, strict=True):
        if weight.shape != shadow.shape:
            raise CheckpointError(
                f"checkpoint `{source}`: the average in the place of {name} is {list(shadow.shape)}, and that is "
                f"{list(weight.shape)}"
            )
    return dict(zip(expected, shadows, strict=True))
