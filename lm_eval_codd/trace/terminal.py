"""A trace as frames of coloured text, one a step, the decodes side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from lm_eval_codd.trace.comparison import Comparison
    from lm_eval_codd.trace.recording import Candidate, Trace

PLAIN, NEW, CHANGED, PROMOTED, FAINT, HEADING = "plain", "new", "changed", "promoted", "faint", "heading"
TAKEN_BACK = "taken back"
_CODES: Final = {
    PLAIN: "",
    NEW: "1;32",
    CHANGED: "1;35",
    PROMOTED: "1;33",
    FAINT: "2",
    HEADING: "1",
    TAKEN_BACK: "1;31",
}
_CODES[TAKEN_BACK] = "1;31"
_MASK: Final = "·"
_BETWEEN: Final = " │ "

LEGEND: Final = (
    (_MASK, FAINT, "masked"),
    ("token", NEW, "committed in this step"),
    (_MASK, TAKEN_BACK, "taken back in this step"),
    ("token", PROMOTED, "before the backbone alone would have"),
    ("token", CHANGED, "not the backbone's token"),
)

Cell: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Cell]


def frames(comparison: Comparison, width: int, *, colour: bool) -> Iterator[str]:
    """The frames, each a few lines of at most `width` columns; the first is preceded by the legend."""
    names = list(comparison.traces)
    share = (width - len(_BETWEEN) * (len(names) - 1)) // len(names)
    unused = [] if len(names) > 1 else [PROMOTED, CHANGED]
    if not any(frame.taken_back for trace in comparison.traces.values() for frame in trace.frames):
        unused.append(TAKEN_BACK)
    shown = [entry for entry in LEGEND if entry[1] not in unused]
    legend = [cell for sample, style, meaning in shown for cell in ((sample, style), (f" {meaning}   ", PLAIN))]
    yield _render(legend, width, colour=colour).rstrip()
    for index in range(comparison.num_frames):
        sides = [_side(comparison, name, index, share) for name in names]
        title = f"── {index + 1} of {comparison.num_frames} "
        lines = [_render([(title + "─" * (width - len(title)), FAINT)], width, colour=colour)]
        for row in zip_longest(*sides, fillvalue=[]):
            lines.append(_BETWEEN.join(_render(line, share, colour=colour) for line in row).rstrip())
        yield "\n".join(lines)


def _side(comparison: Comparison, name: str, index: int, width: int) -> list[Line]:
    trace = comparison.traces[name]
    if not trace.frames:
        return _wrap([(f"{name}: no steps", HEADING)], width)
    frame = trace.frames[min(index, len(trace.frames) - 1)]
    over = index >= len(trace.frames)
    state = "over" if over else f"step {frame.number + 1}" + ", circuit acts" * bool(frame.num_circuit)
    if frame.taken_back and not over:
        state += f", {len(frame.taken_back)} taken back"
    committed = [] if over else [cell for one in frame.committed for cell in _describe(comparison, one)]
    return [
        *_wrap([(f"{name}: ", HEADING), (state, PLAIN)], width),
        *_wrap(_canvas(comparison, trace, index), width),
        *_wrap(committed, width),
    ]


def _canvas(comparison: Comparison, trace: Trace, index: int) -> Iterator[Cell]:
    frame = trace.frames[min(index, len(trace.frames) - 1)]
    new = {one.column: one for one in frame.committed} if index < len(trace.frames) else {}
    ended = False
    for column, token in enumerate(frame.canvas):
        if token == comparison.mask_id:
            yield _MASK, TAKEN_BACK if column in frame.taken_back and index < len(trace.frames) else FAINT
            continue
        style = _style(new[column]) if column in new else FAINT if ended else PLAIN
        yield comparison.texts[token], style
        ended |= token in comparison.end_ids


def _describe(comparison: Comparison, one: Candidate) -> Iterator[Cell]:
    yield _quote(comparison.texts[one.token]), _style(one)
    yield f" {one.confidence:.2f}", PLAIN
    if one.changed:
        yield f" (backbone: {_quote(comparison.texts[one.alone_token])} {one.alone_confidence:.2f})", FAINT
    yield "  ", PLAIN


def _style(committed: Candidate) -> str:
    return CHANGED if committed.changed else PROMOTED if committed.promoted else NEW


def _quote(text: str) -> str:
    return f"“{text}”".replace("\n", "↵")


def _wrap(cells: Iterable[Cell], width: int) -> list[Line]:
    """Lines of at most `width` columns; a line break in a token is shown and made."""
    lines: list[Line] = [[]]
    used = 0
    for text, style in cells:
        for character in text:
            shown, columns = _printable(character)
            if used + columns > width:
                lines.append([])
                used = 0
            lines[-1].append((shown, style))
            used += columns
            if character == "\n":
                lines.append([])
                used = 0
    return lines


def _printable(character: str) -> tuple[str, int]:
    """What to show for a character, and how many columns that takes; never a control sequence of a terminal."""
    if character == "\n":
        return "↵", 1
    if not character.isprintable():
        return " " if character.isspace() else "�", 1
    if unicodedata.combining(character):
        return character, 0
    return character, 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _render(line: Line, width: int, *, colour: bool) -> str:
    """A line padded to `width` columns, neighbours of one style in one pair of colour codes."""
    parts: list[list[str]] = []
    used = 0
    for text, style in line:
        used += sum(_printable(character)[1] for character in text)
        if parts and parts[-1][1] == style:
            parts[-1][0] += text
        else:
            parts.append([text, style])
    body = "".join(f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and _CODES[style] else text for text, style in parts)
    return body + " " * (width - used)
