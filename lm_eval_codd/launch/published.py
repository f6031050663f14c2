"""`--paper`: published cells as runs, what they need, and what keeps others from being run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.atlas.plan import Plan, all_sources, assumable, count_cells, plan_cells
from lm_eval_codd.atlas.source import is_source, source_names
from lm_eval_codd.atlas.unstated import parse_assumed
from lm_eval_codd.launch.fetch import needs
from lm_eval_codd.runs.paper import TABLES
from lm_eval_codd.runs.run import is_own_task
from lm_eval_codd.settings import unknown_value
from lm_eval_codd.task_files import task_files
from lm_eval_codd.terminal.columns import aligned
from lm_eval_codd.terminal.invocation import command

if TYPE_CHECKING:
    from lm_eval_codd.atlas.plan import Planned
    from lm_eval_codd.runs.run import Run

__all__ = ["LIST", "executes_programs", "show_cells", "show_sources", "split_papers"]

LIST: Final = "list"
_HEADER: Final = ("source", "cells", "complete", "up to the metric", "run here", "not k of n", "title")
_LONGEST: Final = 60
_UNVERIFIED: Final = (
    "tasks that were not checked in all against the source's code (a check repeats this beside its verdict; lm_eval's "
    "--write_out shows prompts, to hold against those that you know of)"
)


def split_papers(options: Mapping[str, Any]) -> tuple[list[str], Plan]:
    """The tables of `--paper`, and the plan of its sources' cells with what `--assume` says.

    Raises:
        ValueError: one line: there is no such table, source or cell, or an assumption of none of them, or impossible.
    """
    given = options.get("paper", [])
    assumed = parse_assumed(options.get("assume", []))
    if unknown := [text for text in given if text not in TABLES and not is_source(text)]:
        raise ValueError(unknown_value("paper", unknown[0], (LIST, *TABLES, *source_names())))
    chosen = [text for text in given if text not in TABLES]
    if assumed and not chosen:
        raise ValueError("`--assume` is for the cells of a --paper SOURCE; add one, or leave it out")
    return [text for text in given if text in TABLES], plan_cells(chosen, assumed)


def show_sources() -> None:
    """Print every source with what it has."""
    lines: list[tuple[str, ...]] = [_HEADER]
    sums = dict.fromkeys(("cells", "complete", "up to the metric", "run", "implausible"), 0)
    for source in all_sources():
        counts = count_cells(source)
        sums = {name: sums[name] + count for name, count in counts.items()}
        lines.append((source.name, *map(str, counts.values()), _short(source.title)))
    lines.append(("all", *map(str, sums.values()), ""))
    print("\n".join(aligned(lines, right=range(1, len(_HEADER) - 1))))
    print(
        "\ncomplete: all settings are stated; up to the metric: one run gives every candidate; run here: with this "
        "version's tasks\nand decoders; not k of n: no number of right answers prints as the figure.\n"
        f"--paper SOURCE --dry-run shows a source's cells, --paper SOURCE:CELL,... chooses some;\n"
        f"{command()} check RESULTS --against SOURCE judges them. Tables of the CoDD paper: {', '.join(TABLES)}."
    )


def show_cells(plan: Plan, runs: Mapping[str, Run]) -> None:
    """Print what the runs need, the cells that they are for, and the cells that are not run, with the reason.

    Args:
        plan: of the cells.
        runs: by name, those that are not finished.
    """
    if plan.ready:
        print()
    for line in _needs(runs) if plan.all else ():
        print(line)
    if plan.ready:
        print("\ncells, what is printed for them, and what of a run may be it:")
        rows = [("", "", ""), *((f"  {one.label}", one.cell.figure, _what(one)) for one in plan.ready)]
        print("\n".join(aligned(rows, right=[1])[1:]))
    _show_grouped(_UNVERIFIED, _unverified(plan.ready))
    for planned in plan.by_lm_eval:
        print(f"by lm-eval's own command: {planned.label} ({planned.cell.figure})\n  {_lm_eval(planned)}")
    _show_grouped("not run, and why", [(one.recipe.refusal, one) for one in plan.refused])
    _show_grouped("not run, for the source does not state", [(_unstated(one), one) for one in plan.unstated])


def permitted(cells: Iterable[Planned]) -> list[Planned]:
    """The cells with the permission that the tasks of some need, for a dry run, which says that they need it."""
    return [
        replace(one, recipe=replace(one.recipe, flags={**one.recipe.flags, "confirm_run_unsafe_code": True}))
        if one.recipe.run is not None and executes_programs(one.recipe.run)
        else one
        for one in cells
    ]


def executes_programs(run: Run) -> bool:
    """Whether its task is one of lm-eval's that executes what the model has written, without a sandbox."""
    if is_own_task(run.task):
        return False
    files = task_files(run.include_path)
    return any(config.get("unsafe_code") for _, config in files.configs(run.task)) if run.task in files.names else False


def _needs(runs: Mapping[str, Run]) -> list[str]:
    """Checkpoints, data sets and permissions that runs need."""
    wanted = needs(runs)
    lines = [f"needs checkpoint {model}  [{_count(len(names), 'run')}]" for model, names in wanted["models"].items()]
    if wanted["tasks"]:
        lines.append(f"needs the rows of {', '.join(wanted['tasks'])}")
    unsafe = [run for run in runs.values() if executes_programs(run)]
    if unsafe:
        tasks = ", ".join(dict.fromkeys(run.task for run in unsafe))
        lines.append(
            f"needs --confirm_run_unsafe_code: {tasks} execute programs that the model has written, without a sandbox  "
            f"[{_count(len(unsafe), 'run')}]"
        )
    return lines


def _show_grouped(title: str, cells: Iterable[tuple[str, Planned]]) -> None:
    grouped: dict[str, list[str]] = {}
    for reason, planned in cells:
        grouped.setdefault(reason, []).append(planned.label)
    if grouped:
        print(f"\n{title}:")
    for reason, labels in grouped.items():
        print(f"  {reason}\n    {' '.join(labels)}")


def _what(planned: Planned) -> str:
    """Which figures of a run may be the cell's, and what to know before it is run."""
    assumed = [f"assumed {name}={value}" for name, value in planned.recipe.assumed.items()]
    others = [str(one) for one in planned.cell.reproduces]
    implausible = ["not k of n"] if planned.cell.is_implausible else []
    return "; ".join([" or ".join(planned.candidates) or "as its task reports", *implausible, *assumed, *others])


def _unverified(cells: Iterable[Planned]) -> list[tuple[str, Planned]]:
    found = [(one.recipe.run, one) for one in cells if one.unverified]
    return [(f"{run.task}: {one.unverified}", one) for run, one in found if run is not None]


def _unstated(planned: Planned) -> str:
    names = assumable(planned.recipe.unstated)
    how = "no flag says it" if names is None else f"--assume {','.join(f'{name}=...' for name in names)}"
    return f"{', '.join(planned.recipe.unstated)}  ({how})"


def _lm_eval(planned: Planned) -> str:
    arguments = planned.recipe.lm_eval
    args = ",".join(f"{name}={value}" for name, value in (arguments.get("model_args") or {}).items())
    words = ["lm_eval", "--model", str(arguments.get("model")), "--model_args", args]
    words += ["--tasks", str(arguments.get("tasks"))]
    words += ["--num_fewshot", str(arguments["num_fewshot"])] if "num_fewshot" in arguments else []
    words += ["--apply_chat_template"] if arguments.get("apply_chat_template") else []
    return shlex.join(words)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
