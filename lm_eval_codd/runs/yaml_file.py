"""Reading YAML files as plain data, whoever wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from lm_eval_codd.terminal.clean_text import one_line

__all__ = ["load_yaml", "read_yaml"]

# The parsers that build data call themselves for each level, the one in C until the process dies.
_DEEPEST: Final = 100


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises `ValueError` naming the file when there is none."""
    # The C parser is ten times as fast, where PyYAML was built with it; both build plain data only.
    data = load_yaml(path, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(data, dict):
        raise ValueError(f"`{path}` holds no mapping; it is no file of references")
    return data


def load_yaml(path: Path, loader: type) -> Any:
    """What a YAML file holds, built by a safe loader.

    Raises:
        ValueError: one line naming the file: it cannot be read, is no YAML, refers to itself, or is nested too deeply.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"`{path}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"`{path}` is not UTF-8 text") from None
    try:
        refusal = _refusal(text, loader)
        data = None if refusal else yaml.load(text, loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}," if mark else ""
        reason = getattr(error, "problem", None) or error
        raise ValueError(f"`{path}`{place} is no YAML: {one_line(reason)}") from None
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:  # a 13th month, a bad tag
        raise ValueError(f"`{path}` is no YAML: {one_line(error)}") from None
    if refusal:
        raise ValueError(f"`{path}`, {refusal}")
    return data


def _refusal(text: str, loader: type) -> str | None:
    """Why the text must not be built; read as a stream of events, which takes no stack."""
    anchors: list[str | None] = []
    for event in yaml.parse(text, loader):
        assert event.start_mark is not None  # text has places
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor)
            if len(anchors) > _DEEPEST:
                return f"line {line}, is nested more than {_DEEPEST} levels deep"
        elif isinstance(event, yaml.CollectionEndEvent):
            anchors.pop()
        elif isinstance(event, yaml.AliasEvent) and event.anchor in anchors:
            return f"line {line}, refers to itself (`*{event.anchor}` inside of `&{event.anchor}`)"
    return None
