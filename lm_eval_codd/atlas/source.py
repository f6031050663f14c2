"""Sources of published cells: files of `results/paper`, and the tables of the CoDD paper, read as the same thing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.atlas.cell import Cell, make_cell
from lm_eval_codd.atlas.codd_tables import FILE as CODD_FILE
from lm_eval_codd.atlas.codd_tables import cells_of_tables
from lm_eval_codd.atlas.revision_means import cells_of_means
from lm_eval_codd.names import near_names
from lm_eval_codd.registration import paper_dir
from lm_eval_codd.runs.yaml_file import read_yaml
from lm_eval_codd.settings import unknown_value

__all__ = ["CODD", "Source", "chosen_cells", "is_source", "read_source", "source_names"]

# The CoDD paper, whose tables have a layout of their own.
CODD: Final = "codd"
# Keys that a file of a source has at its left edge, by which it is told from the folder's others unparsed.
_KEYS: Final = ("\nsource:", "\ncells:")


@dataclass(frozen=True)
class Source:
    """What was published in one place.

    Attributes:
        name: of its file.
        about: title, arXiv number, repository, commit and whatever else is known of where it was read.
        cells: its figures.
        tasks: this project's task for a name of the source's harness, where it has one for that.
    """

    name: str
    about: Mapping[str, str]
    cells: tuple[Cell, ...]
    tasks: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """As its authors call it."""
        return self.about["title"]


@functools.cache
def source_names() -> tuple[str, ...]:
    """All sources, by name."""
    found = {path.stem for path in paper_dir().glob("*.yaml") if _is_of_a_source(path)}
    return tuple(sorted(found | {CODD}))


def is_source(name: str) -> bool:
    """Whether a text is the name of a source, with cells behind it or not."""
    return name.partition(":")[0] in source_names()


@functools.cache
def read_source(name: str) -> Source:
    """A source by its name.

    Raises:
        ValueError: one line: there is none, or its file is not laid out like one.
    """
    if name not in source_names():
        raise ValueError(unknown_value("paper", name, source_names()))
    if name == CODD:
        return Source(CODD, *cells_of_tables(paper_dir() / CODD_FILE))
    path = paper_dir() / f"{name}.yaml"
    return _from_file(path, read_yaml(path))


def chosen_cells(text: str) -> tuple[Source, list[Cell]]:
    """`SOURCE` or `SOURCE:CELL,CELL`: the source and those of its cells; a part of a name that ends in `*` is many.

    Raises:
        ValueError: one line: there is no such source, or no such cell.
    """
    name, colon, listed = text.partition(":")
    source = read_source(name)
    if not colon:
        return source, list(source.cells)
    found: dict[str, Cell] = {}
    for wanted in (part.strip() for part in listed.split(",")):
        if not wanted:
            raise ValueError(f"`{text}` has an empty name of a cell; write {name} alone for all of its cells")
        fits = [cell for cell in source.cells if _fits(cell.id, wanted)]
        if not fits:
            near = near_names(wanted, [cell.id for cell in source.cells])
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ValueError(f"`{name}:{wanted}`: no such cell; `./eval.sh --paper {name} --dry-run` lists them{hint}")
        found.update((cell.id, cell) for cell in fits)
    return source, list(found.values())


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def _is_of_a_source(path: Path) -> bool:
    text = f"\n{path.read_text(encoding='utf-8', errors='replace')}"
    return all(key in text for key in _KEYS)


def _from_file(path: Path, data: Mapping[str, Any]) -> Source:
    about, listed, tasks = data.get("source"), data.get("cells"), data.get("tasks") or {}
    if not isinstance(about, Mapping) or not isinstance(about.get("title"), str):
        raise ValueError(f"`{path}` has no `source` with a `title`")
    if not isinstance(listed, list) or not isinstance(tasks, Mapping):
        raise ValueError(f"`{path}` has no list of `cells`, or its `tasks` are no mapping")
    cells = tuple(make_cell(one, path.name) for one in listed)
    if (means := data.get("means")) is not None:
        cells += cells_of_means(path.parent / str(means))
    names = [cell.id for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"`{path}` has the cell {twice[0]} twice")
    return Source(path.stem, {str(key): _text(value) for key, value in about.items()}, cells, dict(tasks))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
