"""The families as a table for people: what each is recognised by, what computes and decodes it, and what was checked.

`python -m lm_eval_codd.backbones.family_table` prints it, for docs/models.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.backbones.registry import LAYOUTS, WRAPPED
from lm_eval_codd.settings import DecodingConfig

if TYPE_CHECKING:
    from lm_eval_codd.backbones.layout import Layout

_NO_GOLDEN: Final = "no golden (unsupported)"
_HEAD: Final = (
    "family",
    "such as",
    "recognised by",
    "computed by",
    "attention",
    "decoded by",
    "equal to the authors' code",
)


def family_table() -> str:
    """A row a layout, in Markdown."""
    wrapped = [_row_of_wrapped(model_type) for model_type in WRAPPED]
    rows = [_HEAD, ("---",) * len(_HEAD), *(_row(layout) for layout in LAYOUTS), *wrapped]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def decoding_of(layout: Layout, attention: str = "full") -> str:
    """What decodes checkpoints of a layout: a decoder's rule, or the family whose rules it follows."""
    if layout.decoding is None:
        return "nothing here"
    config = DecodingConfig.for_family(layout.decoding)
    if attention == "block":
        config = DecodingConfig(decoder="block_diffusion").with_rule(layout.decoding)
    if config.rule is not None:
        return f"`decoder={config.decoder}`, `rule={config.rule}`"
    return f"{layout.decoding}'s rules"


def checked_of(layout: Layout) -> str:
    """Which outputs of the authors' code are equal here, on tiny random weights."""
    return " and ".join(layout.goldens) or _NO_GOLDEN


def _row(layout: Layout) -> tuple[str, ...]:
    mark = f"`model_type: {layout.model_type}`" + (" and a mask token" if layout.is_plain else "")
    if layout.needs_family:
        mark += f", with `family={layout.family}`"
    if layout.also_marked is not None:
        other, fields = layout.also_marked
        mark += f", or `{other}` with {' and '.join(f'`{name}`' for name in fields)}"
    attention = "full"
    if layout.is_block_causal and layout.block_length is not None:
        name, usual = layout.block_length
        attention = f"blocks of `{name}` ({usual})"
    elif layout.blocks_if_named is not None:
        attention = f"full; in blocks where `{layout.blocks_if_named}` is in the name (`rule={layout.blocks_if_named}`)"
    computed = f"`{layout.architecture}`" + (", shifted" if layout.scored_by_previous else "")
    return layout.family, layout.examples, mark, computed, attention, decoding_of(layout), checked_of(layout)


def _row_of_wrapped(model_type: str) -> tuple[str, ...]:
    one = WRAPPED[model_type]
    decoded = f"its own `generate` (`--model {one.model}`)"
    mark = f"`model_type: {model_type}`"
    return one.model, one.examples, mark, f"`{one.architecture}`", one.attention, decoded, _NO_GOLDEN


if __name__ == "__main__":
    print(family_table())
