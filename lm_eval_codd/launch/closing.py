"""What the launcher shows at its end: the table of runs; for a demo a page, a verdict and its own tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.runs import Folder, read_folder
from lm_eval_codd.reporting.summary import format_table, read_rows
from lm_eval_codd.terminal.invocation import command, shown_path

if TYPE_CHECKING:
    from lm_eval_codd.launch.demo import Demo

_LEVEL: Final = 0.01


def show_runs(names: Iterable[str], output_dir: Path) -> None:
    """Print a line for every run that has a result."""
    if rows := [row for name in names for row in read_rows(output_dir / name)]:
        print(f"\n{format_table(rows)}\n\nResults are in {output_dir}", flush=True)


def show_demo(demo: Demo, names: Iterable[str], output_dir: Path) -> None:
    """Write the demo's page and pictures, check its scores, and print its tables last."""
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
    page.write_text(build_page(report, folder, demo.title), encoding="utf-8")
    save_plots(report.groups, plots)
    model_args, prompt = demo.example
    print(f"\nThe page with tables, plots and every answer:  {page}")
    print(f"The plots as pictures:                         {plots}")
    print(f"All tables here:                               {command()} report {shown_path(output_dir)}")
    print(f"One decode, step by step:                      {command()} trace --model codd_llada --model_args \\")
    print(f'    {model_args} --prompt "{prompt}"')
    _check(demo, folder)
    for table in (*demo.beside(report.groups), *demo.tables(report.groups[0])):
        print(f"\n{to_markdown(table)}", flush=True)


def _check(demo: Demo, folder: Folder) -> None:
    """One line, and why some of it surprises, where all agree with the reference; everything where not."""
    from lm_eval_codd.reporting.against_own import check_against_own
    from lm_eval_codd.reporting.check_output import as_text
    from lm_eval_codd.reporting.reference import read_references
    from lm_eval_codd.runs.yaml_file import read_yaml

    if demo.reference.is_file():
        references = read_references(demo.reference, read_yaml(demo.reference))
        check = check_against_own(folder, references, against=shown_path(demo.reference), level=_LEVEL)
        agree = not (check.exit_status or check.refused or check.missing)
        print(f"\n{check.conclusion() if agree else as_text(check)}")
        if agree:
            print(f"\n{demo.explanation}")
