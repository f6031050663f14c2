"""The pages a user reads, and what of them is checked: links, headings, paths and commands."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tasks/README.md"),
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
_PROGRAMS = ("./eval.sh", "lm_eval", "lm-eval-codd")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *$", re.MULTILINE)


def spans(page: str) -> list[str]:
    """What stands between backticks in its prose."""
    return _SPAN.findall(_prose(page))


def links(page: str) -> list[str]:
    """Targets of its links and pictures, but for those that leave the project."""
    return [target for target in _LINK.findall(_prose(page)) if "://" not in target]


def anchors(page: str) -> set[str]:
    """What its headings can be linked by, as GitHub makes it of them: small letters, hyphens for blanks, no signs."""
    found: list[str] = []
    for heading in _HEADING.findall(_prose(page)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        same = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other) is not None for other in found)
        found.append(f"{anchor}-{same}" if same else anchor)
    return set(found)


def commands(page: str) -> list[tuple[str, ...]]:
    """Every command of this project that it shows with arguments, in blocks and in its prose, as words."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [block for language, block in _FENCE.findall(text) if language in ("", "bash")]
    lines = [*(line for block in blocks for line in _commands_of(block)), *spans(page)]
    shown = [shlex.split(line, comments=True) for line in lines if line.split(" ")[0] in _PROGRAMS]
    first = [words[: words.index("&&")] if "&&" in words else words for words in shown]
    return [tuple(words) for words in first if words[1:]]


def _prose(page: str) -> str:
    return _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def _commands_of(block: str) -> list[str]:
    """A block's commands: one goes on in the next line after a backslash, and within quotes."""
    found: list[str] = []
    is_open = False
    for line in block.replace("\\\n", " ").splitlines():
        found = [*found[:-1], f"{found[-1]}\n{line}"] if is_open else [*found, line]
        is_open = found[-1].count("'") % 2 == 1
    return found
