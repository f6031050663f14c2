"""What config.json says of a checkpoint of the family: its sizes, its algorithm, its ids."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.dit.schedules import SCHEDULES
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from collections.abc import Mapping

_logger = logging.getLogger("lm_eval.codd")

ALGOS: Final = ("duo", "mdlm", "sedd", "d3pm", "dit_ar")
_SPELLINGS: Final = {"ar": "ar", "dit_ar": "ar"} | {name: name for name in ALGOS[:4]}
MODEL_TYPES: Final = ("DUO", "mdlm")
SIZES: Final = ("vocab_size", "hidden_dim", "cond_dim", "n_blocks", "n_heads", "model_length")


@dataclass(frozen=True)
class Ids:
    """Special tokens of a vocabulary; None where they are not known."""

    mask: int
    bos: int | None
    eos: int | None


# Of the two tokenizers that published checkpoints were trained with, by the number of logit columns.
_KNOWN_IDS: Final = {50258: Ids(50257, 50256, 50256), 30522: Ids(103, 101, 102)}


@dataclass(frozen=True)
class DiTConfig:
    """Sizes and meaning of a network.

    Attributes:
        algo: duo, mdlm, sedd, d3pm or ar.
        vocab_size: logit columns, V.
        hidden_dim: width, d.
        cond_dim: width of what the noise level becomes, c.
        n_blocks: of the network.
        n_heads: of a block's attention.
        model_length: tokens of a row in training.
        causal: whether a position sees only those before it.
        time_conditioning: whether the network is told the noise level.
        ids: mask, begin and end of a row.
        schedule: its name, and eps, the share of signal that is left at time 1.
    """

    algo: str
    vocab_size: int
    hidden_dim: int
    cond_dim: int
    n_blocks: int
    n_heads: int
    model_length: int
    causal: bool
    time_conditioning: bool
    ids: Ids
    schedule: tuple[str, float] = ("log-linear", 1e-3)


def read_config(
    source: str, fields: Mapping[str, Any], algo: str | None = None, mask_id: int | None = None
) -> DiTConfig:
    """The config of a checkpoint.

    Args:
        source: as messages call it.
        fields: of config.json, as published checkpoints name them, and `algo`, which this project writes.
        algo: the algorithm that the checkpoint was trained with, over what the fields say.
        mask_id: of its vocabulary, over what is known of it.

    Raises:
        CheckpointError: one line: a field is missing, or does not fit the others.
    """
    if fields.get("model_type") not in MODEL_TYPES:
        raise CheckpointError(
            f"checkpoint `{source}` is `model_type: {fields.get('model_type')}`, not one of {', '.join(MODEL_TYPES)}; "
            "--model masked_lm and load_backbone read the masked families"
        )
    sizes = {name: _size(source, fields, name) for name in SIZES}
    if sizes["hidden_dim"] % (2 * sizes["n_heads"]):
        raise CheckpointError(
            f"checkpoint `{source}`: config.json's n_heads {sizes['n_heads']} does not cut hidden_dim "
            f"{sizes['hidden_dim']} into heads of even width; correct the field"
        )
    causal = _flag(source, fields, "causal", False)
    own = _own_algo(source, fields, causal)
    chosen = own if algo is None else _known("algo", algo)
    if causal != (chosen == "ar"):
        sees = "only the positions before it (causal: true)" if causal else "both ways"
        fitting = "ar" if causal else own if own != "ar" else "that of its training: duo, mdlm, sedd or d3pm"
        raise CheckpointError(
            f"`algo={algo or chosen}`: a position of checkpoint `{source}` sees {sees}; use algo={fitting}"
        )
    if causal:
        conditioned = False
    elif chosen == own:
        conditioned = _flag(source, fields, "time_conditioning", chosen != "mdlm")
    else:  # the field is of the algorithm that the folder names
        conditioned = chosen != "mdlm"
    return DiTConfig(
        algo=chosen,
        **sizes,
        causal=causal,
        time_conditioning=conditioned,
        ids=_ids(source, fields, sizes["vocab_size"], mask_id, chosen),
        schedule=_schedule(source, fields),
    )


def _own_algo(source: str, fields: Mapping[str, Any], causal: bool) -> str:
    """What the folder says of itself."""
    if fields.get("algo") is not None:
        return _known("algo", fields["algo"], f"checkpoint `{source}`: config.json's ")
    return "ar" if causal else {"DUO": "duo", "mdlm": "mdlm"}[fields["model_type"]]


def _known(name: str, algo: object, where: str = "") -> str:
    if str(algo) not in _SPELLINGS:
        raise CheckpointError(where + unknown_value(name, algo, ["duo", "mdlm", "sedd", "d3pm", "ar"]))
    return _SPELLINGS[str(algo)]


def _size(source: str, fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        said = "has no" if value is None else f"has {value!r} for"
        raise CheckpointError(f"checkpoint `{source}`: config.json {said} {name}, which must be a whole number above 0")
    return value


def _flag(source: str, fields: Mapping[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"checkpoint `{source}`: config.json has {value!r} for {name}; it must be true or false")
    return value


def _ids(source: str, fields: Mapping[str, Any], vocab_size: int, mask_id: int | None, algo: str) -> Ids:
    known = _KNOWN_IDS.get(vocab_size, Ids(vocab_size - 1, None, None))
    configured = fields.get("mask_token_id")
    ids = Ids(
        mask=mask_id if mask_id is not None else configured if configured is not None else known.mask,
        bos=fields.get("bos_token_id", known.bos),
        eos=fields.get("eos_token_id", known.eos),
    )
    for name, value in (("mask_id", ids.mask), ("bos_token_id", ids.bos), ("eos_token_id", ids.eos)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < vocab_size):
            raise CheckpointError(f"`{name}={value}` is outside the {vocab_size} logit columns of `{source}`")
    if mask_id is None and configured is None and vocab_size not in _KNOWN_IDS and algo != "duo":
        _logger.info(
            "`mask_id=%d`, the last of the %d ids of `%s`, as training code adds it to a tokenizer without one; give "
            "mask_id= where it is another",
            ids.mask,
            vocab_size,
            source,
        )
    return ids


def _schedule(source: str, fields: Mapping[str, Any]) -> tuple[str, float]:
    noise = fields.get("noise", {})
    name, eps = (noise.get("type", "log-linear"), noise.get("eps", 1e-3)) if isinstance(noise, dict) else (noise, 1e-3)
    name = str(name).replace("loglinear", "log-linear")
    if name not in SCHEDULES:
        raise CheckpointError(f"checkpoint `{source}`: config.json's " + unknown_value("noise.type", name, SCHEDULES))
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise CheckpointError(f"checkpoint `{source}`: config.json has {eps!r} for noise.eps; it must be in (0, 1)")
    return name, eps
