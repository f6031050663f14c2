"""Which run in a folder is of a published cell: the facts of both, and where they differ."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.reporting.metrics import task_arguments
from lm_eval_codd.reporting.protocol import FACTS
from lm_eval_codd.runs.checkpoints import split_revision
from lm_eval_codd.runs.same import RULES, answers_key
from lm_eval_codd.settings import (
    CIRCUIT_SETTINGS,
    ONLY_LIKELIHOODS,
    DecodingConfig,
    LikelihoodConfig,
    only_read,
    steps_follow_confidence,
)
from lm_eval_codd.task_files import task_files

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.runs.run import Run as PlannedRun

__all__ = ["NO_ROWS", "Measured", "differences", "is_same_checkpoint", "measured_in"]

# Draws of the same distribution, the tokens that a checkpoint names itself, and what says the number of steps again.
_NO_MATTER: Final = ("seed", "mask_id", "eos_id", "eot_id", "tokens_per_step", "compat")
_USUAL_LIKELIHOODS: Final = vars(LikelihoodConfig())
# What a model is made of beside its checkpoint.
_PARTS: Final = ("circuit", "peft", "planner", "tokenizer")
# What the launcher's rules for equal runs are about.
_MAY_NOT_MATTER: Final = {"circuit", *CIRCUIT_SETTINGS, *(rule.setting for rule in RULES)}
NO_ROWS: Final = "the rows are not the published ones"


@dataclass(frozen=True)
class Measured:
    """What one evaluation measured of a task, or of all tasks of a group.

    runs: of a task one for each of its metrics, of a group those of its tasks.
    """

    task: str
    runs: tuple[Run, ...]

    @property
    def run(self) -> Run:
        """One of them, for what they have in common."""
        return self.runs[0]

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What decides its answers, by name."""
        return _facts_of_run(self.run, self.task)

    @property
    def n(self) -> int:
        """Documents that were answered."""
        return sum({run.task: run.n or 0 for run in self.runs}.values())

    def counts(self, metric: str) -> tuple[int, int] | None:
        """Right answers and all answers under a metric ("metric,filter"); None where it is not k of n or not there."""
        correct = total = 0
        for run in {run.task: run for run in self.runs}.values():
            value, n = run.scores.get(metric), run.n
            if value is None or not n or run.repeats > 1:
                return None
            count = round(value * n)
            if abs(value * n - count) > 1e-6 * n or not 0 <= count <= n:
                return None
            correct, total = correct + count, total + n
        return correct, total

    def mean(self, metric: str, tasks: Sequence[str]) -> tuple[float, float] | None:
        """The unweighted mean over tasks, with its standard error; None where one of them or its error is not there."""
        by_task = {run.task: run.scores for run in self.runs}
        names = (metric, metric.replace(",", "_stderr,", 1))
        found = [tuple(by_task.get(task, {}).get(name) for name in names) for task in tasks]
        known = [(value, error) for value, error in found if value is not None and error is not None]
        if len(known) < len(tasks):
            return None
        values, errors = zip(*known, strict=True)
        return math.fsum(values) / len(tasks), math.hypot(*errors) / len(tasks)

    def value(self, metric: str) -> tuple[float, float | None] | None:
        """A figure of a single task with its standard error, in its own unit; None where it is not there."""
        if metric not in self.run.scores or len({run.task for run in self.runs}) > 1:
            return None
        return self.run.scores[metric], self.run.scores.get(metric.replace(",", "_stderr,", 1))


def measured_in(runs: Iterable[Run], groups: Iterable[str]) -> list[Measured]:
    """The evaluations among some runs by task, and of groups all of whose tasks are there; the latest last."""
    files: dict[tuple[str, float], dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.status == "finished" and run.scores:
            files[run.name, run.date][run.task].append(run)
    members = {group: names for group in set(groups) if len(names := _members(group)) > 1}
    found = []
    for _, by_task in sorted(files.items(), key=lambda item: item[0][1]):
        found += [Measured(task, tuple(of_task)) for task, of_task in by_task.items()]
        for group, names in members.items():
            if names <= by_task.keys():
                found.append(Measured(group, tuple(run for name in sorted(names) for run in by_task[name])))
    return found


def is_same_checkpoint(published: str, measured: str | None) -> bool:
    """Whether a run's checkpoint is the published one: its hub id at any revision, or a folder of that name."""
    if measured is None:
        return False
    here = split_revision(measured)[0]
    return here == published or (Path(here).is_absolute() and Path(here).name == published.rpartition("/")[2])


def differences(wanted: PlannedRun, measured: Measured) -> list[str]:
    """What a measurement has otherwise than the published cell, as `gen_length=512 (published 256)`."""
    published, here = _facts_of_plan(wanted), measured.facts
    names = [name for name, value in published.items() if here.get(name) != value]
    beyond = [name for name, value in here.items() if name not in published and value is not None]
    if _may_be_one([*names, *beyond], published, here) and _decodes_as(wanted, measured.run):
        names, beyond = [], []
    found = [f"{name}={_said(here.get(name))} (published {_said(published[name])})" for name in names]
    found += [f"{name}={_said(here[name])}" for name in beyond]
    if any(one.is_partial or (one.limit is not None and one.n != one.total) for one in measured.runs):
        found.append(f"{measured.n} of {sum({one.task: one.total or 0 for one in measured.runs}.values())} documents")
    if any(one.has_other_rows for one in measured.runs):
        found.append(NO_ROWS)
    return found


def _may_be_one(names: Sequence[str], published: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether these differences may change no answer; `_decodes_as` is sure, and takes a thousand times as long."""
    if not names or not set(names) <= _MAY_NOT_MATTER:
        return False
    steps = [facts["num_steps"] for facts in (published, here) if "num_steps" in facts]
    rules = {published.get("alg"), here.get("alg")}
    return ("num_steps" not in names or min(steps) >= published["gen_length"]) and (
        "alg" not in names or rules == {"low_confidence", "topprob"}
    )


def _decodes_as(wanted: PlannedRun, run: Run) -> bool:
    """Whether a run's answers are provably the published run's, whatever its settings say.

    As the launcher does such runs once, in place of all of them.
    """
    given = {name: run.settings[name] for name in FACTS if name in run.settings}
    given |= {name: getattr(wanted.config, name) for name in _NO_MATTER if name != "compat"}
    circuit = wanted.circuit if _last(run.circuit) == _last(wanted.circuit) else run.circuit
    try:
        other = dataclasses.replace(wanted, config=DecodingConfig(**given), circuit=circuit)
        return answers_key(other) == answers_key(wanted)
    except (ValueError, TypeError):  # settings of another version
        return False


def _members(group: str) -> set[str]:
    files = task_files()
    return {name for name, _ in files.configs(group)} if group in files.names else set()


@lru_cache(maxsize=1024)
def _facts_of_plan(run: PlannedRun) -> Mapping[str, Any]:
    facts: dict[str, Any] = {
        "task": run.task,
        **({} if run.num_shot is None else {"num_fewshot": run.num_shot}),
        "chat template": bool(run.chat_template),
        "examples as turns": run.fewshot_as_multiturn is not False if run.num_shot and run.chat_template else None,
        "add_bos_token": run.add_bos_token,
        **{name: _last(getattr(run, name)) for name in _PARTS},
    }
    if run.decodes_nothing:
        asked = run.likelihoods
        return facts | _of_likelihoods(asked.estimator, vars(asked), run.config.cfg_scale)
    arguments = task_arguments(json.loads(run.metadata or "{}"))
    return facts | _of_decoding(vars(run.config), coupled=run.circuit is not None) | arguments


def _facts_of_run(run: Run, task: str) -> dict[str, Any]:
    is_chat = run.chat_template_sha is not None
    facts: dict[str, Any] = {
        "task": task,
        "num_fewshot": run.num_fewshot,
        "chat template": is_chat,
        "examples as turns": run.has_turns if run.num_fewshot and is_chat else None,
        "add_bos_token": run.model_arguments.get("add_bos_token"),
        "circuit": _last(run.circuit),
        "peft": _last(run.peft),
        **{name: _last(run.model_arguments.get(name)) for name in ("planner", "tokenizer")},
    }
    if run.estimator is not None:
        given = {**_USUAL_LIKELIHOODS, **{n: v for n, v in run.task_arguments.items() if n in ONLY_LIKELIHOODS}}
        return facts | _of_likelihoods(run.estimator, given, run.settings.get("cfg_scale", 0.0))
    others = {name: value for name, value in run.task_arguments.items() if name not in ONLY_LIKELIHOODS}
    return facts | _of_decoding(run.settings, coupled=run.has_circuit) | others


def _of_likelihoods(estimator: str, settings: Mapping[str, Any], cfg_scale: float) -> dict[str, Any]:
    usual = LikelihoodConfig(estimator=estimator)
    read = [name for name in ONLY_LIKELIHOODS if usual.reads(name) and name not in ("estimator", "is_greedy")]
    return {"estimator": estimator, "cfg_scale": cfg_scale, **{name: settings[name] for name in read}}


def _of_decoding(settings: Mapping[str, Any], *, coupled: bool) -> dict[str, Any]:
    """The settings that decide what is decoded, without those that nothing reads here."""
    has_cache = settings.get("cache", "none") != "none"
    decoder = settings.get("decoder", DecodingConfig.decoder)
    read = {"decoder": decoder, **only_read(decoder, settings)}
    skipped = set(_NO_MATTER)
    for name, facts in FACTS.items():
        is_other_paradigms = facts.paradigm not in (None, settings.get("paradigm")) and not has_cache
        if is_other_paradigms or (facts.is_circuits and not coupled):
            skipped.add(name)
    if not coupled:
        skipped.update(CIRCUIT_SETTINGS)
    if steps_follow_confidence(settings):
        skipped.add("num_steps")
    return {name: value for name, value in read.items() if name not in skipped}


def _last(checkpoint: str | None) -> str | None:
    return None if checkpoint is None else Path(split_revision(checkpoint)[0]).name


def _said(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
