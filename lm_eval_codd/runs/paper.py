"""`--paper`: the sweeps behind the paper's tables, as files in `results/paper`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from lm_eval_codd.registration import paper_dir
from lm_eval_codd.runs.sweep import FIXED, Sweep, read_sweeps
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

TABLES: Final = tuple(f"table{number}" for number in range(1, 7))
GRID_MAX: Final = "grid-max"
SELECT: Final = (FIXED, GRID_MAX)

GRID_REMARK: Final = (
    f"--select {GRID_MAX}: the best of a grid is chosen on the test set itself, as the paper printed; it is too high "
    "an estimate, and no comparison with a single setting is fair"
)


def approximation_remarks(runs: Iterable[Run]) -> list[str]:
    """A line where runs that were asked for with a table of the paper are approximate."""
    approximate = [run.config.approximations for run in runs if run.config.approximations]
    if not approximate:
        return []
    what = ", ".join(dict.fromkeys(itertools.chain(*approximate)))
    count = "1 run is" if len(approximate) == 1 else f"{len(approximate)} runs are"
    return [
        f"{count} approximate ({what}) and the paper's tables exact: `report --table` and `check` will not count "
        f"{'it' if len(approximate) == 1 else 'them'} as cells of a table"
    ]


def extension_remarks(runs: Iterable[Run]) -> list[str]:
    """A line where runs that were asked for with a table of the paper are extensions, which it has none of."""
    found = dict.fromkeys(itertools.chain(*(run.extensions for run in runs)))
    return [f"{', '.join(found)}: an extension, which is no cell of the paper's tables"] if found else []


def table_sweeps(name: str, select: str = FIXED) -> list[Sweep]:
    """The sweeps of a table's cells; raises `ValueError` for a table that does not exist."""
    if name not in TABLES:
        raise ValueError(unknown_value("paper", name, TABLES))
    return read_sweeps(paper_dir() / f"{name}.yaml", select)
