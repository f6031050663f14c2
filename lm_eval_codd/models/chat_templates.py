"""Which of a tokenizer's chat templates is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# What a tokenizer's only template, and the first of several, is called.
_DEFAULT: Final = "default"


def choose_template(templates: str | Mapping[str, str] | None, asked: bool | str, source: str | None) -> str | None:
    """The text of the template that `--apply_chat_template [NAME]` asks for; None where it asks for none.

    Args:
        templates: the tokenizer's: one, or several by name.
        asked: whether a template is applied, or which.
        source: whose tokenizer it is, for messages.

    Raises:
        ValueError: one line: there is no template, or none of that name.
    """
    if not asked:
        return None
    if not templates:
        raise ValueError(
            f"--apply_chat_template: the tokenizer of `{source}` has no chat template; leave the option out for a base "
            "model, or put one into the checkpoint as chat_template.jinja"
        )
    by_name = {_DEFAULT: templates} if isinstance(templates, str) else templates
    name = _DEFAULT if asked is True else asked
    if name not in by_name:
        option = "--apply_chat_template" if asked is True else f"`--apply_chat_template {asked}`"
        raise ValueError(f"{option}: the tokenizer of `{source}` has no such template; use one of {', '.join(by_name)}")
    return by_name[name]
