"""Measure the misspecification gap on the demo, for docs/likelihood.md and results/demo/gap.json.

    python scripts/update_gap.py            # write the figures, the table and docs/gap.png
    python scripts/update_gap.py --check    # measure, and compare with results/demo/gap.json: exit status 1 where not

Half a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from update_demo import ROOT, with_table

from lm_eval_codd.demo import HERE
from lm_eval_codd.gap.cli import main as measure_gap
from lm_eval_codd.reporting.table import Table

FIGURES: Final = ROOT / "results" / "demo" / "gap.json"
PAGE: Final = ROOT / "docs" / "likelihood.md"
PICTURE: Final = ROOT / "docs" / "gap.png"
# The tuning problems, so that nothing is chosen on those that scores are reported of.
ASKED: Final = (
    *("--model", "demo", "--circuit", "demo", "--data", str(HERE / "tune.jsonl"), "--limit", "40"),
    *("--ratios", "0.2,0.4,0.6,0.8,1.0", "--device", "cpu", "--dtype", "float32", "--suggest"),
)
# Nats a masked token: what another machine's kernels may change.
TOLERANCE: Final = 0.005


def main() -> None:
    """Measure, then write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the figures there are; write nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        json_file, picture = Path(folder) / "gap.json", Path(folder) / "gap.png"
        if status := measure_gap([*ASKED, "--json", str(json_file), "--plot", str(picture)]):
            sys.exit(status)
        found = figures(json.loads(json_file.read_text(encoding="utf-8")))
        if check:
            if wrong := differences(found, json.loads(FIGURES.read_text(encoding="utf-8"))):
                sys.exit("the gap is not that of results/demo/gap.json:\n" + "\n".join(wrong))
            print("the gap is that of results/demo/gap.json")
            return
        FIGURES.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        PICTURE.write_bytes(picture.read_bytes())
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(found)), encoding="utf-8")


def figures(measured: dict[str, Any]) -> dict[str, Any]:
    """What `gap --json` wrote, without the settings, to four digits: by kind, [mean, low, high] at each ratio."""
    kinds = {**measured["means"], "gain of the circuit": measured["gain"]}
    means = {
        kind: [[round(mean[name], 4) for name in ("value", "low", "high")] for mean in of_ratios]
        for kind, of_ratios in kinds.items()
    }
    names = ("num_answers", "ratios", "helps_until")
    return {**{name: measured[name] for name in names}, "means": means}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """A line for each figure that is another."""
    lines = [
        f"{name}: {found[name]}, not {wanted[name]}"
        for name in wanted
        if name != "means" and found[name] != wanted[name]
    ]
    for kind, of_ratios in wanted["means"].items():
        for ratio, there, here in zip(wanted["ratios"], of_ratios, found["means"][kind], strict=True):
            if any(abs(one - other) > TOLERANCE for one, other in zip(there, here, strict=True)):
                lines.append(f"{kind} at {ratio:g}: {here}, not {there}")
    return lines


def table(found: dict[str, Any]) -> Table:
    """Means and bands, a row a ratio."""
    rows = [
        [f"{ratio:g}", *("{:.2f} ({:.2f} to {:.2f})".format(*of_ratios[row]) for of_ratios in found["means"].values())]
        for row, ratio in enumerate(found["ratios"])
    ]
    return Table("The gap on the demo", ["masked", *found["means"]], rows, 1)


if __name__ == "__main__":
    main()
