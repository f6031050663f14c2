"""One decode, step by step, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm_eval_codd.decoding import Generation, StepEvent, generate

if TYPE_CHECKING:
    from lm_eval_codd.decoding.protocols import Backbone, Circuit
    from lm_eval_codd.settings import DecodingConfig


@dataclass(frozen=True)
class Candidate:
    """What a step proposed at one position of the answer.

    Attributes:
        column: the position.
        token: the candidate.
        confidence: how sure the remasking rule was of it.
        committed: whether the step decided it.
        alone_token, alone_confidence, alone_committed: the same as the backbone alone would have had it, on this very
            canvas; equal to the others where no circuit acted.
    """

    column: int
    token: int
    confidence: float
    committed: bool
    alone_token: int
    alone_confidence: float
    alone_committed: bool

    @property
    def changed(self) -> bool:
        """Whether the circuit replaced the backbone's token."""
        return self.token != self.alone_token

    @property
    def promoted(self) -> bool:
        """Whether the backbone alone would have taken another position: the circuit's doing, or its window rule's."""
        return self.committed and not self.alone_committed


@dataclass(frozen=True)
class Frame:
    """One step.

    Attributes:
        number: its place in the schedule, from 0; steps that commit nothing are not taken.
        canvas: the answer after it, gen_length ids.
        candidates: by column.
        num_circuit: circuit evaluations in it.
        taken_back: positions of tokens that it masked again.
    """

    number: int
    canvas: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    num_circuit: int
    taken_back: tuple[int, ...] = ()

    @property
    def committed(self) -> tuple[Candidate, ...]:
        """The candidates that became tokens."""
        return tuple(one for one in self.candidates if one.committed and one.column not in self.taken_back)


@dataclass(frozen=True)
class Trace:
    """All steps of one answer, and the answer."""

    frames: tuple[Frame, ...]
    generation: Generation


def record(backbone: Backbone, prompt: Sequence[int], config: DecodingConfig, circuit: Circuit | None = None) -> Trace:
    """Decode one prompt and keep every step. The answer is that of `generate`; raises what it raises."""
    recorder = _Recorder()
    (generation,) = generate(backbone, [prompt], config, circuit, recorder, compare=circuit is not None)
    return Trace(tuple(recorder.frames), generation)


class _Recorder:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._num_circuit = 0

    def __call__(self, event: StepEvent) -> None:
        mine = (event.tokens, event.confidence, event.commit)
        alone = mine if event.alone is None else (event.alone.tokens, event.alone.confidence, event.alone.commit)
        rows = zip(*(tensor[0].tolist() for tensor in (event.columns, *mine, *alone)), strict=True)
        num_circuit = int(event.num_circuit[0])
        frame = Frame(
            number=int(event.number[0]),
            canvas=tuple(event.answer[0].tolist()),
            candidates=tuple(Candidate(*row) for row in rows),
            num_circuit=num_circuit - self._num_circuit,
            taken_back=tuple(sorted(event.columns[0][event.taken_back[0]].tolist())),
        )
        self._num_circuit = num_circuit
        self.frames.append(frame)
