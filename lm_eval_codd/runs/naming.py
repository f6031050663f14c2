"""The name of a run: readable, safe as a folder name, and different for runs that differ."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.catalogue import DEFAULT_CHECKPOINTS
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.run import is_own_task
from lm_eval_codd.runs.run_flags import CIRCUIT_SETTINGS

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

# A folder name may have 255 bytes; this leaves room for suffixes and stays readable.
_LONGEST: Final = 180
_HASH_DIGITS: Final = 8
# Settings that `Run.named` is made of.
_ALWAYS_NAMED: Final = ("alg", "num_steps", "steps", "predictor")


def run_name(run: Run) -> str:
    """`llada_gsm8k_low_confidence_steps64_pc-llada-gsm-pc`: model, task, rule and steps, then whatever is not default.

    Where the confidences decide on the steps, their rule (`threshold-0.9`) stands among the rest, and no `steps`.
    A name that had to be shortened or cleaned ends with a hash of the whole run, so that two runs never share one.
    """
    return _name(run, _parts(run))


def _name(run: Run, parts: Sequence[str]) -> str:
    written = "_".join(parts)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", written)
    if name == written and len(name) <= _LONGEST and not any(_is_ambiguous(value) for value in _free_values(run)):
        return name
    return f"{name[: _LONGEST - _HASH_DIGITS - 1]}-{_digest(run)}"


def labels(runs: Mapping[str, Run]) -> dict[str, str]:
    """What tells each of some runs from the others, in the words of their names; the whole name where nothing does."""
    parts = {name: _parts(run) for name, run in runs.items()}
    common = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    short = {name: " ".join(part for part in own if part not in common) for name, own in parts.items()}
    taken = Counter(short.values())
    return {name: label if label and taken[label] == 1 and common else name for name, label in short.items()}


def other_parts(runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """Of each run's name, what is not its task, rule (with its options), steps or circuit, nor the same for all."""
    parts = {}
    for name, run in runs.items():
        family, _, *rest = _parts(run)
        of_rule = tuple(f"{option.partition('=')[0]}-" for option in run.rule.split()[1:])
        parts[name] = [family, *(part for part in rest[len(run.named) :] if not part.startswith(of_rule))]
    common = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    return {
        name: [part for part in own if part not in common and not part.startswith("pc-")] for name, own in parts.items()
    }


def _parts(run: Run, *, names_no_shots: bool = True) -> list[str]:
    parts = [run.family, run.short_task, *run.named]
    if run.checkpoint != DEFAULT_CHECKPOINTS.get(run.family):
        parts.append(f"ckpt-{_short(run.checkpoint)}")
    if run.attention is not None:
        parts.append(f"attention-{run.attention}")
    if run.peft is not None:
        parts.append(f"peft-{_short(run.peft)}")
    if run.circuit is not None:
        parts.append(f"pc-{_short(run.circuit)}")
    if run.planner is not None:
        parts.append(f"planner-{_short(run.planner)}")
    if run.tokenizer is not None:
        parts.append(f"tokenizer-{_short(run.tokenizer)}")
    if run.add_bos_token is not None:
        parts.append("bos" if run.add_bos_token else "no-bos")
    parts += _written(run.chat_template_args) + _of_task(run.metadata) + _of_likelihoods(run)
    if run.max_length is not None and run.protocol == "paper":
        parts.append(f"max_length-{run.max_length}")
    parts += _settings(run)
    if run.protocol != "paper":
        parts.append(run.protocol)
    if run.dtype is not None:
        parts.append(f"dtype-{run.dtype}")
    if run.batch_size != "1":
        parts.append(f"batch-{run.batch_size}")
    if run.chat_template is not type(run).chat_template:
        parts.append("no-template" if run.chat_template is False else f"template-{run.chat_template}")
    if run.num_shot or (run.num_shot == 0 and names_no_shots and not is_own_task(run.task)):
        parts.append(f"shot{run.num_shot}")
    if run.fewshot_as_multiturn is not None:
        parts.append("turns" if run.fewshot_as_multiturn else "one-turn")
    if run.include_path is not None:
        parts.append(f"tasks-{_short(run.include_path)}")
    if run.limit is not None:
        parts.append(f"limit{number(run.limit)}")
    if run.samples is not None:
        parts.append("docs{}-{}".format(*run.samples))
    if run.tag is not None:
        parts.append(f"tag-{run.tag}")
    return parts


def _of_likelihoods(run: Run) -> list[str]:
    return [part for part in _written(run.likelihood) if not (run.decodes_nothing and part.startswith("estimator-"))]


def former_name(run: Run) -> str | None:
    """The name that the run had while 0 examples were not named; None where it has no other."""
    if run.num_shot != 0 or is_own_task(run.task):
        return None
    return _name(run, _parts(run, names_no_shots=False))


def number(value: float) -> str:
    """A number as a person writes it: 8 for 8.0."""
    return str(int(value)) if float(value).is_integer() else str(value)


def _settings(run: Run) -> list[str]:
    parts = []
    for name, value in run.unusual.items():
        if name in _ALWAYS_NAMED:
            continue
        if name in CIRCUIT_SETTINGS and run.circuit is None:
            continue
        if name == "stop_at_eos" and run.protocol == "official":
            continue
        text = number(value) if isinstance(value, float) else str(value).lower()
        parts.append(f"{name}-{text}")
    return parts


def _written(json_object: str | None) -> list[str]:
    return [] if json_object is None else [f"{name}-{value}" for name, value in json.loads(json_object).items()]


def _of_task(metadata: str | None) -> list[str]:
    """Its arguments; a template of the task is a `prompt`, since a chat template has a name too."""
    return [re.sub("^template-", "prompt-", part) for part in _written(metadata)]


def _free_values(run: Run) -> list[str]:
    template = run.chat_template if isinstance(run.chat_template, str) else None
    texts = (template, run.include_path, run.tag, run.chat_template_args, run.metadata)
    values = (*run.sources.values(), *texts)
    return [value for value in values if value is not None]


def _is_ambiguous(value: str) -> bool:
    """Whether its place in a name could stand for something else: a shortened path, or a second part after `_`."""
    return "_" in value or Path(value).is_absolute()


def _short(checkpoint: str) -> str:
    """A hub id with its slash made safe (`--` cannot occur in one), or the last part of a path."""
    return checkpoint.replace("/", "--") if checkpoints.is_hub_id(checkpoint) else Path(checkpoint).name


def _digest(run: Run) -> str:
    text = json.dumps(run.identity(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
