"""A report as one page: tables, plots, every run's settings, and the answers of two runs side by side.

The page asks for nothing outside of itself. Everything measured travels as JSON that the page's script turns into
text nodes, so that no answer of a model can become markup.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.reporting.cells import Group, key_of, system_of
from lm_eval_codd.reporting.frame import framed
from lm_eval_codd.reporting.plots import draw, to_svg
from lm_eval_codd.reporting.samples import Key, count_unreadable, read_items, read_outcomes, read_sizes
from lm_eval_codd.settings import CIRCUIT_SETTINGS, DecodingConfig, only_read
from lm_eval_codd.terminal.clean_text import one_line, without_homes

if TYPE_CHECKING:
    from lm_eval_codd.reporting.report import Report
    from lm_eval_codd.reporting.run import Run
    from lm_eval_codd.reporting.runs import Folder
    from lm_eval_codd.reporting.table import Table

__all__ = ["build_page", "cut"]

# Answers in the page, over all runs, and bytes of their lines in the samples files: what is more stays there.
_MAX_ANSWERS: Final = 10_000
_MAX_BYTES: Final = 16 << 20
_LEAST_A_RUN: Final = 20
# Characters of one text; its middle is left out where it has more.
_LONGEST: Final = 20_000
_HIDDEN: Final = ("settings", "versions", "warnings", "samples", "name")


def build_page(report: Report, folder: Folder, title: str) -> str:
    """The whole page as HTML; raises `ValueError` when matplotlib is missing.

    Where a samples file is damaged, the run's answers are left out and the page says so.
    """
    runs = sorted(folder.runs, key=lambda run: run.name)
    with_answers, damaged = _with_answers(runs)
    title = one_line(without_homes(title))
    # Answers are the models' own, and stay as they are.
    data = {
        "title": title,
        "tables": without_homes([_titled(table, report.groups) for table in report.tables]),
        "plots": [{"name": name, "source": _data_uri(to_svg(figure))} for name, figure in draw(report.groups)],
        "remarks": without_homes([*report.remarks, *damaged]),
        "runs": without_homes([_describe(run) for run in runs]),
        **_answers(runs, with_answers, report.groups),
    }
    return framed("page", title, data)


def _titled(table: Table, groups: Iterable[Group]) -> dict[str, Any]:
    """A table, its title in two parts: the group, which stands above all of its tables, and what the table shows."""
    for group in groups:
        if table.title.startswith(f"{group.title}: "):
            return {**asdict(table), "group": group.title, "title": table.title.removeprefix(f"{group.title}: ")}
    return {**asdict(table), "group": ""}


def _describe(run: Run) -> dict[str, Any]:
    """A run for the list of runs: what was measured, then what it was measured with."""
    record = {name: value for name, value in asdict(run).items() if name not in _HIDDEN}
    return {
        "name": run.name,
        "benchmark": run.benchmark,
        "system": system_of(run) if run.settings else "",
        "rule": key_of(run).alg if run.settings else "",
        "steps": _steps(run),
        "metric": run.metric,
        "unreadable": count_unreadable(run),
        "status": run.status,
        "percent": None if run.value is None else round(100 * run.value, 4),
        "n": run.n,
        "nfe": run.nfe,
        "seconds_per_sample": run.seconds_per_sample,
        "details": {**record, "warnings": list(run.warnings), "versions": dict(run.versions)},
        "settings": {name: _plain(value) for name, value in _read(run).items()},
    }


def _read(run: Run) -> dict[str, Any]:
    """The settings that the run's decoder reads, itself first, without those of a circuit where there is none."""
    decoder = run.settings.get("decoder", DecodingConfig.decoder)
    unread = () if run.has_circuit else CIRCUIT_SETTINGS
    settings = {name: value for name, value in only_read(decoder, run.settings).items() if name not in unread}
    return {"decoder": decoder, **settings} if settings else {}


def _plain(value: object) -> object:
    """A value as JSON has it: other versions' settings may hold what that cannot say."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return str(value)
    return value


def _steps(run: Run) -> int | str | None:
    """The number of an exact decode; in words what others have besides or instead."""
    if not run.settings:
        return None
    column = key_of(run).column
    return column.steps if column.steps and not run.approximations else column.schedule


def _with_answers(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs whose answers can be read, and a remark for each whose cannot."""
    readable, damaged = [], []
    for run in runs:
        if run.samples is None or run.value is None:
            continue
        try:
            read_outcomes(run)
            readable.append(run)
        except ValueError as error:
            damaged.append(f"no answers of {run.name} in this page: {error}")
    return readable, damaged


def _answers(runs: Sequence[Run], with_answers: Sequence[Run], groups: Iterable[Group]) -> dict[str, Any]:
    """Documents once, and for each run its answers to them; the documents that tell two runs apart come first."""
    chosen = _choose(with_answers, groups)
    places: dict[tuple[str, Key], int] = {}
    documents: list[dict[str, Any]] = []
    answers: list[dict[int, list[object]] | None] = []
    left_out = 0
    for run in runs:
        if run not in with_answers:
            answers.append(None)
            continue
        keys = chosen[run.task]
        of_run = {}
        for item in read_items(run, keys):
            place = places.setdefault((run.task, item.key), len(documents))
            if place == len(documents):
                documents.append({"id": item.key.doc_id, "prompt": cut(item.prompt), "target": cut(item.target)})
            of_run[place] = [item.score, cut(item.answer), cut(item.extracted)]
        left_out = max(left_out, (run.n or 0) - len(of_run))
        answers.append(of_run)
    return {"documents": documents, "answers": answers, "left_out": left_out}


def _choose(runs: Sequence[Run], groups: Iterable[Group]) -> dict[str, set[Key]]:
    """The documents of each task that the page holds, of runs whose answers can be read."""
    if not runs:
        return {}
    room = max(_LEAST_A_RUN, _MAX_ANSWERS // len(runs))
    differ: dict[str, set[Key]] = {}
    for base, codd in (pair for group in groups for pair in group.pairs()):
        if base.run is not None and codd.run is not None and base.run in runs and codd.run in runs:
            first, second = read_outcomes(base.run), read_outcomes(codd.run)
            found = {key for key in first.keys() & second.keys() if first[key] != second[key]}
            differ.setdefault(codd.run.task, set()).update(found)
    seen: dict[str, Mapping[Key, None]] = {}
    for run in runs:
        seen.setdefault(run.task, {})
        # More than one run's worth is only needed where runs have different prompts.
        seen[run.task] = {**seen[run.task], **dict.fromkeys(read_outcomes(run))}
    of_task: dict[str, dict[Key, int]] = {task: dict.fromkeys(keys, 0) for task, keys in seen.items()}
    for run in runs:
        for key, size in read_sizes(run).items():
            of_task[run.task][key] += min(size, 4 * _LONGEST)
    return {
        task: {
            key
            for part in _by_prompts(keys)
            for key in _within(sorted(part, key=_first(differ.get(task, ())))[:room], of_task[task], len(of_task))
        }
        for task, keys in seen.items()
    }


def _within(keys: Sequence[Key], sizes: Mapping[Key, int], num_tasks: int) -> Iterator[Key]:
    """The first of the keys whose lines have no more bytes than a task may have in the page; one in any case."""
    left = _MAX_BYTES // num_tasks
    for number, key in enumerate(keys):
        left -= sizes[key]
        if left < 0 and number:
            return
        yield key


def cut(text: str, longest: int = _LONGEST) -> str:
    """The text, without its middle where it has more characters than that."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters, which are in the samples file ...]\n{text[-half:]}"


def _by_prompts(keys: Iterable[Key]) -> list[list[Key]]:
    """Sets of items with one prompt a document: the first prompt of each, the second of each, ..."""
    parts: list[list[Key]] = []
    count: dict[int, int] = {}
    for key in keys:
        place = count.get(key.doc_id, 0)
        count[key.doc_id] = place + 1
        if place == len(parts):
            parts.append([])
        parts[place].append(key)
    return parts


def _first(wanted: Iterable[Key]) -> Any:
    members = set(wanted)
    return lambda key: (key not in members, key)


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"
