"""What `report` shows of a results folder: its tables, and everything that is not in them with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from lm_eval_codd.catalogue import PAPER_TASKS, TASKS
from lm_eval_codd.reporting.cells import Group, group_runs
from lm_eval_codd.reporting.coupling import constraint_table, coupling_table
from lm_eval_codd.reporting.decoder_table import decoder_table
from lm_eval_codd.reporting.end_rules import told_apart
from lm_eval_codd.reporting.equivalence import DEFAULT_MARGIN
from lm_eval_codd.reporting.equivalence_table import equivalence_table
from lm_eval_codd.reporting.parallelism import parallelism_table
from lm_eval_codd.reporting.protocol import settings_given
from lm_eval_codd.reporting.repeated_table import repeated_tables
from lm_eval_codd.reporting.revision import cell_of, revision_table
from lm_eval_codd.reporting.several_answers import pass_table
from lm_eval_codd.reporting.speed import speed_table
from lm_eval_codd.reporting.tables import (
    ablation_tables,
    accuracy_table,
    approximation_table,
    cost_tables,
    pair_table,
    unreadable_table,
)
from lm_eval_codd.reporting.value_table import value_tables

if TYPE_CHECKING:
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder
    from lm_eval_codd.reporting.table import Table

__all__ = ["PAPER_TABLES", "Report", "build_report", "objections"]


class PaperTable(NamedTuple):
    """What a table of the paper shows: `None` is every family, paradigm or benchmark."""

    kind: str
    family: str | None = None
    paradigm: str | None = None
    benchmark: str | None = None


PAPER_TABLES: Final[Mapping[int, PaperTable]] = {
    1: PaperTable("accuracy", "llada", "block"),
    2: PaperTable("accuracy", "dream", "full"),
    3: PaperTable("cost"),
    4: PaperTable("ablation", "llada", "block", "gpqa"),
    5: PaperTable("ablation", "dream", "block", "mbpp"),
    6: PaperTable("accuracy", "dream", "block"),
}

# Settings in which a run may depart from the paper's defaults and still be a measurement of its tables.
_FREE: Final = ("seed", "stop_at_eos", "mask_id", "eos_id", "eot_id", "peft")


@dataclass(frozen=True)
class Report:
    """Tables, the groups that they show, and remarks on what is not in them."""

    tables: Sequence[Table]
    groups: Sequence[Group]
    remarks: Sequence[str]


def build_report(folder: Folder, number: int | None = None, *, margin: float = DEFAULT_MARGIN) -> Report:
    """The tables of all runs, or those of one table of the paper.

    Args:
        folder: what to report.
        number: of the paper's table; None for all tables.
        margin: within which nothing counts as lost, in points.
    """
    remarks = _remarks(folder)
    runs = [run for run in folder.runs if run.value is not None and run.settings]
    if number is None:
        groups = group_runs(run for run in runs if cell_of(run) is None)
        revised = group_runs(run for run in runs if cell_of(run) is not None)
        values = value_tables(run for run in folder.measured if run.settings)
        tables = []
        for group in groups:
            beside = values.pop(group.title, None)
            tables += [*_all_tables(group, margin), *([] if beside is None else [beside])]
        tables += values.values()
        tables = [*repeated_tables(groups), *tables]
        tables += [table for group in revised if (table := revision_table(group)) is not None]
        return Report(tables, [*groups, *revised], [*remarks, *told_apart(groups)])
    wanted = PAPER_TABLES[number]
    of_table = [run for run in runs if _is_of(run, wanted)]
    fitting = []
    for run in of_table:
        if reasons := objections(run):
            remarks.append(f"not in table {number}: {run.name}: {'; '.join(reasons)}")
        else:
            fitting.append(run)
    groups = group_runs(fitting)
    tables = [table for group in groups for table in _tables_of(group, wanted.kind)]
    return Report(tables, groups, [*remarks, *told_apart(groups)])


def objections(run: Run) -> list[str]:
    """Why a run is no measurement of the paper's tables; empty when it is one."""
    if run.benchmark not in PAPER_TASKS:
        return [f"{run.benchmark} is not one of the paper's benchmarks ({', '.join(PAPER_TASKS)})"]
    task = TASKS[run.benchmark]
    reasons = []
    if run.metric != task.paper_metric:
        reasons.append(f"its metric is {run.metric}, the paper's is {task.paper_metric}")
    if run.n != task.rows:
        reasons.append(f"{run.n} documents, the benchmark has {task.rows}")
    if run.has_other_rows:
        reasons.append("its rows are not the published ones")
    if run.approximations:
        reasons.append(f"approximate ({', '.join(run.approximations)}), the paper's decodes are exact")
    if run.extensions:
        reasons.append(f"an extension ({', '.join(run.extensions)}), of which the paper has none")
    departures = {name: value for name, value in settings_given(run).items() if name not in (*_FREE, "limit")}
    reasons += [f"{name}={value} is not the paper's" for name, value in departures.items()]
    return reasons


def _all_tables(group: Group, margin: float) -> list[Table]:
    paired = [pair_table(group), approximation_table(group), decoder_table(group)]
    paired += [equivalence_table(group, margin / 100), parallelism_table(group)]
    tables = [
        *(coupling_table(group), accuracy_table(group), pass_table(group), unreadable_table(group)),
        constraint_table(group),
        *(*paired, *cost_tables(group), speed_table(group), *ablation_tables(group)),
    ]
    return [table for table in tables if table is not None]


def _tables_of(group: Group, kind: str) -> list[Table]:
    if kind == "cost":
        return cost_tables(group)
    if kind == "ablation":
        return ablation_tables(group)
    return [table for table in (accuracy_table(group), unreadable_table(group), pair_table(group)) if table is not None]


def _is_of(run: Run, table: PaperTable) -> bool:
    return (
        table.family in (None, run.family)
        and table.paradigm in (None, run.settings["paradigm"])
        and table.benchmark in (None, run.benchmark)
    )


def _remarks(folder: Folder) -> list[str]:
    remarks = [f"left out: {problem}" for problem in folder.problems]
    for run in folder.runs:
        if run.status != "finished":
            remarks.append(f"not finished: {run.name} ({run.status})")
        elif run.value is None:
            remarks.append(f"no score: {run.name} ({run.task} has no value for the metric that it reports)")
        elif not run.settings:
            remarks.append(f"not a model of this package: {run.name} ({run.task}: {run.score()})")
    for run in folder.measured:
        if not run.settings:
            measured = ", ".join(f"{value.metric} {value}" for value in run.values)
            remarks.append(f"not a model of this package: {run.name} ({run.task}: {measured})")
    if folder.num_foreign:
        remarks.append(f"{folder.num_foreign} other files and folders are no runs")
    return remarks
