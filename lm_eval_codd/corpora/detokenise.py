"""From text that somebody cut into words to text as it is written, as before published zero-shot perplexities.

The rules are those that came with each corpus (Megatron's for WikiText, SEDD's for the others), in their order: a later
one reads what an earlier one wrote. A changed rule changes perplexities, so it changes `VERSION` too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

VERSION: Final = 1


class _Rule(NamedTuple):
    """What is replaced, by what; a plain text everywhere, a pattern as `re.sub` does, `times` over."""

    old: str | re.Pattern[str]
    new: str
    times: int = 1

    def apply(self, text: str) -> str:
        for _ in range(self.times):
            text = text.replace(self.old, self.new) if isinstance(self.old, str) else self.old.sub(self.new, text)
        return text


def _spaces_inside(first: str, last: str) -> _Rule:
    """`( x )` to `(x)`, for any pair of brackets or quotes, up to the first closing one."""
    return _Rule(re.compile(rf"{re.escape(first)}\s*([^{re.escape(last)}]*?)\s*{re.escape(last)}"), rf"{first}\1{last}")


def _one_space_inside(first: str, last: str) -> _Rule:
    """The same where there is exactly one space on either side, and no other bracket of the kind between them."""
    inner = re.escape(first) + re.escape(last)
    return _Rule(re.compile(rf"{re.escape(first)} ([^{inner}]+) {re.escape(last)}"), rf"{first}\1{last}")


_WIKITEXT: Final = (
    _Rule("s '", "s'"),
    # What stands there for a digit is put back as it is written here: so in every code that has published figures.
    _Rule(re.compile(r"/' [0-9]/"), "/'[0-9]/"),
    *(_Rule(f" @{mark}@ ", mark) for mark in "-,."),
    *(_Rule(f" {mark} ", f"{mark} ") for mark in ":;.!?,"),
    *(_spaces_inside(first, last) for first, last in ("()", "[]", "{}", '""', "''")),
    *(_Rule(" ".join("=" * number), "=" * number) for number in (4, 3, 2)),
    _Rule(" ° ", "°"),
    _Rule(" \n", "\n"),
    _Rule("\n ", "\n"),
    _Rule(" N ", " 1 "),
    _Rule(" 's", "'s"),
)
_PTB: Final = (
    _Rule(" 's", "'s"),
    _Rule("s ' ", "s' "),
    _Rule(" n't", "n't"),
    _Rule(" \n ", "\n"),
    _Rule("\\/", "/"),
    _Rule(" N ", " 1 ", times=10),  # numbers in a row share the space between them
    _Rule("$ 1", "$1"),
    _Rule("# 1", "#1"),
    _Rule("<unk>", "?"),
)
_LM1B: Final = (
    *(_Rule(f"{scheme} : / / ", f"{scheme}://") for scheme in ("http", "https")),
    _Rule(re.compile(r" '(\w+)"), r"'\1"),
    _Rule(re.compile(r" (\w+) \. "), r" \1. "),
    _Rule(re.compile(r" (\w+) \.$"), r" \1."),
    *(rule for mark in "?!" for rule in (_Rule(f" {mark} ", f"{mark} "), _Rule(re.compile(rf" \{mark}$"), mark))),
    *(_Rule(f" {mark} ", f"{mark} ") for mark in ",:;"),
    _Rule(" / ", "/"),
    *(_one_space_inside(first, last) for first, last in ('""', "''", "()", "[]")),
    _Rule("$ ", "$"),
    _Rule("£ ", "£"),
)
_LAMBADA: Final = (
    _Rule("“", '"'),
    _Rule("”", '"'),
    _Rule(re.compile(r"\A\s*|\s*\Z"), ""),
    _Rule(re.compile(r"\A"), "\n"),
)
_RULES: Final[Mapping[str, tuple[_Rule, ...]]] = {
    "none": (),
    "wikitext": _WIKITEXT,
    "ptb": _PTB,
    "lm1b": _LM1B,
    "lambada": _LAMBADA,
    "scientific_papers": (*_WIKITEXT, *_LM1B),
}
NAMES: Final = tuple(_RULES)


def detokenise(text: str, name: str) -> str:
    """A text as it is written.

    Args:
        text: as the corpus has it.
        name: of the rules, one of `NAMES`.
    """
    for rule in _RULES[name]:
        text = rule.apply(text)
    return text
