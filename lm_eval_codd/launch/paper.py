"""`--paper`: the sweeps behind the paper's tables, as files in `results/paper`."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.launch.sweep import FIXED, Sweep, read_sweeps
from lm_eval_codd.registration import paper_dir
from lm_eval_codd.settings import unknown_value

TABLES: Final = tuple(f"table{number}" for number in range(1, 7))
GRID_MAX: Final = "grid-max"
SELECT: Final = (FIXED, GRID_MAX)

GRID_REMARK: Final = (
    f"--select {GRID_MAX}: the best of a grid is chosen on the test set itself, as the paper printed; it is too high "
    "an estimate, and no comparison with a single setting is fair"
)


def table_sweeps(name: str, select: str = FIXED) -> list[Sweep]:
    """The sweeps of a table's cells; raises `ValueError` for a table that does not exist."""
    if name not in TABLES:
        raise ValueError(unknown_value("paper", name, TABLES))
    return read_sweeps(paper_dir() / f"{name}.yaml", select)
