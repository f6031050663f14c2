"""What users and strangers may write, for property-based tests, and what may come of it."""

import copy
from pathlib import Path

from hypothesis import strategies as st

import lm_eval_codd
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.terminal.errors import ends_in_one_line

_HOMES = (Path(lm_eval_codd.__file__).resolve().parent, tasks_dir())

NUMBERS = ("0", "-1", "1", "32", "1.5", "1e400", "nan", "inf", "9" * 30, "9" * 5000)
PATHS = ("demo", "~", "~nobody/x", "/", "..", "a/b", "a/b@main", "x" * 5000, "\x00")
NASTY = ("", "none", "None", "true", "\x1b[2J", "\u202e", "\ud800", "{}", "'", "\\")
WORDS = st.one_of(st.text(max_size=12), st.sampled_from((*NUMBERS, *PATHS, *NASTY)))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from([2**70, -(2**70)]), st.floats(), WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def outcome(function, *arguments, **named):
    """What the function returns, or None where it refuses in the one line that a user is shown; all else fails."""
    try:
        return function(*arguments, **named)
    except (ValueError, OSError) as error:
        if not ends_in_one_line(error, _HOMES):
            raise
        assert len(str(error)) < 200_000
        return None


@st.composite
def changed(draw, data, depth=6):
    """A copy of JSON-like data with one value, somewhere in it, replaced by anything or left out."""
    data = copy.deepcopy(data)
    below = data
    for _ in range(draw(st.integers(1, depth))):
        if not isinstance(below, dict | list) or not below:
            break
        place = below
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        below = place[key]
    if draw(st.integers(0, 4)) == 0:
        del place[key]
    else:
        place[key] = draw(VALUES)
    return data
