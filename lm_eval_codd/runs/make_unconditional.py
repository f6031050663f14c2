"""From the flags of a run to the run, for models without prompts: the DiT family and Coupling Models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.catalogue import CHECKPOINT_FLAGS, COUPLING, DIT_MODELS
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.run import decodes_nothing
from lm_eval_codd.runs.run_sources import drop_circuit_settings, read_checkpoint, read_tokenizer
from lm_eval_codd.runs.run_task import (
    number_or_word,
    read_batch_size,
    read_documents,
    read_include_path,
    read_metadata,
    read_num_shot,
    task_name,
)
from lm_eval_codd.runs.unconditional import ALGO_OF, KINDS, Kind, UnconditionalRun
from lm_eval_codd.settings import DiTSettings, unknown_value
from lm_eval_codd.settings.coupling import CouplingSettings
from lm_eval_codd.settings.dit import ALGO_OF_TYPE

_OF_MODEL: Final = ("model_alias", "algo", "ema", "mask_id", "tokenizer", "dtype", "max_length", "batch_size")
_OF_TASK: Final = ("task", "num_shot", "template", "metadata", "include_path", "confirm_run_unsafe_code")
_OF_DOCUMENTS: Final = ("limit", "sample_sid", "sample_eid", "tag")
_READ: Final = (*_OF_MODEL, *_OF_TASK, *_OF_DOCUMENTS, *CHECKPOINT_FLAGS.values(), "pc_ckpt")


def make_unconditional(alias: str, given: Mapping[str, Any]) -> UnconditionalRun:
    """A checked run from the values of its flags; raises `ValueError` like `make_run`."""
    kind, task = KINDS[alias], task_name(given["task"])
    _check_read(alias, kind, given)
    flag, checkpoint = read_checkpoint(alias, given)
    include_path = read_include_path(given, task)
    circuit = _read_circuit(alias, given)
    is_decoded = not decodes_nothing(task, include_path)
    if alias == COUPLING and not is_decoded:
        raise ValueError(
            f"`--task {given['task']}` asks for likelihoods, and a Coupling Model has samples alone; use dlm_gen_ppl"
        )
    if alias in ALGO_OF:
        _check_dit(alias, flag, checkpoint, given)
    elif checkpoints.is_hub_id(checkpoint) or not Path(checkpoint).is_file():
        raise ValueError(f"`--{flag} {checkpoint}` is no file; give a .pt of the training code")
    limit, samples = read_documents(given)
    return UnconditionalRun(
        family=alias,
        checkpoint=checkpoint,
        task=task,
        config=_config(alias, kind, given, is_coupled=circuit is not None, is_decoded=is_decoded),
        circuit=circuit,
        tokenizer=read_tokenizer(given),
        algo=given.get("algo"),
        ema=given.get("ema", True),
        mask_id=given.get("mask_id"),
        metadata=read_metadata(given, task, number_or_word),
        dtype=given.get("dtype"),
        batch_size=read_batch_size(given),
        num_shot=read_num_shot(given, task),
        include_path=include_path,
        limit=limit,
        samples=samples,
        max_length=given.get("max_length"),
        tag=given.get("tag") or None,
        confirm_run_unsafe_code=given.get("confirm_run_unsafe_code", False),
    )


def _check_read(alias: str, kind: Kind, given: Mapping[str, Any]) -> None:
    unread = ["pc_ckpt" if name == "circuit" else name for name in kind.unread]
    for name, value in given.items():
        is_none = name == "pc_ckpt" and value == "none"
        if not is_none and (name in unread or name not in (*_READ, *kind.fields)):
            raise ValueError(f"`--{name}` is not read with --model_alias {alias}; leave it out")
    for name, least in (("max_length", 1), ("mask_id", 0)):
        if given.get(name) is not None and given[name] < least:
            raise ValueError(f"`--{name} {given[name]}` must be {least} or more")


def _read_circuit(alias: str, given: Mapping[str, Any]) -> str | None:
    value = given.get("pc_ckpt", "none")
    if value == "none":
        return None
    if ALGO_OF[alias] in ("duo", "ar"):
        raise ValueError(f"`--pc_ckpt {value}` does not go with --model_alias {alias}, which has no mask; leave it out")
    return checkpoints.resolve("pc_ckpt", value, file_allowed=True)


def _config(
    alias: str, kind: Kind, given: Mapping[str, Any], *, is_coupled: bool, is_decoded: bool
) -> DiTSettings | CouplingSettings:
    """What is said and read by the task, and is not usual anyway."""
    settings = {field.name: given[flag] for flag, field in kind.fields.items() if flag in given}
    if not is_coupled:
        drop_circuit_settings(given, settings)
    if alias == COUPLING:
        with kind.in_flags():
            return CouplingSettings(**settings)
    algo = ALGO_OF[alias]
    resolved = DiTSettings.for_algo(algo, coupled=is_coupled, **settings)
    usual = vars(DiTSettings.for_algo(algo, coupled=is_coupled))
    read = resolved.of_samples() if is_decoded else resolved.of_bounds()
    return DiTSettings(**{name: value for name, value in read.items() if value != usual[name]})


def _check_dit(alias: str, flag: str, checkpoint: str, given: Mapping[str, Any]) -> None:
    """What a folder says of its algorithm and its length; `lm_eval_codd.dit` proves the rest."""
    asked = given.get("algo")
    if asked is not None and DIT_MODELS.get(str(asked)) != alias:
        if asked in DIT_MODELS:
            raise ValueError(f"`--algo {asked}` is another model's; use --model_alias {DIT_MODELS[asked]}")
        raise ValueError(unknown_value("algo", asked, DIT_MODELS))
    if checkpoints.is_hub_id(checkpoint) or Path(checkpoint).is_file():
        return
    checkpoints.check_model(flag, checkpoint, None)
    fields = checkpoints.read_json(Path(checkpoint) / "config.json")
    model_type = str(fields.get("model_type"))
    if model_type not in ALGO_OF_TYPE:
        raise ValueError(
            f"`--{flag} {checkpoint}` is a checkpoint of model_type {model_type}, and of the DiT family are "
            f"{', '.join(ALGO_OF_TYPE)}; use --model_alias masked_lm"
        )
    own = fields.get("algo") or ("ar" if fields.get("causal") else ALGO_OF_TYPE[model_type])
    if asked is None and own in DIT_MODELS and DIT_MODELS[own] != alias:
        raise ValueError(
            f"`--{flag} {checkpoint}` says that it is {own}, and weights of all algorithms look alike; use "
            f"--model_alias {DIT_MODELS[own]}, or --algo {ALGO_OF[alias]} if that is what it was trained with"
        )
    longest = fields.get("model_length")
    for name in ("max_length", "gen_length"):
        if isinstance(longest, int) and (given.get(name) or 0) > longest:
            raise ValueError(f"`--{name} {given[name]}` is more than the {longest} tokens that {checkpoint} takes")
