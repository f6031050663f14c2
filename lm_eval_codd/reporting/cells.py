"""From runs to the cells of tables. Runs of different protocols go to different tables; what else differs is marked."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from lm_eval_codd.catalogue import BASE, COUPLING, DIT_TITLES, FAMILY_TITLES, PAPER_TASKS
from lm_eval_codd.reporting.unconditional import ROW, SAMPLER_AXES
from lm_eval_codd.settings import (
    CIRCUIT_SETTINGS,
    DECODERS,
    FAMILY_DEFAULTS,
    PARADIGMS,
    DecodingConfig,
    facts_of,
    reads,
    routing_of,
    rule_of,
    steps_follow_confidence,
)

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.settings import Family

__all__ = [
    "APPROXIMATE",
    "BASE",
    "Cell",
    "CellKey",
    "Column",
    "Group",
    "benchmark_order",
    "group_runs",
    "key_of",
    "marks_of",
    "protocol_of",
    "settings_given",
    "system_of",
    "title_of",
]

PARADIGM_NAMES: Final = {"block": "block diffusion", "full": "full diffusion", ROW: "whole rows"}

# Of a system that is an extension of this project's.
_EXTENSION: Final = " (extension)"
# Marks the columns of approximate decodes; tables that have one explain it.
DAGGER: Final = "†"
APPROXIMATE: Final = (
    f"{DAGGER} approximate: a cache, or a rule on confidences in place of steps; the answers are not those of an exact "
    "decode"
)

_FACTS: Final = {field.name: facts_of(field) for field in dataclasses.fields(DecodingConfig)}
# The axes of a table; every other setting is its protocol. The options of the other decoders, and of a router, are part
# of the rule, which is a row.
_OF_OTHER_DECODERS: Final = {name for names in DECODERS.values() for name in names} - set(DECODERS["unmasking"])
_AXES: Final = (
    tuple(name for name, facts in _FACTS.items() if facts.is_axis or name in _OF_OTHER_DECODERS) + SAMPLER_AXES
)
# Kinds of a circuit's use: rows of their own beside the base's.
_KINDS: Final = tuple(sorted(name for name in CIRCUIT_SETTINGS if name not in _AXES))
_NOT_IN: Final = {
    paradigm: tuple(name for name, facts in _FACTS.items() if facts.paradigm not in (None, paradigm))
    for paradigm in PARADIGMS
}
# What a cache makes of these: blocks in the full paradigm, and a time grid in Dream's blocks. Windows are blocks then.
_READ_WITH_A_CACHE: Final = tuple(
    name for name, facts in _FACTS.items() if facts.paradigm is not None and not facts.is_circuits
)

_ALG_ORDER: Final = ("random", "low_confidence", "topprob", "margin", "entropy")
# What changes answers enough to be told when a table's runs do not agree on it.
_VERSIONS: Final = ("lm_eval_codd", "lm_eval", "torch", "transformers")


class Column(NamedTuple):
    """A column: a benchmark at a number of steps (0 where confidences decide), exact or approximate in some ways.

    decodes: False of a task that asks for likelihoods alone.
    """

    benchmark: str
    steps: int
    approximations: tuple[str, ...] = ()
    decodes: bool = True

    @property
    def schedule(self) -> str:
        """`64`, `64 cache=dual †`, `cache=dual threshold=0.9 †`, or `adaptive` for a decoder that sets its own pace."""
        if not self.decodes:
            return "likelihoods"
        steps = [str(self.steps)] if self.steps else [] if self.approximations else ["adaptive"]
        return " ".join([*steps, *self.approximations, *([DAGGER] if self.approximations else [])])

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key: exact before approximate, most steps first."""
        is_approximate = bool(self.approximations)
        return benchmark_order(self.benchmark), self.decodes, is_approximate, -self.steps, self.approximations


class CellKey(NamedTuple):
    """Place of a cell: row (rule, system) and column (`Column`), so that no approximate run is in an exact cell."""

    alg: str
    system: str
    benchmark: str
    steps: int
    approximations: tuple[str, ...] = ()
    decodes: bool = True

    @property
    def column(self) -> Column:
        """The cell's column."""
        return Column(*self[2:])

    @property
    def compared_system(self) -> str:
        """The system with the default decoder: there it is no extension."""
        return self.system.replace(_EXTENSION, "")


@dataclass(frozen=True)
class Cell:
    """A measured cell.

    Attributes:
        run: whose score it shows; None when `refusal` says why there is no single one.
        grid: every run over pc_frac and pc_temperature that it stands for; the best of them is `run`.
        marks: what a reader must know beside the score.
    """

    key: CellKey
    run: Run | None
    grid: tuple[Run, ...]
    marks: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True)
class Group:
    """The cells of one table: one model, one protocol."""

    title: str
    family: str
    paradigm: str
    cells: Mapping[CellKey, Cell]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(rule, system) in the paper's order, the base first."""
        rows = {(key.alg, key.system) for key in self.cells}
        return sorted(rows, key=lambda row: (_place(row[0], _ALG_ORDER), row[1] != BASE, row[1]))

    @property
    def columns(self) -> list[Column]:
        """In the paper's order, most steps first."""
        return sorted({key.column for key in self.cells}, key=lambda column: column.order)

    @property
    def metrics(self) -> dict[str, tuple[str, ...]]:
        """What each benchmark's scores are ("metric,filter"); more than one only where runs were graded differently."""
        found: dict[str, dict[str, None]] = {}
        for key, cell in self.cells.items():
            found.setdefault(key.benchmark, {}).update(dict.fromkeys(run.metric or "" for run in cell.grid))
        return {benchmark: tuple(found[benchmark]) for benchmark in sorted(found, key=benchmark_order)}

    def pairs(self) -> list[tuple[Cell, Cell]]:
        """(base, CoDD) of the same rule and column."""
        found = []
        for alg, system in self.rows:
            for column in self.columns:
                base = self.cells.get(CellKey(alg, BASE, *column))
                codd = self.cells.get(CellKey(alg, system, *column))
                if system != BASE and base is not None and codd is not None:
                    found.append((base, codd))
        return found


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Tables of the finished runs of this package's models, the fullest first."""
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.value is not None and run.settings:
            groups[tuple(protocol_of(run).items())].append(run)
    built = [_group(dict(protocol), members) for protocol, members in groups.items()]
    return sorted(built, key=lambda group: (-len(group.cells), group.title))


def key_of(run: Run) -> CellKey:
    """The run's place in its table."""
    settings = run.settings
    if run.estimator is not None:
        return CellKey(
            " ".join([run.estimator, *routing_of(settings)]), system_of(run), run.benchmark, 0, decodes=False
        )
    steps = 0 if steps_follow_confidence(settings) else settings["num_steps"]
    return CellKey(rule_of(settings), system_of(run), run.benchmark, steps, _approximations(run))


def system_of(run: Run) -> str:
    """The run's system: `base`, `CoDD`, or CoDD with the uses of the circuit that are not the default ones.

    One that is an extension is called that, and is in no cell of another.
    """
    if not run.has_circuit:
        return BASE
    defaults = DecodingConfig()
    skipped = _NOT_IN.get(str(run.settings.get("paradigm")), ())
    others = [f"{n}={v}" for n in _KINDS if n not in skipped and (v := run.settings.get(n)) != getattr(defaults, n)]
    return " ".join([f"CoDD{_EXTENSION if run.extensions else ''}", *others])


def family_defaults(family: str | None) -> Mapping[str, Any]:
    """The published defaults of a family of this version; of others none are known."""
    return FAMILY_DEFAULTS.get(cast("Family", family), {})


def settings_given(run: Run) -> dict[str, Any]:
    """The protocol's settings that are not the family's published defaults, and other departures from them."""
    defaults = {**DecodingConfig().__dict__, **family_defaults(run.family), "num_fewshot": 0, "limit": None}
    protocol = protocol_of(run)
    described = ("family", "checkpoint", "paradigm", "dtype", "max_length")
    return {n: v for n, v in protocol.items() if n not in described and v != defaults.get(n)}


def benchmark_order(benchmark: str) -> tuple[int, str]:
    """Sort key: the paper's benchmarks in its order, then others by name."""
    return _place(benchmark, PAPER_TASKS)


def _approximations(run: Run) -> tuple[str, ...]:
    """The run's approximations, and what only they read where it is not the default."""
    skipped = _NOT_IN.get(str(run.settings.get("paradigm")), ())
    defaults = DecodingConfig()
    read = [name for name in _READ_WITH_A_CACHE if name in skipped and run.settings.get("cache") != "none"]
    others = [f"{n}={v:g}" for n in read if (v := run.settings.get(n)) != getattr(defaults, n)]
    return (*run.approximations, *others)


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def protocol_of(run: Run) -> dict[str, Any]:
    """What runs of one table have in common."""
    skipped = (*_AXES, *_KINDS, *_NOT_IN.get(str(run.settings.get("paradigm")), ()))
    settings = {name: value for name, value in run.settings.items() if name not in skipped}
    # What the decoder does not read is as in the runs that it is compared with.
    usual, decoder = family_defaults(run.family), run.settings.get("decoder", DecodingConfig.decoder)
    if decoder in DECODERS:
        unread = [name for name in settings if name != "paradigm" and not reads(decoder, name)]
        settings.update({name: usual.get(name, getattr(DecodingConfig, name)) for name in unread})
    return {
        "family": run.family,
        "checkpoint": short_name(run.checkpoint),
        "peft": None if run.peft is None else short_name(run.peft),
        **settings,
        **run.task_arguments,
        **{n: short_name(v) if n in ("planner", "tokenizer") else v for n, v in run.model_arguments.items()},
        "num_fewshot": run.num_fewshot,
        "limit": run.limit,
        "dtype": run.dtype,
        "max_length": run.max_length,
    }


def short_name(checkpoint: str | None) -> str:
    """A hub id as it is, a local path by its last part: the same checkpoint elsewhere has the same name."""
    path = Path(checkpoint or "?")
    return path.name if path.is_absolute() or len(path.parts) != 2 else str(checkpoint)


def _group(protocol: Mapping[str, Any], runs: Sequence[Run]) -> Group:
    by_key: dict[CellKey, list[Run]] = defaultdict(list)
    for run in runs:
        by_key[key_of(run)].append(run)
    cells = {key: _cell(key, members) for key, members in by_key.items()}
    chosen = [cell.run for cell in cells.values() if cell.run is not None]
    marks = marks_of(chosen)
    marked = {key: replace(cell, marks=cell.marks + tuple(marks.get(id(cell.run), ()))) for key, cell in cells.items()}
    return Group(title_of(protocol, runs[0]), protocol["family"], protocol["paradigm"], marked)


def title_of(protocol: Mapping[str, Any], run: Run) -> str:
    """What a table of runs of this protocol, `run` one of them, is called."""
    family = {**FAMILY_TITLES, **DIT_TITLES, COUPLING: "Coupling Models"}.get(protocol["family"], protocol["family"])
    parts = [f"{family} ({protocol['checkpoint']})", PARADIGM_NAMES.get(protocol["paradigm"], protocol["paradigm"])]
    if run.dtype is not None:
        parts.append(run.dtype)
    given = settings_given(run)
    limit = given.pop("limit", None)
    parts += [f"{name}={value}" for name, value in given.items()]
    if limit is not None:
        parts.append(f"{limit}: no scores of the benchmarks")
    return ", ".join(parts)


def _cell(key: CellKey, runs: Sequence[Run]) -> Cell:
    """One run, or the best of a grid; runs that differ in anything else do not share a cell."""
    ordered = tuple(sorted(runs, key=lambda run: (run.settings["pc_frac"], run.settings["pc_temperature"], run.name)))
    points = {(run.settings["pc_frac"], run.settings["pc_temperature"]) for run in runs}
    if len(runs) == 1:
        return Cell(key, runs[0], ordered)
    names = ", ".join(sorted(run.name for run in runs))
    if key.system == BASE or len(points) < len(runs):
        return Cell(key, None, ordered, refusal=f"{len(runs)} runs of the same settings: {names}")
    circuits = sorted({short_name(run.circuit) for run in runs})
    if len(circuits) > 1:
        return Cell(key, None, ordered, refusal=f"runs with different circuits: {', '.join(circuits)}")
    best = max(ordered, key=lambda run: run.score_of_task)
    return Cell(key, best, ordered, (f"best of {len(runs)} settings of pc_frac and pc_temperature on the test set",))


def marks_of(runs: Sequence[Run]) -> dict[int, list[str]]:
    """What each run has other than most of its table, and what its own result warns of; by id of the run."""
    marks: dict[int, list[str]] = defaultdict(list)
    compared: list[tuple[str, Callable[[Run], object], Callable[[Run], object]]] = [
        *((f"{name}", lambda run, n=name: run.versions.get(n), lambda run: None) for name in _VERSIONS),
        ("metric", lambda run: run.metric, lambda run: run.benchmark),
        ("chat template", lambda run: _digits(run.chat_template_sha), lambda run: None),
        ("checkpoint content", lambda run: _digits(run.checkpoint_identity), lambda run: None),
        ("system prompt", lambda run: run.system_prompt, lambda run: run.benchmark),
        ("documents", lambda run: run.n, lambda run: run.benchmark),
        ("circuit content", lambda run: _digits(run.circuit_identity), lambda run: (run.circuit, run.benchmark)),
    ]
    for what, value, among in compared:
        for members in _split(runs, among).values():
            usual, _ = Counter(value(run) for run in members).most_common(1)[0]
            for run in members:
                if value(run) != usual:
                    marks[id(run)].append(f"other {what}: {value(run)} (most here: {usual})")
    for run in runs:
        if run.is_partial and run.limit is None:
            marks[id(run)].append(f"partial: {run.n} of {run.total} documents")
        if run.has_other_rows:
            marks[id(run)].append("not the benchmark's published rows")
        marks[id(run)] += [f"this project's extension, without a reference: {what}" for what in run.extensions]
        marks[id(run)] += run.warnings
    return marks


def _split(runs: Iterable[Run], among: Callable[[Run], object]) -> dict[object, list[Run]]:
    parts: dict[object, list[Run]] = defaultdict(list)
    for run in runs:
        parts[among(run)].append(run)
    return parts


def _digits(identity: str | None) -> str | None:
    return None if identity is None else identity[:24]
