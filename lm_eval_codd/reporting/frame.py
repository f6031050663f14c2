"""The frame of a page of reports: one file that asks for nothing outside of itself, with its data in it."""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from typing import Any

__all__ = ["as_script_data", "framed"]


def framed(name: str, title: str, data: dict[str, Any], styles: tuple[str, ...] = ()) -> str:
    """A whole page.

    Args:
        name: of its content, style and script in `assets`.
        title: of it, one line.
        data: what its script makes tables of.
        styles: names of other pages whose style comes before its own.
    """
    content = asset(f"{name}.html").rstrip("\n")
    page = asset("frame.html").replace("{{content}}", content)
    for place, text in (
        ("css", "".join(asset(f"{each}.css") for each in (*styles, name))),
        ("js", asset(f"{name}.js")),
        ("title", escape(title).replace("{", "&#123;")),
    ):
        page = page.replace(f"{{{{{place}}}}}", text)
    # Last, so that nothing in the data is taken for a place to fill in.
    return page.replace("{{data}}", as_script_data(data))


def as_script_data(data: object) -> str:
    """JSON that is safe inside of a `<script>` element, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str)
    # U+2028 and U+2029 end a line in older JavaScript; a lone surrogate cannot be written as UTF-8.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def asset(name: str) -> str:
    """A file of the pages, as text."""
    return resources.files("lm_eval_codd.reporting").joinpath("assets").joinpath(name).read_text(encoding="utf-8")
