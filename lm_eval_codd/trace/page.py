"""A trace as one page that asks for nothing outside of itself: a slider over the steps, the decodes side by side."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Any

from lm_eval_codd.reporting.frame import as_script_data
from lm_eval_codd.terminal.clean_text import without_homes

if TYPE_CHECKING:
    from lm_eval_codd.trace.comparison import Comparison
    from lm_eval_codd.trace.recording import Candidate, Trace


def build_page(comparison: Comparison) -> str:
    """The page as HTML. Tokens travel as JSON that the script turns into text nodes, so none can become markup."""
    data = {
        "model": without_homes(comparison.model),
        "alg": comparison.alg,
        "is_log": comparison.is_log,
        "approximations": comparison.approximations,
        "extensions": comparison.extensions,
        "settings": without_homes({name: str(value) for name, value in comparison.settings.items()}),
        "prompt": comparison.prompt,
        "mask": comparison.mask_id,
        "ends": comparison.end_ids,
        "texts": comparison.texts,
        "decodes": [
            {"name": name, "answer": comparison.answers[name], **_decode(trace, comparison.mask_id)}
            for name, trace in comparison.traces.items()
        ],
    }
    page = _part("page.html").replace("{{css}}", _part("page.css")).replace("{{js}}", _part("page.js"))
    # Last, so that nothing in the data is taken for a place to fill in.
    return page.replace("{{data}}", as_script_data(data))


def _decode(trace: Trace, mask_id: int) -> dict[str, Any]:
    generation = trace.generation
    before = (mask_id,) * len(generation.tokens)
    frames = []
    for frame in trace.frames:
        frames.append(
            {
                "number": frame.number,
                "circuit": frame.num_circuit,
                # Only what the step changed: a whole canvas a step would be most of the page.
                "set": [[c, now] for c, (was, now) in enumerate(zip(before, frame.canvas, strict=True)) if was != now],
                "candidates": [_candidate(candidate) for candidate in frame.candidates],
            }
        )
        before = frame.canvas
    return {
        "length": len(generation.tokens),
        "num_tokens": generation.num_answer_tokens,
        "num_forward": generation.num_forward,
        "num_circuit": generation.num_circuit,
        "frames": frames,
    }


def _candidate(candidate: Candidate) -> list[Any]:
    """[column, token, confidence, committed], and where the backbone alone differs its token, confidence, choice."""
    own = [candidate.column, candidate.token, _number(candidate.confidence), int(candidate.committed)]
    alone = [candidate.alone_token, _number(candidate.alone_confidence), int(candidate.alone_committed)]
    return own if own[1:] == alone else own + alone


def _number(value: float) -> float | None:
    """JSON knows no infinities."""
    return round(value, 4) if math.isfinite(value) else None


def _part(name: str) -> str:
    return (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")
