"""When an answer ends is part of what is measured: runs that differ in it are no base and CoDD, and that is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.reporting.cells import BASE
from lm_eval_codd.reporting.protocol import protocol_of

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Group
    from lm_eval_codd.reporting.run import Run

__all__ = ["END_RULES", "told_apart"]

# What says how long an answer is and what its end tokens do. They are settings of a table, so no table mixes them.
END_RULES: Final = (
    *("gen_length", "stop_at_eos", "logits_eos_inf", "confidence_eos_eot_inf", "eos_id", "eot_id"),
    "until",
)


def told_apart(groups: Sequence[Group]) -> Iterator[str]:
    """A line for each run with a circuit whose only candidates for a base end their answers by another rule."""
    for group in groups:
        for key, cell in group.cells.items():
            if cell.run is None or key.system == BASE or key._replace(system=BASE) in group.cells:
                continue
            place = key._replace(system=BASE)
            bases = [other.cells[place].run for other in groups if other is not group and place in other.cells]
            for base in bases:
                if base is not None and (differences := _only_ends_differ(base, cell.run)):
                    yield f"not base and CoDD: {base.name} and {cell.run.name} differ in {differences}"


def _only_ends_differ(base: Run, codd: Run) -> str:
    """What of `END_RULES` two runs differ in, if in nothing else: `gen_length (256 and 512)`."""
    first, second = protocol_of(base), protocol_of(codd)
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if not names or not set(names) <= set(END_RULES):
        return ""
    return ", ".join(f"{name} ({_text(first.get(name))} and {_text(second.get(name))})" for name in names)


def _text(value: Any) -> str:
    return "default" if value is None else str(value)
