"""Which runs are provably the same, so that one is enough: a rule for each setting, and the gates of circuits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lm_eval_codd.runs.gates import block_gates
from lm_eval_codd.runs.naming import number
from lm_eval_codd.runs.run_flags import CIRCUIT_SETTINGS
from lm_eval_codd.settings import DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

_DEFAULTS: Final[dict[str, Any]] = {field.name: field.default for field in dataclasses.fields(DecodingConfig)}
# The rules below are proven for these.
_KNOWN_DECODERS: Final = ("unmasking", "cad")
# What the gates of a block take the place of.
_GATE_SETTINGS: Final = ("pc_frac", "reverse_frac")


class Rule(NamedTuple):
    """When a setting does not change a run's answers.

    Attributes:
        setting: a field of `DecodingConfig`.
        why: why not, for the user.
        value: of a run, the value that stands for all that have no effect there; None where the setting may have one.
    """

    setting: str
    why: str
    value: Callable[[Run], Any | None]


def _fewest_steps(run: Run) -> int | None:
    config = run.config
    if not _has_table(run) or config.steps <= config.gen_length:
        return None
    # Past one step a token a block's steps commit nothing and are skipped. They still count in the numbers of the later
    # blocks' steps, which draws belong to.
    return None if _draws(run) and config.num_blocks > 1 else config.gen_length


def _low_confidence(run: Run) -> str | None:
    is_one = run.config.alg == "topprob" and not run.config.tells_topprob_apart(coupled=run.circuit is not None)
    return "low_confidence" if is_one else None


def _default_unless(setting: str, has_effect: Callable[[Run], bool]) -> Callable[[Run], Any | None]:
    return lambda run: None if has_effect(run) else _DEFAULTS[setting]


def _draws(run: Run) -> bool:
    """Whether random numbers are drawn."""
    config = run.config
    draws_latents = run.circuit is not None and config.pc_sampling not in ("map", "marginal")
    return bool(config.temperature or config.alg_temp or "random" in (config.alg, config.selection) or draws_latents)


def _has_table(run: Run) -> bool:
    """Whether each step of a block commits as many as LLaDA's table says."""
    config = run.config
    goes_by_table = config.paradigm == "block" and (config.cache == "none" or run.family == "llada")
    goes_by_table &= not config.has_rounded_counts(run.family)
    return goes_by_table and config.decoder == "unmasking" and not config.steps_follow_confidence


def _goes_by_blocks(run: Run) -> bool:
    return run.config.goes_by_blocks


def _has_time_grid(run: Run) -> bool:
    return not _has_table(run) and not run.config.steps_follow_confidence


RULES: Final = (
    Rule("alg", "they are one rule here", _low_confidence),
    Rule("num_steps", "a block has no more steps that commit than tokens", _fewest_steps),
    Rule("seed", "nothing is drawn", _default_unless("seed", _draws)),
    Rule("block_length", "the whole canvas is one block", _default_unless("block_length", _goes_by_blocks)),
    Rule("eps", "there is no time grid", _default_unless("eps", _has_time_grid)),
    Rule("pc_windows", "windows are the blocks", _default_unless("pc_windows", lambda run: not _goes_by_blocks(run))),
)


def answers_key(run: Run) -> Hashable:
    """Equal for runs whose answers are equal whatever the model says, as far as the settings tell.

    In the block paradigm the gate's settings count by the steps at which they let the circuit act (`gates.block_gates`,
    which says what it assumes), and a circuit that never acts is none.
    """
    if not isinstance(run.config, DecodingConfig) or run.config.decoder not in _KNOWN_DECODERS or run.likelihoods_asked:
        return run
    gates = None if run.circuit is None else block_gates(run.config, run.family)
    if gates is not None and not any(gates):
        gates, run = None, _replaced(run, CIRCUIT_SETTINGS, circuit=None)
    elif gates is not None:
        run = _replaced(run, _GATE_SETTINGS)
    for rule in RULES:
        if (value := rule.value(run)) is not None:
            run = dataclasses.replace(run, config=dataclasses.replace(run.config, **{rule.setting: value}))
    return gates, run


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


def _replaced(run: Run, names: Sequence[str], **changes: Any) -> Run:
    """The run with defaults in place of some settings."""
    config = dataclasses.replace(run.config, **{name: _DEFAULTS[name] for name in names})
    return dataclasses.replace(run, config=config, **changes)


def _reason(group: Sequence[Run], best: Run) -> str:
    texts = []
    for rule in RULES:
        values = _values(group, rule.setting)
        if len(values) > 1 and rule.setting not in CIRCUIT_SETTINGS:
            kept = _text(getattr(best.config, rule.setting))
            texts.append(f"{rule.setting} {_list(values)}: {rule.why}; {kept} stands for all")
    with_circuit = [run for run in group if run.circuit is not None]
    varied = {name: values for name in CIRCUIT_SETTINGS if len(values := _values(with_circuit, name)) > 1}
    if varied or 0 < len(with_circuit) < len(group):
        texts.append(_reason_of_circuit(with_circuit[0], varied, best))
    return "; ".join(texts)


def _reason_of_circuit(one: Run, varied: Mapping[str, Sequence[Any]], best: Run) -> str:
    """Why runs with `varied` settings of the circuit, `one` of them, are `best`."""
    config = best.config
    at = f"at {config.num_steps} steps, blocks of {config.block_length} of {config.gen_length}"
    said = "; ".join(f"{name} {_list(values)}" for name, values in varied.items())
    kept = ", ".join(f"{name} {_text(getattr(config, name))}" for name in varied)
    gates = block_gates(one.config, one.family)
    if gates is None:
        rules = [rule.why for rule in RULES if rule.setting in varied]
        return f"{said}: {', '.join(rules)}; {kept} stands for all"
    if not any(gates):
        which = said or f"pc_frac {_text(one.config.pc_frac)}"
        kept = "the run without it stands" if best.circuit is None else f"pc_frac {_text(config.pc_frac)} stands"
        return f"{at}: the circuit never acts with {which}; {kept} for all"
    return f"{at}: {said} open the same gates; {kept} stands for all"


def _values(runs: Sequence[Run], name: str) -> list[Any]:
    return sorted({getattr(run.config, name) for run in runs})


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(_text, values))


def _text(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value).lower()
