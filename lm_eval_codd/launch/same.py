"""Which runs are provably the same, so that one of them is enough."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.gates import block_gates
from lm_eval_codd.launch.naming import number
from lm_eval_codd.launch.run_flags import CIRCUIT_SETTINGS
from lm_eval_codd.settings import DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.launch.runs import Run

_DEFAULTS: Final = {field.name: field.default for field in dataclasses.fields(DecodingConfig)}
# What the gates of a block take the place of; a block's window is the block.
_GATE_SETTINGS: Final = ("pc_frac", "reverse_frac", "pc_windows")


def answers_key(run: Run) -> Hashable:
    """Equal for runs whose answers are equal whatever the model says, as far as the settings tell.

    `topprob` is `low_confidence` where the settings do not tell them apart.
    In the block paradigm the gate's settings count by the steps at which they let the circuit act (`gates.block_gates`,
    which says what it assumes), and a circuit that never acts is none.
    """
    if run.config.alg == "topprob" and not run.config.tells_topprob_apart(coupled=run.circuit is not None):
        run = dataclasses.replace(run, config=dataclasses.replace(run.config, alg="low_confidence"))
    gates = None if run.circuit is None else block_gates(run.config, run.family)
    if gates is None:
        return run
    if not any(gates):
        return dataclasses.replace(run, circuit=None, config=_without(run.config, CIRCUIT_SETTINGS))
    return gates, dataclasses.replace(run, config=_without(run.config, _GATE_SETTINGS))


def merge(runs: Mapping[str, Run], rank: Callable[[str], int]) -> tuple[dict[str, Run], list[str]]:
    """Of runs that are the same, keep the one of the lowest `rank`, the first on ties; also says which were merged.

    Args:
        runs: by name, all different.
        rank: of a run's name; lower for results that are there already.
    """
    groups: dict[Hashable, list[str]] = {}
    for name, run in runs.items():
        groups.setdefault(answers_key(run), []).append(name)
    kept: set[str] = set()
    remarks: Counter[str] = Counter()
    for names in groups.values():
        # A run without a circuit is the simplest way to say that the circuit never acts.
        best = min(names, key=lambda name: (rank(name), runs[name].circuit is not None))
        kept.add(best)
        if len(names) > 1:
            remarks[_reason([runs[name] for name in names], runs[best])] += len(names) - 1
    lines = [f"merged   {text} ({count} {'run' if count == 1 else 'runs'} less)" for text, count in remarks.items()]
    return {name: run for name, run in runs.items() if name in kept}, lines


def _without(config: DecodingConfig, names: Sequence[str]) -> DecodingConfig:
    return dataclasses.replace(config, **{name: _DEFAULTS[name] for name in names})


def _reason(group: Sequence[Run], best: Run) -> str:
    config = best.config
    blocks = f"blocks of {config.block_length} of " if config.goes_by_blocks else ""
    at = f"at {config.num_steps} steps, {blocks}{config.gen_length}"
    if len(algs := sorted({run.config.alg for run in group})) > 1:
        at = f"{at}: alg {', '.join(algs)} are one rule"
    varied = {
        name: values
        for name in CIRCUIT_SETTINGS
        if len(values := sorted({getattr(run.config, name) for run in group if run.circuit is not None})) > 1
    }
    said = "; ".join(f"{name} {', '.join(_text(value) for value in values)}" for name, values in varied.items())
    if not varied and all((run.circuit is None) == (best.circuit is None) for run in group):
        return f"{at}; alg {config.alg} stands for all"
    one = next(run for run in group if run.circuit is not None)
    if not any(block_gates(one.config, one.family)):
        which = said or f"pc_frac {_text(one.config.pc_frac)}"
        kept = "the run without it stands" if best.circuit is None else f"pc_frac {_text(config.pc_frac)} stands"
        return f"{at}: the circuit never acts with {which}; {kept} for all"
    kept = ", ".join(f"{name} {_text(getattr(config, name))}" for name in varied)
    return f"{at}: {said} open the same gates; {kept} stands for all"


def _text(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value).lower()
