"""The demo of dependent tokens: ten tasks, those with a joint answer beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from lm_eval_codd.catalogue import TASK_PREFIX
from lm_eval_codd.launch.demo import REFERENCES, Demo, difference_text
from lm_eval_codd.reporting.cells import BASE, CellKey, Group
from lm_eval_codd.reporting.coupling import KINDS, Compared, Setting, compare_kinds, difference_interval
from lm_eval_codd.reporting.pairs import Pair
from lm_eval_codd.reporting.table import MISSING, Table, paired, probability

__all__ = ["DEMO"]

# The group as one run: ten runs would start ten times. One token a step is 20 steps.
_POINTS: Final = (
    f"model_alias=llada llada_ckpt=demo_coupling task=stock:{TASK_PREFIX}coupling gen_length=20 block_length=20 "
    "dtype=float32 batch_size=50 limit=40 num_steps=1,2,4,20 pc_ckpt=none,demo_coupling pc_frac=1.1"
)
_EXPLANATION: Final = """\
The circuit changes neither group beyond chance: the backbone is too small for most of these tasks, and what it cannot
do alone a circuit does not make up for. What it ties together are the words of a phrasing: column "form" of the table
of constraints."""


def _tables(group: Group) -> list[Table]:
    """Both kinds pooled, and every task (docs/coupling.md)."""
    compared = {setting: kinds for setting, kinds in compare_kinds(group, {}).items() if len(kinds) == len(KINDS)}
    return [_pooled_table(group, compared), _task_table(group, list(compared))]


def _pooled_table(group: Group, compared: Mapping[Setting, Mapping[str, Compared]]) -> Table:
    rows = []
    for kind in KINDS:
        found = [kinds[kind] for kinds in compared.values()]
        for place, system in enumerate(("backbone", "CoDD")):
            shares = [100 * right / items for right, items in (one.counts[place] for one in found)]
            rows.append([kind, system, *(f"{share:.1f}" for share in shares)])
        rows.append([kind, "difference (McNemar's p)", *(difference_text(one.pair) for one in found)])
    rows.append(["joint less control", "difference (95 % interval)", *map(_between, compared.values())])
    items = ", ".join(sorted({str(kinds[kind].pair.n) for kinds in compared.values() for kind in KINDS}))
    header = [f"tasks, n = {items} a kind", "right answers in %", *_steps(list(compared))]
    return Table(group.title, header, rows, 2)


def _between(kinds: Mapping[str, Compared]) -> str:
    gain = kinds["joint"].pair.difference - kinds["control"].pair.difference
    low, high = difference_interval(kinds)
    return f"{100 * gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _task_table(group: Group, settings: Sequence[Setting]) -> Table:
    """Right answers in percent, the backbone's and CoDD's, and McNemar's p where any item turned."""
    rows = []
    for kind, benchmarks in KINDS.items():
        for benchmark in benchmarks:
            cells = [_task_cell(group, setting, benchmark) for setting in settings]
            rows.append([benchmark.removeprefix("coupling_"), kind, *cells])
    items = {cell.run.n for cell in group.cells.values() if cell.run is not None}
    header = [f"task, n = {', '.join(map(str, sorted(map(int, filter(None, items)))))}", "kind", *_steps(settings)]
    return Table(f"{group.title}: backbone, CoDD (McNemar's p)", header, rows, 2)


def _task_cell(group: Group, setting: Setting, benchmark: str) -> str:
    column = setting.schedule._replace(benchmark=benchmark)
    base, codd = (group.cells.get(CellKey(setting.alg, system, *column)) for system in (BASE, setting.system))
    pair = "no pair" if base is None or codd is None else paired(base, codd)
    if not isinstance(pair, Pair) or base is None or codd is None or base.run is None or codd.run is None:
        return MISSING
    return f"{100 * base.run.score_of_task:.0f}, {100 * codd.run.score_of_task:.0f} ({probability(pair.p)})"


def _steps(settings: Sequence[Setting]) -> list[str]:
    return [f"{setting.schedule.steps} step{'s' if setting.schedule.steps > 1 else ''}" for setting in settings]


DEMO: Final = Demo(
    title="Demo: tasks of dependent tokens and their controls, a small LLaDA alone and coupled by a circuit",
    points=lambda: [_POINTS],
    reference=REFERENCES / "coupling.yaml",
    tables=_tables,
    example=(
        "pretrained=demo_coupling,pc=demo_coupling,num_steps=2,pc_frac=1.1",
        "Say who owns what. Who: Anna What: bike Answer:",
    ),
    explanation=_EXPLANATION,
)
