"""What lm-eval passes to a model's constructor, and what can be said of it before a checkpoint is opened."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.catalogue import DEFAULT_CHECKPOINTS
from lm_eval_codd.models.evaluation import running_evaluation
from lm_eval_codd.models.gen_kwargs import SETTINGS
from lm_eval_codd.names import check_names, translate
from lm_eval_codd.settings import CIRCUIT_SETTINGS, ONLY_LIKELIHOODS

if TYPE_CHECKING:
    from lm_eval_codd.settings import Family

eval_logger = logging.getLogger("lm_eval.codd")

# What lm-eval fills in where a user gave none, on machines without a GPU too.
_HARNESS_DEVICE: Final = "cuda:0"
_HARNESS_BATCH_SIZE: Final = "1"


@dataclass(frozen=True)
class Kind:
    """What tells one model class from another.

    Attributes:
        name: as `--model` says it, of the one without a circuit.
        family: whose checkpoints it takes; None for those of any.
        example: a checkpoint, for messages.
        takes_circuit: whether it needs a circuit, or has none.
        arguments: what its constructor takes, settings of a decode included.
    """

    name: str
    family: Family | None
    example: str
    takes_circuit: bool
    arguments: frozenset[str]


def from_harness(
    known: Collection[str], model_args: Mapping[str, Any], additional: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Constructor arguments, which are `known`, from `--model_args` and from lm-eval's own options; model_args win.

    Other projects' names are read in model_args, and said in the log. A device that lm-eval filled in itself is left
    out, which means "choose": this process's own GPU, or the CPU where there is none.

    Raises:
        ValueError: one line, for an unknown name or for one thing said twice.
    """
    read, said = translate(model_args, known)
    given = {name: value for name, value in (additional or {}).items() if value is not None}
    if "device" in given:
        evaluation = running_evaluation()
        typed = None if evaluation is None else evaluation.typed_device
        if typed is None and given["device"] == _HARNESS_DEVICE:
            del given["device"]
        elif typed == _HARNESS_DEVICE and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            given["device"] = "cuda"  # a GPU for each process, as lm-eval's own models understand it
    for name, value in given.items():
        if name in read and str(read[name]) != str(value) and str(value) != _HARNESS_BATCH_SIZE:
            eval_logger.warning(
                "`--%s %s` does nothing beside `%s=%s` of --model_args, which wins", name, value, name, read[name]
            )
    for line in said:
        eval_logger.warning("%s", line)
    return {**given, **read}


def argument_names(model: Callable[..., Any]) -> frozenset[str]:
    """What a model's constructor takes, settings of a decode included."""
    return frozenset({*SETTINGS, *ONLY_LIKELIHOODS, *inspect.signature(model).parameters} - {"settings"})


def check_arguments(
    kind: Kind,
    settings: Mapping[str, Any],
    *,
    pretrained: str | None,
    family: str | None,
    trust: bool | None,
    attn_implementation: str | None,
    pc: str | None,
) -> str:
    """The checkpoint. Raises `ValueError`, one line, for arguments that are unknown, missing or cannot go together."""
    example = f"a folder or a hub id, such as pretrained={kind.example}"
    pretrained = check_checkpoint(settings, kind.arguments, pretrained, trust=trust, example=example)
    if kind.family is not None and family not in (None, kind.family):
        other = family if family in DEFAULT_CHECKPOINTS else "masked_lm"
        raise ValueError(f"`family={family}` is another model's; use --model {other}")
    if attn_implementation not in (None, "sdpa"):
        eval_logger.warning(
            "`attn_implementation=%s` does nothing: attention is torch's scaled_dot_product_attention, which chooses "
            "its kernels itself",
            attn_implementation,
        )
    if kind.takes_circuit:
        if not pc or not isinstance(pc, str | os.PathLike):
            raise ValueError(f"`pc` is missing; give a circuit (file, folder or hub id), or use --model {kind.name}")
        return pretrained
    if pc is not None:
        raise ValueError(f"`pc={pc}` needs a model with a circuit; use --model codd_{kind.name}")
    for name in CIRCUIT_SETTINGS:
        if name in settings and settings[name] != SETTINGS[name].default:
            raise ValueError(
                f"`{name}={settings[name]}` does nothing without a circuit; use --model codd_{kind.name} with pc="
            )
    return pretrained


def check_checkpoint(
    settings: Mapping[str, Any],
    known: Collection[str],
    pretrained: str | None,
    *,
    trust: bool | None,
    example: str,
) -> str:
    """The checkpoint; says what `trust_remote_code` does.

    Args:
        settings: what was given beside the named arguments.
        known: every argument there is.
        pretrained: the checkpoint, where one was given.
        trust: `trust_remote_code`.
        example: what may be given.

    Raises:
        ValueError: one line: an argument is unknown, or there is no checkpoint.
    """
    check_names(settings, known)
    if not pretrained:
        raise ValueError(f"`pretrained` is missing; give {example}")
    if trust:
        eval_logger.warning("`trust_remote_code` does nothing: no code of a checkpoint is ever run")
    return pretrained


def whole_number(name: str, value: int | str, *, instead: str = "") -> int:
    """`value` as an int of 1 or more. Raises `ValueError` for anything else; `instead` is what is allowed beside it."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):  # of an infinity
        number = 0
    if number < 1 or isinstance(value, bool | float):
        raise ValueError(f"`{name}={value}` must be a whole number of 1 or more{instead}")
    return number


def true_or_false(name: str, value: bool | None) -> bool | None:
    """`value`, or None where none is given. Raises `ValueError` for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):  # as lm-eval leaves the word in lower case
        return str(value).lower() == "true"
    raise ValueError(f"`{name}={value}` must be True or False")


def json_object(name: str, value: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """`value` as a dictionary, out of the JSON text that it has on a command line. Raises `ValueError`, one line."""
    read: Any = value or {}
    if isinstance(read, str):
        try:
            read = json.loads(read)
        except (ValueError, RecursionError):
            read = None
    if not isinstance(read, Mapping):
        raise ValueError(f'`{name}={value}` must be a JSON object, such as {{"enable_thinking": false}}')
    return dict(read)


def choose_max_length(asked: int | None, of_checkpoint: int) -> int:
    """Tokens of prompt and answer together. Raises `ValueError` for more than the checkpoint was made for."""
    if asked is not None and asked > of_checkpoint:
        raise ValueError(f"`max_length={asked}` is more than the checkpoint's {of_checkpoint}; use at most that")
    return of_checkpoint if asked is None else asked


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
