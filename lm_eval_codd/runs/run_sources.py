"""Where a run's parts come from: the flags that name a checkpoint, an adapter, a circuit, a planner, a tokenizer.

Each takes the flags that were given; every error is one line that names the flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_codd.catalogue import CHECKPOINT_FLAGS, COUPLING, DEFAULT_CHECKPOINTS
from lm_eval_codd.files import hub_ids
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.unconditional import KINDS
from lm_eval_codd.settings import CIRCUIT_SETTINGS, DECODERS, DecodingConfig, either


def read_checkpoint(alias: str, given: Mapping[str, Any]) -> tuple[str, str]:
    """The flag of the model and the checkpoint.

    Raises:
        ValueError: the flag is another model's or missing, or names no checkpoint, or one of another model.
    """
    flag = CHECKPOINT_FLAGS[alias]
    for other in CHECKPOINT_FLAGS.values():
        if other != flag and other in given:
            raise ValueError(f"`--{other}` is not read with --model_alias {alias}; use --{flag}")
    value = given.get(flag, DEFAULT_CHECKPOINTS.get(alias))
    if value is None:
        raise ValueError(f"`--{flag}` is missing; give {'a file' if alias == COUPLING else 'a folder or a hub id'}")
    checkpoint = checkpoints.resolve(flag, value, file_allowed=alias in KINDS)
    if checkpoints.is_packaged(checkpoint) and (alias == "dream" or alias in KINDS):
        raise ValueError(
            f"`--{flag} {checkpoint}`: {checkpoint} is a LLaDA checkpoint; use --model_alias llada --llada_ckpt "
            f"{checkpoint}"
        )
    return flag, checkpoint


def read_adapter(given: Mapping[str, Any]) -> str | None:
    """The LoRA adapter.

    Raises:
        ValueError: the flag names no adapter.
    """
    if "peft_ckpt" not in given:
        return None
    adapter = checkpoints.resolve("peft_ckpt", given["peft_ckpt"])
    if not checkpoints.is_hub_id(adapter):
        checkpoints.check_adapter("peft_ckpt", adapter)
    return adapter


def read_circuit(given: Mapping[str, Any], config: DecodingConfig) -> str | None:
    """The circuit.

    Raises:
        ValueError: the decoder takes none, or the flag names none.
    """
    value = given.get("pc_ckpt", "none")
    if value != "none" and DECODERS[config.decoder].circuits is None:
        raise ValueError(f"`--pc_ckpt {value}` does not go with `--decoder {config.decoder}`; leave out one of them")
    return None if value == "none" else checkpoints.resolve("pc_ckpt", value, file_allowed=True)


def read_planner(given: Mapping[str, Any], config: DecodingConfig) -> str | None:
    """The model that scores what is decided.

    Raises:
        ValueError: the decoder reads none, or the flag names no checkpoint.
    """
    if "planner_ckpt" not in given:
        return None
    if not DECODERS[config.decoder].takes_planner:
        readers = either(f"--decoder {name}" for name, facts in DECODERS.items() if facts.takes_planner)
        raise ValueError(f"`--planner_ckpt {given['planner_ckpt']}` is read by {readers}; add that, or leave it out")
    return checkpoints.resolve("planner_ckpt", given["planner_ckpt"])


def read_tokenizer(given: Mapping[str, Any]) -> str | None:
    """Another tokenizer than the checkpoint's.

    Raises:
        ValueError: the flag names none, or one at a revision.
    """
    if "tokenizer" not in given:
        return None
    tokenizer = checkpoints.resolve("tokenizer", hub_ids.with_owner(given["tokenizer"]))
    if checkpoints.split_revision(tokenizer)[1] is not None:
        raise ValueError(f"`--tokenizer {tokenizer}`: a tokenizer is not pinned to a revision; give owner/name")
    return tokenizer


def drop_circuit_settings(given: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """Drop a circuit's settings, which change nothing without one, where `none` is said.

    Raises:
        ValueError: one is given, and nothing is said of a circuit.
    """
    for name in CIRCUIT_SETTINGS:
        if name in given and "pc_ckpt" not in given:
            raise ValueError(f"`--{name}` is read by a circuit only; add --pc_ckpt, or leave it out")
        settings.pop(name, None)
