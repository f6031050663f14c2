"""From runs to the cells of tables. Runs of different protocols go to different tables; what else differs is marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lm_eval_codd.catalogue import BASE, PAPER_TASKS
from lm_eval_codd.reporting.marks import marks_of
from lm_eval_codd.reporting.protocol import KINDS, NOT_IN, READ_WITH_A_CACHE, protocol_of, short_name, title_of
from lm_eval_codd.settings import (
    DecodingConfig,
    routing_of,
    rule_of,
    steps_follow_confidence,
)

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run

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
    "system_of",
]

# Of a system that is an extension of this project's.
_EXTENSION: Final = " (extension)"
# Marks the columns of approximate decodes; tables that have one explain it.
DAGGER: Final = "†"
APPROXIMATE: Final = (
    f"{DAGGER} approximate: a cache, or a rule on confidences in place of steps; the answers are not those of an exact "
    "decode"
)

_ALG_ORDER: Final = ("random", "low_confidence", "topprob", "margin", "entropy")


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
    skipped = NOT_IN.get(str(run.settings.get("paradigm")), ())
    others = [f"{n}={v}" for n in KINDS if n not in skipped and (v := run.settings.get(n)) != getattr(defaults, n)]
    return " ".join([f"CoDD{_EXTENSION if run.extensions else ''}", *others])


def benchmark_order(benchmark: str) -> tuple[int, str]:
    """Sort key: the paper's benchmarks in its order, then others by name."""
    return _place(benchmark, PAPER_TASKS)


def _approximations(run: Run) -> tuple[str, ...]:
    """The run's approximations, and what only they read where it is not the default."""
    skipped = NOT_IN.get(str(run.settings.get("paradigm")), ())
    defaults = DecodingConfig()
    read = [name for name in READ_WITH_A_CACHE if name in skipped and run.settings.get("cache") != "none"]
    others = [f"{n}={v:g}" for n in read if (v := run.settings.get(n)) != getattr(defaults, n)]
    return (*run.approximations, *others)


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _group(protocol: Mapping[str, Any], runs: Sequence[Run]) -> Group:
    by_key: dict[CellKey, list[Run]] = defaultdict(list)
    for run in runs:
        by_key[key_of(run)].append(run)
    cells = {key: _cell(key, members) for key, members in by_key.items()}
    chosen = [cell.run for cell in cells.values() if cell.run is not None]
    marks = marks_of(chosen)
    marked = {key: replace(cell, marks=cell.marks + tuple(marks.get(id(cell.run), ()))) for key, cell in cells.items()}
    return Group(title_of(protocol, runs[0]), protocol["family"], protocol["paradigm"], marked)


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
