"""What lm-eval passes to a model's constructor, and what can be said of it before a checkpoint is opened."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.models.gen_kwargs import SETTINGS
from lm_eval_codd.names import check_names

if TYPE_CHECKING:
    from lm_eval_codd.models.diffusion_lm import DiffusionLM
    from lm_eval_codd.settings import DecodingConfig

eval_logger = logging.getLogger("lm_eval.codd")

# lm-eval passes this as `--device` when a user gave none, on machines without a GPU too.
_HARNESS_DEVICE: Final = "cuda:0"

_CIRCUIT_SETTINGS: Final = ("pc_temperature", "pc_frac", "reverse_frac", "pc_sampling", "pc_windows")


def from_harness(model_args: Mapping[str, Any], additional: Mapping[str, Any] | None) -> dict[str, Any]:
    """Constructor arguments from `--model_args` and from lm-eval's own options; model_args win.

    `--device cuda:0` cannot be told from lm-eval's default and means "choose": this process's own GPU, or the CPU
    where there is none. In model_args it means that GPU and no other.
    """
    given = {name: value for name, value in (additional or {}).items() if value is not None}
    if given.get("device") == _HARNESS_DEVICE:
        del given["device"]
    return {**given, **model_args}


# What other model classes of lm-eval, and the families' own scripts, call an argument.
_CALLED_ELSEWHERE: Final = {
    "cfg": "cfg_scale",
    "max_gen_toks": "gen_length",
    "max_new_tokens": "gen_length",
    "parallelize": "device_map=auto",
    "remasking": "alg",
    "steps": "num_steps",
}


def check_arguments(
    model: type[DiffusionLM],
    settings: Mapping[str, Any],
    *,
    pretrained: str | None,
    family: str | None,
    trust: bool | None,
    pc: str | None,
) -> None:
    """Raise `ValueError`, one line, for arguments that are unknown, missing or cannot go together."""
    for name in settings:
        if name in _CALLED_ELSEWHERE:
            raise ValueError(f"unknown argument `{name}`; here it is `{_CALLED_ELSEWHERE[name]}`")
    check_names(settings, {*SETTINGS, *inspect.signature(model).parameters} - {"settings"})
    if not pretrained:
        raise ValueError(f"`pretrained` is missing; give a folder or a hub id, such as pretrained={model.example}")
    if family not in (None, model.family):
        raise ValueError(f"`family={family}` is another model's; use --model {family}")
    if trust:
        raise ValueError("`trust_remote_code=True` is never needed: no code of a checkpoint is run; leave it out")
    if model.takes_circuit:
        if not pc or not isinstance(pc, str | os.PathLike):
            raise ValueError(f"`pc` is missing; give a circuit (file, folder or hub id), or use --model {model.family}")
        return
    if pc is not None:
        raise ValueError(f"`pc={pc}` needs a model with a circuit; use --model codd_{model.family}")
    for name in _CIRCUIT_SETTINGS:
        if name in settings and settings[name] != SETTINGS[name].default:
            raise ValueError(
                f"`{name}={settings[name]}` does nothing without a circuit; use --model codd_{model.family} with pc="
            )


def whole_number(name: str, value: int | str, *, instead: str = "") -> int:
    """`value` as an int of 1 or more. Raises `ValueError` for anything else; `instead` is what is allowed beside it."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or isinstance(value, bool | float):
        raise ValueError(f"`{name}={value}` must be a whole number of 1 or more{instead}")
    return number


def choose_max_length(asked: int | None, of_checkpoint: int) -> int:
    """Tokens of prompt and answer together. Raises `ValueError` for more than the checkpoint was made for."""
    if asked is not None and asked > of_checkpoint:
        raise ValueError(f"`max_length={asked}` is more than the checkpoint's {of_checkpoint}; use at most that")
    return of_checkpoint if asked is None else asked


def check_room(config: DecodingConfig, max_length: int) -> None:
    """Raise `ValueError` when an answer leaves no room for a prompt."""
    if config.gen_length >= max_length:
        raise ValueError(
            f"`gen_length={config.gen_length}` leaves no room for a prompt in `max_length={max_length}`; use a smaller "
            "gen_length"
        )


def choose_device(asked: str | None, local_rank: int) -> torch.device:
    """The device that this process computes on.

    Args:
        asked: `cpu`, `cuda` or `cuda:<id>` (confidences need float64, which Apple's GPUs lack); None for a GPU when
            there is one. A bare `cuda` and None are this process's own GPU when several share a machine.
        local_rank: index of this process on its machine.

    Raises:
        ValueError: the device is unknown or not there.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked is None:
        # `accelerate launch --cpu` and `ACCELERATE_USE_CPU=true torchrun` ask for the CPU this way.
        keep_off = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        asked = "cuda" if num_gpus and not keep_off else "cpu"
        if asked == "cpu":
            eval_logger.info("No GPU to use: decoding on the CPU.")
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError):
        raise ValueError(f"`device={asked}` is not known; use cpu, cuda or cuda:<id>") from None
    if device.type == "cuda":
        index = local_rank if device.index is None else device.index
        if index >= num_gpus:
            raise ValueError(f"`device={asked}` needs GPU {index}, and {_gpus_here(num_gpus)}; use {_others(num_gpus)}")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise ValueError(f"`device={asked}` cannot decode; use cpu, cuda or cuda:<id>")
    return device


def _gpus_here(num_gpus: int) -> str:
    return (
        ("no GPU", "only GPU 0")[num_gpus] + " is visible" if num_gpus < 2 else f"GPUs 0 to {num_gpus - 1} are visible"
    )


def _others(num_gpus: int) -> str:
    return "one of these, or fewer processes" if num_gpus else "device=cpu"
