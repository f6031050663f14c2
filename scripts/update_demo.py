"""Bring everything that shows a demo's results up to date with a run of it.

    ./eval.sh --demo --output_dir demo-results
    python scripts/update_demo.py demo-results
    ./eval.sh --demo coupling --output_dir coupling-results
    python scripts/update_demo.py coupling-results --demo coupling

Writes the demo's reference in results/demo, its tables in README.md and docs, and its pictures in docs; and for the
word problems, with a Chromium on the path, docs/page.png and docs/trace.png.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.launch.demos import DEMOS
from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.plots import save_plots
from lm_eval_codd.reporting.reference import write_references
from lm_eval_codd.reporting.runs import read_folder

if TYPE_CHECKING:
    from lm_eval_codd.reporting.table import Table

ROOT: Final = Path(__file__).parents[1]
# Of each demo: where its tables are, in their order, and its pictures.
TABLES: Final = {"words": ("README.md", "docs/decoders.md"), "coupling": ("docs/coupling.md", "docs/coupling.md")}
PLOTS: Final = {
    "words": {"accuracy-nfe": "plot.png", "decoders-nfe": "decoders.png"},
    "coupling": {"coupling": "coupling.png"},
}
TRACE: Final = (
    *("trace", "--model", "codd_llada", "--model_args", "pretrained=demo,pc=demo,num_steps=4,pc_frac=1.1"),
    *("--prompt", "Emma has 17 books. Emma drops 7 and sells 5. How many are left?"),
)
BROWSER: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"),
    "--force-device-scale-factor=0.75",
)


def main() -> None:
    """Update them all, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the demo's output folder")
    parser.add_argument("--demo", choices=DEMOS, default="words", help="which (default: words)")
    given = parser.parse_args()
    results, name, demo = given.results, given.demo, DEMOS[given.demo]
    runs = read_folder(results).runs
    group, *_ = group_runs(runs)
    print(f"{demo.reference}: {write_references(demo.reference, runs)} runs")
    for page, table in zip(TABLES[name], demo.tables(group), strict=True):
        text = (ROOT / page).read_text(encoding="utf-8")
        (ROOT / page).write_text(with_table(text, table), encoding="utf-8")
        print(ROOT / page)
    with tempfile.TemporaryDirectory() as folder:
        for path in save_plots([group], Path(folder)):
            for kind, picture in PLOTS[name].items():
                if path.name.endswith(f"{kind}.png"):
                    shutil.copy(path, ROOT / "docs" / picture)
                    print(ROOT / "docs" / picture)
        if name == "words" and (browser := shutil.which("chromium")):
            trace = Path(folder) / "trace.html"
            subprocess.run([sys.executable, "-m", "lm_eval_codd", *TRACE, "--html", str(trace)], check=True)
            take_picture(browser, results / "report.html", "page.png", (1200, 1000))
            take_picture(browser, trace, "trace.png", (1200, 520))


def with_table(text: str, table: Table) -> str:
    """Markdown with a table in place of the one there whose first heading is the same.

    Raises:
        ValueError: there is none, or more than one.
    """
    rule = ["---" if column < table.num_labels else "---:" for column in range(len(table.header))]
    lines = [f"| {' | '.join(cells)} |" for cells in (table.header, rule, *table.rows)]
    pattern = rf"^\| {re.escape(table.header[0])} \|.*\n(?:\|.*\n)*"
    replaced, count = re.subn(pattern, lambda _: "\n".join(lines) + "\n", text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"there are {count} tables that begin with `{table.header[0]}`, not one")
    return replaced


def take_picture(browser: str, page: Path, name: str, size: Sequence[int]) -> None:
    """A page as docs/NAME, as a window of (width, height) shows it."""
    width, height = size
    target = ROOT / "docs" / name
    window = f"--window-size={width},{height}"
    target.unlink(missing_ok=True)
    command = [browser, *BROWSER, window, f"--screenshot={target}", page.resolve(strict=True).as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    print(target)


if __name__ == "__main__":
    main()
