"""What the profile of a Psi sampler is asked for by: modes, shares of the grid, and its times (`dit.psi_profile`)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from lm_eval_codd.settings.fields import unknown_value

MODES: Final = (
    *("pure-posterior", "pure-pc", "constant-K", "max-capped-eta", "max-rescale-eta", "constant-remdm-eta"),
)
_MODE: Final = re.compile(r"(pure-posterior|pure-pc)|(constant|max-capped|max-rescale|constant-remdm)-([0-9.e-]+)")
_PLATEAU: Final = "linear-constant-linear-"
# Of one mode in one argument from the next, where a command line has no lists.
SEPARATOR: Final = "/"
# Where the grid ends.
LAST_TIME: Final = 1e-5


class Mode(NamedTuple):
    """How a segment mixes: `pure-posterior`, `max-capped`, ..., and the number behind it."""

    name: str
    value: float


class Profile(NamedTuple):
    """A checked one.

    modes: one for all of the grid, or three, of high, middle and low noise.
    counts: times of each segment.
    plateau: the time of the middle segment; None for times that fall evenly.
    """

    modes: tuple[Mode, ...]
    counts: tuple[int, int, int]
    plateau: float | None


def read_profile(
    steps: int, modes: str | Sequence[str], shares: Sequence[float], times: str, prefix: str = ""
) -> Profile:
    """The profile of `steps + 1` times; see `dit.psi_profile`.

    Args:
        steps: of the grid.
        modes: as there.
        shares: as there.
        times: as there.
        prefix: of the arguments' names in messages.

    Raises:
        ValueError: one line: a mode or grid that is not known, or shares that cannot be.
    """
    each = (modes,) if isinstance(modes, str) else tuple(modes)
    if len(each) not in (1, 3) or (len(each) == 1 and not isinstance(modes, str)):
        raise ValueError(f"`{prefix}modes={modes}` must be one mode, or three, of high, middle and low noise")
    counts = _counts(steps + 1, shares, prefix)
    plateau = _plateau(times, counts, prefix)
    return Profile(tuple(_mode(one, prefix) for one in each), counts, plateau)


def read_words(steps: int, modes: str, shares: str, times: str, prefix: str = "") -> Profile:
    """The same of words with `SEPARATOR` in them: `pure-posterior/constant-0.5/pure-pc`, `0.2/0.6`."""
    each = modes.split(SEPARATOR)
    numbers = [_number(share) for share in shares.split(SEPARATOR)]
    if len(each) not in (1, 3):
        raise ValueError(
            f"`{prefix}modes={modes}` must be one mode, or three with {SEPARATOR} between them, of high, middle and "
            "low noise"
        )
    if None in numbers or len(numbers) != 2:
        raise ValueError(
            f"`{prefix}shares={shares}` must be two numbers with {SEPARATOR} between them, such as 0.2/0.6"
        )
    if len(each) == 3 and not any(numbers):
        raise ValueError(
            f"`{prefix}modes={modes}` has three modes, and `{prefix}shares={shares}` leaves all to the last; say the "
            "shares of high and middle noise, such as 0.2/0.6"
        )
    return read_profile(steps, each[0] if len(each) == 1 else each, [one or 0.0 for one in numbers], times, prefix)


def _counts(number: int, shares: Sequence[float], prefix: str) -> tuple[int, int, int]:
    shown = f"`{prefix}shares={SEPARATOR.join(f'{share:g}' for share in shares) if prefix else tuple(shares)}`"
    if len(shares) != 2 or not all(0 <= share <= 1 for share in shares) or sum(shares) > 1:
        raise ValueError(f"{shown} must be two shares of the times, high and middle, at most 1 together")
    high, middle = (round(share * number) for share in shares)
    if high + middle > number:
        raise ValueError(f"{shown} are {high} and {middle} of {number} times, which are more; lower one")
    return high, middle, number - high - middle


def _plateau(name: str, counts: tuple[int, int, int], prefix: str) -> float | None:
    if name == "linear":
        return None
    plateau = _number(name.removeprefix(_PLATEAU)) if name.startswith(_PLATEAU) else None
    if plateau is None or not LAST_TIME <= plateau <= 1:
        raise ValueError(unknown_value(f"{prefix}times", name, ["linear", f"{_PLATEAU}c with c from 1e-5 to 1"]))
    if not counts[0]:
        raise ValueError(
            f"`{prefix}times={name}` begins at 1 in the high segment, which is empty; give it a share in "
            f"`{prefix}shares`"
        )
    return plateau


def _mode(mode: str, prefix: str) -> Mode:
    found = _MODE.fullmatch(mode)
    value = _number(found[3]) if found and found[3] is not None else 0.0
    if found is None or value is None:
        raise ValueError(unknown_value(f"{prefix}modes", mode, MODES))
    if found[2] == "constant" and value > 1:
        raise ValueError(f"`{prefix}modes={mode}` must have a share of the posterior from 0 to 1")
    return Mode(found[1] or found[2], value)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
