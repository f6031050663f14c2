"""What the launcher shows at its end: the table of runs; for the demo a page, a verdict and its own table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.program import command, shown_path
from lm_eval_codd.reporting.cells import BASE, Cell, CellKey, Group
from lm_eval_codd.reporting.decoder_table import against_fixed_steps
from lm_eval_codd.reporting.runs import Folder, read_folder
from lm_eval_codd.reporting.summary import format_table, read_rows
from lm_eval_codd.reporting.table import Table, paired, who_revises

if TYPE_CHECKING:
    from lm_eval_codd.reporting.pairs import Pair

DEMO_REFERENCE: Final = Path(__file__).resolve().parents[2] / "results" / "demo" / "reference.yaml"
_LEVEL: Final = 0.01
_TITLE: Final = "Demo: 300 word problems, a small LLaDA alone and coupled by a circuit"
_EXPLANATION: Final = """\
Why 8 steps are worse than 4 for the backbone: the end tokens behind an answer are its surest, so the first steps commit
nothing else; at 8 steps of 4 tokens it is often one too many, which leaves no room for the closing "#### N" (77 of the
107 wrong answers lack it, 24 of 74 at 4 steps, none with the circuit).
Why NFE does not fall below the number of steps: for the same reason the last tokens of the text come in the last step,
and the answer is one block, so its early end saves no step."""


def show_runs(names: Iterable[str], output_dir: Path) -> None:
    """Print a line for every run that has a result."""
    if rows := [row for name in names for row in read_rows(output_dir / name)]:
        print(f"\n{format_table(rows)}\n\nResults are in {output_dir}", flush=True)


def show_demo(names: Iterable[str], output_dir: Path) -> None:
    """Write the demo's page and pictures, check its scores, and print its table: the README's, last."""
    from lm_eval_codd.reporting.formats import to_markdown
    from lm_eval_codd.reporting.page import build_page
    from lm_eval_codd.reporting.plots import save_plots
    from lm_eval_codd.reporting.report import build_report

    wanted = set(names)
    folder = Folder(tuple(run for run in read_folder(output_dir).runs if run.name in wanted))
    report = build_report(folder, None)
    if not report.groups:
        return
    page, plots = output_dir / "report.html", output_dir / "plots"
    page.write_text(build_page(report, folder, _TITLE), encoding="utf-8")
    save_plots(report.groups, plots)
    print(f"\nThe page with tables, plots and every answer:  {page}")
    print(f"The plots as pictures:                         {plots}")
    print(f"All tables here:                               {command()} report {shown_path(output_dir)}")
    print(f"One decode, step by step:                      {command()} trace --model codd_llada --model_args \\")
    print(
        "    pretrained=demo,pc=demo,num_steps=4,pc_frac=1.1 "
        '--prompt "Emma has 17 books. Emma drops 7. How many are left?"'
    )
    _check_demo(folder)
    for table in demo_tables(report.groups[0]):
        print(f"\n{to_markdown(table)}", flush=True)


def demo_tables(group: Group) -> list[Table]:
    """Fixed steps with and without the circuit (README.md), and the other decoders (docs/decoders.md)."""
    decoders = _decoders_table(group)
    return [_steps_table(group), *([decoders] if decoders.rows else [])]


def _steps_table(group: Group) -> Table:
    """Accuracy of the backbone and of CoDD at each number of steps, and the difference with McNemar's p."""
    (alg, *_), columns = group.rows[0], [c for c in group.columns if c.steps and not c.approximations]
    rows = [
        ["backbone", *(_percent(group.cells.get(CellKey(alg, BASE, *column))) for column in columns)],
        ["CoDD", *(_percent(group.cells.get(CellKey(alg, "CoDD", *column))) for column in columns)],
        [
            "difference (McNemar's p)",
            *(_difference(*(group.cells.get(CellKey(alg, s, *column)) for s in (BASE, "CoDD"))) for column in columns),
        ],
    ]
    header = [f"accuracy in %, n = {_documents(group)}", *(f"{column.steps} steps" for column in columns)]
    return Table(group.title, header, rows, 1)


def _decoders_table(group: Group) -> Table:
    """Every other decoder beside the fixed steps of at least as many network evaluations."""
    rows = []
    for fixed, cell in against_fixed_steps(group):
        name = cell.key.alg if cell.key.system == BASE else f"{cell.key.alg}, {cell.key.system}"
        tokens = None if cell.run is None else cell.run.tokens_per_evaluation
        cost = [f"{_nfe(cell):.1f}", "-" if tokens is None else f"{tokens:.1f}"]
        rows.append([name, _percent(cell), *cost, f"{_percent(fixed)} at {_nfe(fixed):.0f}", _difference(fixed, cell)])
    header = [
        *(f"decoder, n = {_documents(group)}", "accuracy in %", "NFE", "tokens / NFE"),
        *("fixed steps, at NFE", "difference (McNemar's p)"),
    ]
    return Table(f"{group.title}: decoders", header, rows, 1, who_revises(group))


def _documents(group: Group) -> str:
    return ", ".join(map(str, sorted({cell.run.n or 0 for cell in group.cells.values() if cell.run is not None})))


def _nfe(cell: Cell) -> float:
    return 0.0 if cell.run is None or cell.run.nfe is None else cell.run.nfe


def _percent(cell: Cell | None) -> str:
    return "-" if cell is None or cell.run is None else f"{100 * cell.run.score_of_task:.1f}"


def _difference(first: Cell | None, second: Cell | None) -> str:
    pair = "no pair" if first is None or second is None else paired(first, second)
    return "-" if isinstance(pair, str) else difference_text(pair)


def difference_text(pair: Pair) -> str:
    """`+17.7 (< 0.0001)`: points, and the p-value to one digit."""
    return f"{100 * pair.difference:+.1f} ({'< 0.0001' if pair.p < 1e-4 else f'{pair.p:.1g}'})"


def _check_demo(folder: Folder) -> None:
    """One line, and why some of it surprises, where all agree with the reference; everything where not."""
    from lm_eval_codd.reporting.against_own import check_against_own
    from lm_eval_codd.reporting.check_output import as_text
    from lm_eval_codd.reporting.reference import read_references
    from lm_eval_codd.runs.yaml_file import read_yaml

    if DEMO_REFERENCE.is_file():
        references = read_references(DEMO_REFERENCE, read_yaml(DEMO_REFERENCE))
        check = check_against_own(folder, references, against=shown_path(DEMO_REFERENCE), level=_LEVEL)
        agree = not (check.exit_status or check.refused or check.missing)
        print(f"\n{check.conclusion() if agree else as_text(check)}")
        if agree:
            print(f"\n{_EXPLANATION}")
