"""From run strings and sweeps to jobs: every run checked, named and given a folder, before the first one starts."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.files.disk import explained
from lm_eval_codd.launch import lock
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.names import as_typed
from lm_eval_codd.runs import record
from lm_eval_codd.runs.file_checks import find_problems
from lm_eval_codd.runs.make_run import make_run, parse_runs
from lm_eval_codd.runs.naming import former_name, run_name
from lm_eval_codd.runs.same import answers_key, merge
from lm_eval_codd.runs.sweep import Sweep, typed

if TYPE_CHECKING:
    from lm_eval_codd.atlas.plan import Planned
    from lm_eval_codd.runs.run import Run


@dataclass(frozen=True)
class Selection:
    """The runs by name in the order given, those of them that are finished, and remarks for the user.

    published: by run, the published cells (`SOURCE:CELL`) that it is for, each with what was assumed for it.
    """

    runs: Mapping[str, Run]
    finished: frozenset[str]
    remarks: tuple[str, ...]
    published: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    @property
    def waiting(self) -> dict[str, Run]:
        """Those that are not finished."""
        return {name: run for name, run in self.runs.items() if name not in self.finished}


def select(
    texts: Sequence[str],
    sweeps: Sequence[Sweep],
    output_dir: Path,
    defaults: Mapping[str, Any],
    *,
    cells: Sequence[Planned] = (),
    force: bool = False,
) -> Selection:
    """Check all runs; merge those that are the same, and set those aside that are finished (unless `force`).

    Args:
        texts: of `--run`.
        sweeps: their points are runs too.
        output_dir: where every run has its folder.
        defaults: flags of runs that do not say otherwise.
        cells: published ones, each with its run; several may be of one run.
        force: whether finished runs are run again.

    Raises:
        NotStarted: any run is impossible, with a line for each.
    """
    runs, remarks = _distinct(texts, sweeps, defaults, cells)
    runs = {_name_there(name, run, output_dir): run for name, run in runs.items()}
    others = {
        name: differences for name, run in runs.items() if (differences := record.differences(output_dir / name, run))
    }
    if others:
        raise NotStarted(
            [
                f"{output_dir / name} holds a run with other settings ({', '.join(differences)} there); remove it, or "
                "give this one a tag"
                for name, differences in others.items()
            ]
        )
    done = {name: found for name, run in runs.items() if (found := record.completed(output_dir / name, run))}
    started = {name for name in runs if name in done or record.read(output_dir / name)}
    runs, merged = merge(runs, lambda name: 0 if name in done else 1 if name in started else 2)
    remarks += merged
    finished = set()
    for name, run in runs.items():
        if force or name not in done:
            continue
        if changed := record.changed(done[name], run):
            remarks.append(f"repeats  {name}: its {' and '.join(changed)} changed since it finished")
        else:
            finished.add(name)
            remarks.append(f"skipped  {name}: finished already ({done[name]['ended']}); --force runs it again")
            remarks += [f"older    {name}: {line}" for line in record.otherwise(done[name], run)]
    if problems := find_problems({name: run for name, run in runs.items() if name not in finished}):
        raise NotStarted(problems)
    return Selection(runs, frozenset(finished), tuple(remarks), _published(runs, cells, defaults))


def _name_there(name: str, run: Run, output_dir: Path) -> str:
    """The run's name; the one that an older version gave it, where that one has finished it."""
    former = [former_name(run)] if not run.decodes_nothing else _of_same_task(run, output_dir)
    return next((there for there in former if there and record.completed(output_dir / there, run)), name)


def _of_same_task(run: Run, output_dir: Path) -> list[str]:
    """Folders of runs of this family and task: names once told apart what is not read where nothing is decoded."""
    return sorted(folder.name for folder in output_dir.glob(f"{run.family}_{run.short_task}_*"))


def prepare_folder(output_dir: Path) -> str | None:
    """Make the output folder and write to it once; returns a warning where two launchers on it would not be safe.

    Raises:
        NotStarted: it cannot be written.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=output_dir, prefix=".writable.") as file:
            file.write(b"x")
        has_locks = lock.is_supported(output_dir)
    except OSError as error:
        raise NotStarted([f"`--output_dir {output_dir}` cannot be written: {explained(error, output_dir)}"]) from None
    return None if has_locks else f"the file system of {output_dir} has no locks: start no second launcher on it"


def _published(
    runs: Mapping[str, Run], cells: Sequence[Planned], defaults: Mapping[str, Any]
) -> dict[str, dict[str, dict[str, str]]]:
    """The cells of each run, by its name, with what was assumed for them; a run may stand for others' cells."""
    names = {answers_key(run): name for name, run in runs.items()} if cells else {}
    found: dict[str, dict[str, dict[str, str]]] = {}
    for planned in cells:
        name = names[answers_key(make_run({**defaults, **planned.recipe.flags}))]
        found.setdefault(name, {})[planned.label] = dict(planned.recipe.assumed)
    return found


def _distinct(
    texts: Sequence[str], sweeps: Sequence[Sweep], defaults: Mapping[str, Any], cells: Sequence[Planned]
) -> tuple[dict[str, Run], list[str]]:
    """The different runs by name, and a remark for those that are asked for more than once."""
    runs: dict[str, Run] = {}
    labels: dict[str, str] = {}
    remarks: list[str] = []
    errors: Counter[tuple[str, str]] = Counter()
    repeated: Counter[str] = Counter()
    of_cells = {planned.label for planned in cells}
    for label, where, make in _asked(texts, sweeps, defaults, remarks, cells):
        try:
            made = make()
        except ValueError as error:
            text = str(error) if label == where else f"{label}: {error}"
            errors[where, text] += 1
            continue
        for name, run in ((run_name(run), run) for run in made):
            if name not in runs:
                runs[name], labels[name] = run, label
            elif label == where:
                repeated[where] += 1
            elif label not in of_cells:
                remarks.append(f"{label} is the same as {labels[name]} and is not repeated: {name}")
    if errors:
        raise NotStarted([_error_line(where, text, count) for (where, text), count in errors.items()])
    for where, count in repeated.items():
        points = "1 point is" if count == 1 else f"{count} points are"
        remarks.append(
            f"merged   {points} the same as another: settings that are not read (of a circuit without one, of "
            f"another decoder, num_steps with a threshold or factor), or asked for twice [{where}]"
        )
    missing: Counter[str] = Counter()
    for sweep in sweeps:
        missing.update(sweep.missing())
    left_out = [
        f"left out {count} points: `{key}` has no value; give one with --set '{key}=...'"
        for key, count in missing.items()
    ]
    if not runs:
        raise NotStarted(left_out or ["there is nothing to run"])
    remarks += left_out
    return runs, remarks


def _asked(
    texts: Sequence[str],
    sweeps: Sequence[Sweep],
    defaults: Mapping[str, Any],
    remarks: list[str],
    cells: Sequence[Planned],
) -> Iterator[tuple[str, str, Callable[[], list[Run]]]]:
    """Everything asked for: its label, where it comes from, and how to make its runs, which may add remarks."""
    for number, text in enumerate(texts, start=1):
        yield f"run {number}", f"--run '{text}'", partial(parse_runs, text, defaults, remarks)
    for sweep in sweeps:
        for point in sweep.points():
            yield sweep.where, sweep.where, partial(_run_at, sweep, point, defaults)
    for planned in cells:
        where = f"--paper {planned.label}"
        yield planned.label, where, partial(_run_of_flags, planned.recipe.flags, defaults)


def _run_at(sweep: Sweep, point: Mapping[str, str], defaults: Mapping[str, Any]) -> list[Run]:
    with as_typed(sweep.said):
        return _run_of_flags(typed(point), defaults)


def _run_of_flags(flags: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Run]:
    return [make_run({**defaults, **flags})]


def _error_line(where: str, text: str, count: int) -> str:
    return f"{text}  [{where}{f', {count} points' if count > 1 else ''}]"
