"""What the launcher shows when its runs are through: the table of runs, and for the demo a report and a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lm_eval_codd.reporting.runs import Folder, read_folder
from lm_eval_codd.reporting.summary import format_table, read_row

DEMO_REFERENCE: Final = Path(__file__).resolve().parents[2] / "results" / "demo" / "reference.yaml"
_LEVEL: Final = 0.01


def show_runs(names: Iterable[str], output_dir: Path) -> None:
    """Print a line for every run that has a result."""
    if rows := [row for name in names if (row := read_row(output_dir / name))]:
        print(f"\n{format_table(rows)}\n\nResults are in {output_dir}", flush=True)


def show_demo(names: Iterable[str], output_dir: Path) -> None:
    """Print the demo's tables with the paired tests of CoDD against the backbone, draw them, and check the scores."""
    from lm_eval_codd.reporting.formats import join
    from lm_eval_codd.reporting.plots import save_plots
    from lm_eval_codd.reporting.report import build_report

    wanted = set(names)
    folder = Folder(tuple(run for run in read_folder(output_dir).runs if run.name in wanted))
    report = build_report(folder, None)
    if not report.tables:
        return
    print(f"\n{join(report.tables, 'markdown')}")
    for path in save_plots(report.groups, output_dir / "plots"):
        print(f"wrote {path}")
    print(f"\nResults are in {output_dir}; `lm-eval-codd report {output_dir} --html report.html` makes a page of them.")
    _check_demo(folder)


def _check_demo(folder: Folder) -> None:
    from lm_eval_codd.reporting.against_own import check_against_own
    from lm_eval_codd.reporting.check_output import as_text
    from lm_eval_codd.reporting.reference import read_references
    from lm_eval_codd.reporting.yaml_file import read_yaml

    if DEMO_REFERENCE.is_file():
        references = read_references(DEMO_REFERENCE, read_yaml(DEMO_REFERENCE))
        print(f"\n{as_text(check_against_own(folder, references, against=str(DEMO_REFERENCE), level=_LEVEL))}")
