"""The commands `report` and `check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.atlas.source import is_source, source_names
from lm_eval_codd.atlas.unstated import parse_assumed
from lm_eval_codd.files.outputs import check_file, check_folder, write_text
from lm_eval_codd.reporting.equivalence import DEFAULT_MARGIN
from lm_eval_codd.reporting.runs import Folder, read_folder
from lm_eval_codd.reporting.samples import without_contradicted
from lm_eval_codd.terminal.clean_text import one_line
from lm_eval_codd.terminal.parser import Parser

__all__ = ["check_main", "report_main"]

_NOTHING: Final = 2
_FORMATS: Final = ("markdown", "csv", "latex", "html")
_TABLES: Final = tuple(range(1, 7))
_DEFAULT_LEVEL: Final = 0.01

_REPORT: Final = """Tables of the runs in a folder, with what is not in them and why.

  lm-eval-codd report results/
  lm-eval-codd report results/ --table 1 --format latex --output table1.tex
  lm-eval-codd report results/ --html report.html --plots plots/
  lm-eval-codd report results/ --atlas atlas.html

Runs of different settings are in different tables; what else differs within one is marked. A cell with several runs
over pc_frac and pc_temperature shows the best and says so. Folders of the files to write are made where they are
missing. Exit status: 0, 2 when there is nothing to show."""

_CHECK: Final = """Are the runs in a folder consistent with a reference?

  lm-eval-codd check results/ --against results/paper/codd_tables.yaml --table 1
  lm-eval-codd check results/ --against llada
  lm-eval-codd check results/ --update reference.yaml
  lm-eval-codd check results/ --against reference.yaml --junit check.xml --summary "$GITHUB_STEP_SUMMARY"

Published tables are compared as right answers of all answers (Fisher's exact test), and own references item by item
(McNemar's exact test), also on a --limit subset. Both are corrected for the number of comparisons (Holm). Exit
status: 0 consistent, 1 a regression (below the reference; with own references any significant change), 2 nothing to
compare. Suspect cells of published tables never decide. Folders of the files to write are made where missing.

A SOURCE of published cells (--paper list of the launcher), or SOURCE:CELL,..., gets a verdict for each cell: reproduced
(the run's interval holds the figure), differs, not comparable (which setting is another), implausible (no number of
right answers prints so) or not run. Exit status: 1 where a figure differs, either way."""


def report_main(argv: Sequence[str]) -> int:
    """`lm-eval-codd report`; returns its exit status. Errors are a `ValueError` of one line."""
    from lm_eval_codd.reporting.report import build_report

    args = _report_parser().parse_args(argv)
    if not 0 < args.margin < 100:
        raise ValueError(f"`--margin {args.margin:g}` must be above 0 and below 100, in points; 1.0 is the usual one")
    _check_outputs(output=args.output, html=args.html, atlas=args.atlas)
    if args.plots is not None:
        check_folder("--plots", args.plots)
    folder = without_contradicted(read_folder(args.results))
    if args.atlas is not None:
        from lm_eval_codd.reporting.atlas_page import build_atlas_page

        write_text(args.atlas, build_atlas_page(folder, f"Published figures: {args.results}", level=_DEFAULT_LEVEL))
        print(f"wrote {args.atlas}", file=sys.stderr)
    report = build_report(folder, args.table, margin=args.margin)
    if not report.tables:
        what = "runs with a score" if args.table is None else f"runs of table {args.table}"
        print(f"lm-eval-codd report: no {what} in `{args.results}`", file=sys.stderr)
        _print_remarks(report.remarks, to_errors=True)
        return _NOTHING
    remarks = list(report.remarks)
    if args.format == "csv":
        remarks += [f"{run.name} ({run.task}): values that are no accuracies; not in csv" for run in folder.measured]
    is_prose = args.format == "markdown"
    text = _format_report(report, args.format)
    if args.output is None:
        print(text, end="")
        _print_remarks(remarks, to_errors=not is_prose)
    else:
        write_text(args.output, text)
        print(f"wrote {args.output}")
        _print_remarks(remarks, to_errors=False)
    if args.plots is not None:
        from lm_eval_codd.reporting.plots import save_plots

        for path in save_plots(report.groups, args.plots):
            print(f"wrote {path}", file=sys.stdout if is_prose or args.output else sys.stderr)
    if args.html is not None:
        from lm_eval_codd.reporting.page import build_page

        write_text(args.html, build_page(report, folder, _title(report, args.results)))
        print(f"wrote {args.html}", file=sys.stdout if is_prose or args.output else sys.stderr)
    return 0


def check_main(argv: Sequence[str]) -> int:
    """`lm-eval-codd check`; returns its exit status. Errors are a `ValueError` of one line."""
    args = _check_parser().parse_args(argv)
    if (args.against is None) == (args.update is None):
        raise ValueError("give either `--against` a reference to compare with, or `--update` a file to make one")
    if not 0 < args.level < 1:
        raise ValueError(f"`--level {args.level:g}` must be above 0 and below 1")
    _check_outputs(update=args.update, junit=args.junit, summary=args.summary)
    is_of_cells = args.against is not None and not args.against.is_file() and is_source(str(args.against))
    if args.against is not None and not is_of_cells and not args.against.exists():
        raise ValueError(
            f"`--against {args.against}` is no file and no source; sources are {', '.join(source_names())}"
        )
    if args.assume and not is_of_cells:
        raise ValueError(f"`--assume {args.assume[0]}` is for the cells of a source; leave it out")
    folder = without_contradicted(read_folder(args.results))
    if args.update is not None:
        return _update(folder, args.update, args.results)
    if is_of_cells:
        from lm_eval_codd.reporting import atlas_output
        from lm_eval_codd.reporting.against_atlas import check_against_atlas

        if args.table is not None:
            raise ValueError(f"`--table {args.table}` selects from published tables; `{args.against}` has cells")
        assumed = parse_assumed(args.assume)
        judged = check_against_atlas(folder, str(args.against), level=args.level, assumed=assumed)
        return _show(judged, atlas_output, args.junit, args.summary)
    from lm_eval_codd.reporting import check_output

    return _show(_compare(folder, args.against, args.table, args.level), check_output, args.junit, args.summary)


def _show(check: Any, outputs: Any, junit: Path | None, summary: Path | None) -> int:
    """Print a check, and write it where asked; returns its exit status."""
    print(outputs.as_text(check))
    if junit is not None:
        write_text(junit, outputs.as_junit(check))
    if summary is not None:
        write_text(summary, outputs.as_summary(check), append=True)
    return check.exit_status


def _compare(folder: Folder, against: Path, table: int | None, level: float) -> Any:
    from lm_eval_codd.atlas.codd_tables import read_published
    from lm_eval_codd.atlas.revision_means import is_revision, read_revision
    from lm_eval_codd.reporting.against_own import check_against_own
    from lm_eval_codd.reporting.against_paper import check_against_paper
    from lm_eval_codd.reporting.against_revision import check_against_revision
    from lm_eval_codd.reporting.reference import is_reference, read_references
    from lm_eval_codd.runs.yaml_file import read_yaml

    data = read_yaml(against)
    if is_revision(data):
        if table is not None:
            raise ValueError(f"`--table {table}` selects from tables of the CoDD paper; `{against}` is one of its own")
        return check_against_revision(folder, read_revision(against, data), against=str(against), level=level)
    if not is_reference(data):
        name = None if table is None else f"table{table}"
        return check_against_paper(folder, read_published(against, data), against=str(against), level=level, table=name)
    if table is not None:
        raise ValueError(f"`--table {table}` selects from published tables; `{against}` holds own results")
    return check_against_own(folder, read_references(against, data), against=str(against), level=level)


def _update(folder: Folder, path: Path, results: Path) -> int:
    from lm_eval_codd.reporting.reference import write_references

    runs = [run for run in folder.runs if run.value is not None and run.settings]
    _print_remarks([f"left out: {problem}" for problem in folder.problems], to_errors=True)
    if not runs:
        print(f"lm-eval-codd check: no runs with a score in `{results}`; `{path}` is left as it is", file=sys.stderr)
        return _NOTHING
    try:
        count = write_references(path, runs)
    except OSError as error:
        raise ValueError(f"`{path}` cannot be written: {error.strerror}") from None
    print(f"wrote {path} with {count} runs")
    return 0


def _title(report: Any, results: Path) -> str:
    """What was evaluated, and where it lies: `LLaDA (demo), block diffusion, and 2 more: results`."""
    # Values that are no accuracies have tables and no groups.
    titles = [group.title for group in report.groups] or [table.title.partition(": ")[0] for table in report.tables]
    first, *others = titles
    return f"{first}{f', and {len(others)} more' if others else ''}: {results}"


def _check_outputs(**files: Path | None) -> None:
    for flag, path in files.items():
        if path is not None:
            check_file(f"--{flag}", path)


def _format_report(report: Any, style: str) -> str:
    from lm_eval_codd.reporting.formats import cells_as_csv, join

    return cells_as_csv(report.groups) if style == "csv" else join(report.tables, style)


def _print_remarks(remarks: Sequence[str], *, to_errors: bool) -> None:
    if remarks:
        lines = [f"- {one_line(remark)}" for remark in remarks]
        print("\nNot in these tables:", *lines, sep="\n", file=_stream(to_errors))


def _stream(to_errors: bool) -> Any:
    return sys.stderr if to_errors else sys.stdout


def _parser(name: str, description: str) -> Parser:
    parser = Parser(prog=f"lm-eval-codd {name}", description=description)
    parser.add_argument("results", type=Path, help="folder that runs were written to")
    return parser


def _report_parser() -> Parser:
    parser = _parser("report", _REPORT)
    parser.add_argument("--table", type=int, choices=_TABLES, help="only what belongs to this table of the CoDD paper")
    parser.add_argument("--format", choices=_FORMATS, default="markdown", help="default: markdown; csv is a line a run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there instead of printing them")
    parser.add_argument("--html", type=Path, metavar="FILE", help="one page with tables, plots, settings and answers")
    parser.add_argument(
        "--margin",
        type=float,
        default=DEFAULT_MARGIN,
        metavar="POINTS",
        help=f"within which a cheaper decode is called equivalent (default: {DEFAULT_MARGIN})",
    )
    parser.add_argument(
        "--atlas",
        type=Path,
        metavar="FILE",
        help="one page with every published figure, by source and benchmark, and the verdict of these runs on it",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="pictures as PNG and SVG")
    return parser


def _check_parser() -> Parser:
    parser = _parser("check", _CHECK)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE|SOURCE",
        help="published tables or own references, YAML; or the name of a source of published cells",
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="what a SOURCE does not state, where runs were not made for its cells (--assume of the launcher)",
    )
    parser.add_argument("--update", type=Path, metavar="FILE", help="make a reference of these results instead")
    parser.add_argument("--table", type=int, choices=_TABLES, help="only this one of the published tables")
    parser.add_argument(
        "--level",
        type=float,
        default=_DEFAULT_LEVEL,
        metavar="P",
        help=f"significance level (default: {_DEFAULT_LEVEL})",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also as JUnit XML")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="also as Markdown for GitHub, appended to FILE")
    return parser
