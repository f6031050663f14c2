"""A trace as frames of coloured text, one a step, the decodes side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, TypeAlias

from lm_eval_codd.trace.comparison import END

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
_MASK: Final = "·"
_BETWEEN: Final = " │ "

LEGEND: Final = (
    (_MASK, FAINT, "masked"),
    ("token", NEW, "committed in this step"),
    (_MASK, TAKEN_BACK, "taken back in this step"),
    ("token", PROMOTED, "sooner than by the backbone alone"),
    ("token", CHANGED, "not the backbone's token"),
)

Cell: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Cell]


def frames(comparison: Comparison, width: int, *, colour: bool) -> Iterator[str]:
    """The frames, each a few lines of at most `width` columns; before the first, the settings and the legend."""
    names = list(comparison.traces)
    share = (width - len(_BETWEEN) * (len(names) - 1)) // len(names)
    unused = [] if len(names) > 1 else [PROMOTED, CHANGED]
    if not any(frame.taken_back for trace in comparison.traces.values() for frame in trace.frames):
        unused.append(TAKEN_BACK)
    settings = ", ".join(f"{name}={value}" for name, value in comparison.settings.items())
    if not colour:  # which is all that tells these samples apart
        unused += [NEW, PROMOTED, CHANGED, TAKEN_BACK]
    shown = [entry for entry in LEGEND if entry[1] not in unused]
    legend = [[(sample, style), (f" {meaning}   ", PLAIN)] for sample, style, meaning in shown]
    head = [*_wrap([(settings, FAINT)], width), *_wrap_whole(legend, width)]
    yield "\n".join(_render(line, width, colour=colour).rstrip() for line in head)
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
    committed = [] if over else [list(_describe(comparison, one)) for one in frame.committed]
    return [
        *_wrap([(f"{name}: ", HEADING), (state, PLAIN)], width),
        *_wrap(_apart(_canvas(comparison, trace, index)), width),
        *_wrap_whole(committed, width),
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


def _apart(tokens: Iterable[Cell]) -> Iterator[Cell]:
    """Tokens with a space between any two that have none; masks stand together, and so do end marks."""
    before = ""
    for text, style in tokens:
        is_run = text == before and text in (_MASK, END)
        if before and text and not (is_run or before[-1].isspace() or text[0].isspace()):
            yield " ", PLAIN
        yield text, style
        before = text or before


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


def _wrap_whole(entries: Iterable[Line], width: int) -> list[Line]:
    """Lines of at most `width` columns that break between entries, and inside of one only where it is longer."""
    lines: list[Line] = []
    used = width
    for entry in entries:
        wrapped = _wrap(entry, width)
        columns = sum(_printable(character)[1] for text, _ in wrapped[-1] for character in text)
        if len(wrapped) == 1 and used + columns <= width:
            lines[-1] += wrapped[0]
            used += columns
        else:
            lines += wrapped
            used = columns
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
