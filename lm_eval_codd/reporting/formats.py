"""Tables as Markdown, LaTeX and HTML, and the cells as CSV; names are cleaned and escaped for each."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Final

from lm_eval_codd.reporting.cells import BASE, Cell, Group
from lm_eval_codd.reporting.samples import count_unreadable
from lm_eval_codd.reporting.stats import wilson
from lm_eval_codd.reporting.table import Table, paired
from lm_eval_codd.terminal.clean_text import one_line
from lm_eval_codd.terminal.columns import padded, widths_of

__all__ = ["FORMATS", "cells_as_csv", "join", "markdown_line", "to_html", "to_latex", "to_markdown"]

_CSV_HEADER: Final = (
    *(
        "table",
        "rule",
        "system",
        "benchmark",
        "metric",
        "filter",
        "steps",
        "approximations",
        "pc_frac",
        "pc_temperature",
        "run",
        "percent",
        "stderr",
        "wilson_low",
        "wilson_high",
    ),
    *("correct", "n", "unreadable", "nfe", "answer_tokens", "circuit_calls", "seconds_per_sample", "hardware"),
    *("gain", "gain_low", "gain_high", "better", "worse", "mcnemar_p", "seen_from", "paired_t_p"),
    *("is_shown", "remarks"),
)
_LATEX_ESCAPES: Final = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
    }
)


def to_markdown(table: Table) -> str:
    """A pipe table with aligned columns, which reads well in a terminal too."""
    lines = [[markdown_line(text) for text in line] for line in (table.header, *table.rows)]
    widths = [max(3, width) for width in widths_of(lines)]
    numbers = range(table.num_labels, len(widths))
    rule = ["-" * (width - 1) + ":" if column in numbers else "-" * width for column, width in enumerate(widths)]
    texts = [f"| {' | '.join(padded(line, widths, numbers))} |" for line in (lines[0], rule, *lines[1:])]
    notes = [f"\n{markdown_line(note)}" for note in table.notes]
    return "\n".join([f"**{markdown_line(table.title)}**", "", *texts, *notes])


def to_latex(table: Table) -> str:
    """A `table` environment with booktabs rules."""
    columns = "l" * table.num_labels + "r" * (len(table.header) - table.num_labels)
    body = [" & ".join(_tex(text) for text in line) + r" \\" for line in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(table.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(_tex(text) for text in table.header) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {_tex(note)}" for note in table.notes),
            r"\end{table}",
        ]
    )


def to_html(table: Table) -> str:
    """A `<table>` with its caption; everything in it is escaped."""
    head = "".join(f"<th>{_html(text)}</th>" for text in table.header)
    rows = "\n".join("<tr>" + "".join(f"<td>{_html(text)}</td>" for text in line) + "</tr>" for line in table.rows)
    notes = "".join(f"<p>{_html(note)}</p>" for note in table.notes)
    caption = f"<caption>{_html(table.title)}</caption>"
    return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>{notes}"


FORMATS: Final[Mapping[str, Callable[[Table], str]]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "html": to_html,
}


def cells_as_csv(groups: Iterable[Group]) -> str:
    """A line for every run that stands in a table, those behind a best-of-grid cell too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_HEADER, lineterminator="\n")
    writer.writeheader()
    for group in groups:
        for cell in group.cells.values():
            for line in _csv_lines(group, cell):
                writer.writerow({name: one_line(v) if isinstance(v, str) else v for name, v in line.items()})
    return text.getvalue()


def _csv_lines(group: Group, cell: Cell) -> list[dict[str, object]]:
    base = group.cells.get(cell.key._replace(system=BASE))
    lines = []
    for run in cell.grid:
        metric, _, of_filter = (run.metric or "").partition(",")
        is_shown = run is cell.run
        line: dict[str, object] = {
            "table": group.title,
            "rule": cell.key.alg,
            "system": cell.key.system,
            "benchmark": cell.key.benchmark,
            "metric": metric,
            "filter": of_filter,
            "steps": cell.key.steps or "",
            "approximations": " ".join(cell.key.approximations),
            "run": run.name,
            "percent": f"{100 * run.score_of_task:.4f}",
            "stderr": "" if run.binomial_stderr is None else f"{100 * run.binomial_stderr:.4f}",
            "correct": run.correct,
            "n": run.n,
            "unreadable": count_unreadable(run),
            "nfe": run.nfe,
            "answer_tokens": run.answer_tokens,
            "circuit_calls": run.circuit_calls,
            "seconds_per_sample": run.seconds_per_sample,
            "hardware": run.hardware,
            "is_shown": int(is_shown),
            "remarks": "; ".join([*cell.marks, cell.refusal] if is_shown or cell.refusal else []).strip("; "),
        }
        if run.correct is not None:
            bounds = zip(("wilson_low", "wilson_high"), wilson(*run.counts), strict=True)
            line |= {name: f"{100 * bound:.4f}" for name, bound in bounds}
        if cell.key.system != BASE:
            line |= {name: run.settings[name] for name in ("pc_frac", "pc_temperature")}
        pair = paired(base, cell) if is_shown and base is not None and cell.key.system != BASE else ""
        if not isinstance(pair, str):
            line |= {
                "gain": f"{100 * pair.difference:.4f}",
                "gain_low": f"{100 * pair.low:.4f}" if math.isfinite(pair.low) else "",
                "gain_high": f"{100 * pair.high:.4f}" if math.isfinite(pair.high) else "",
                "better": pair.better,
                "worse": pair.worse,
                "paired_t_p" if pair.is_graded else "mcnemar_p": f"{pair.p:.6g}",
                "seen_from": "" if pair.seen_from is None else f"{100 * pair.seen_from:.4f}",
            }
        lines.append(line)
    return lines


def markdown_line(text: str) -> str:
    """The text on one line of Markdown: in a table's cell, and where a `<` could begin an element."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", one_line(text).replace("|", "\\|"))


def _html(text: str) -> str:
    return escape(one_line(text))


def _tex(text: str) -> str:
    return one_line(text).translate(_LATEX_ESCAPES)


def join(tables: Sequence[Table], style: str) -> str:
    """The tables one below the other in a format of `FORMATS`."""
    return "\n\n".join(FORMATS[style](table) for table in tables) + "\n"
