"""Print setup.cfg's lower bounds as pip constraints: `torch >= 2.9` becomes `torch==2.9`."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?\s*>=\s*(?P<bound>[\w.]+)")


def lower_bounds(setup_cfg: Path) -> list[str]:
    """A constraint for every requirement of the package and its extras.

    Raises:
        ValueError: a requirement is not of the form `name >= version`.
    """
    parser = configparser.ConfigParser()
    parser.read(setup_cfg, encoding="utf-8")
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line.strip() and not line.startswith("#")]
    constraints = []
    for line in lines:
        match = REQUIREMENT.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"`{line.strip()}` in {setup_cfg} has no lower bound; write `name >= version`")
        constraints.append(f"{match['name']}=={match['bound']}")
    return constraints


if __name__ == "__main__":
    print("\n".join(lower_bounds(Path(__file__).resolve().parents[1] / "setup.cfg")))
