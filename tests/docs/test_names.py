"""What docs/settings.md says of names is what the package does with them."""

import re
from pathlib import Path

from lm_eval_codd.names import EXPLAINED, READ_AS

SETTINGS = Path(__file__).parents[2] / "docs" / "settings.md"


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    text = SETTINGS.read_text(encoding="utf-8").split(heading)[1]
    table = re.search(r"(^\|.*\n)+", text, re.M)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


def test_names_of_other_projects_are_read_or_explained_as_it_says():
    own = {"alg"}
    checked = 0
    for there, here in rows_of("## Coming from"):
        for name in re.findall(r"`(\w+)`|`(\w+)=", there):
            name = "".join(name)
            if name in READ_AS:
                assert f"`{READ_AS[name].here}" in here, f"{name} is read as {READ_AS[name].here}"
                checked += 1
            else:
                assert name in EXPLAINED or name in own or name == "trust_remote_code", f"{name} is not known"
    assert checked >= 8
