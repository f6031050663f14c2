"""Likelihoods with a circuit: what it says of masked tokens in windows whose gate is open, the backbone elsewhere.

Given the visible tokens of a window, masked ones x_M have log p_hat(x_M) = log p_omega(x) + sum log p_theta - log Z
(arXiv 2603.00045, Eq. 7), exactly. Where only some of the masked tokens are scored, the others are summed over: log Z
with the scored ones observed takes the place of log p_omega(x).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.coupling.windows import Gate
from lm_eval_codd.likelihood.scoring import Canvas, Question, answer_alone, read

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone
    from lm_eval_codd.backbones.score import Reading
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.settings import LikelihoodConfig


@dataclass(slots=True, eq=False)
class _Part:
    """What a question asks of one window.

    Attributes:
        canvas, question: whose part it is.
        columns: [M] int64 of the target that the network is read at: the window's masked ones, or the scored ones where
            the gate is closed.
        scored: [M] bool, which of them are scored.
        start: the window's first column.
        is_open: whether the circuit speaks here.
        tokens: [S] int64, the scored ones.
        first: its first row of the reading.
    """

    canvas: Canvas
    question: Question
    columns: Tensor
    scored: Tensor
    start: int
    is_open: bool
    tokens: Tensor
    first: int = 0

    def ask(self, together: float = 0.0) -> Question:
        """A question for this part alone."""
        return Question(self.columns[self.scored], self.tokens, self.question.tops, together)


class Coupled:
    """Windows tile the target from its first token; the gate looks at the share of masked tokens of each.

    What a short last tile has beyond the target is summed over, and is no part of its share.
    """

    def __init__(self, backbone: Backbone, config: LikelihoodConfig, circuit: HMM) -> None:
        self._backbone, self._config, self._circuit = backbone, config, circuit
        self._gate = Gate(config)

    def answer(self, canvases: Sequence[Canvas]) -> None:
        """See `Scoring`."""
        of_canvases = [list(self._parts(canvas)) for canvas in canvases]
        columns = [torch.cat([part.columns for part in parts]) for parts in of_canvases]
        reading = read(self._backbone, canvases, columns, self._config)
        parts, first = [part for parts in of_canvases for part in parts], 0
        for part in parts:
            part.first = first
            first += len(part.columns)
        answers: dict[int, Question | None] = {}
        for some in self._in_pieces([part for part in parts if part.is_open], reading.rows_at_a_time):
            answers |= zip(map(id, some), self._by_circuit(reading, some), strict=True)
        self._by_backbone(reading, [part for part in parts if answers.get(id(part)) is None], answers)
        for canvas_parts in of_canvases:
            for question in dict.fromkeys(part.question for part in canvas_parts):
                _put_together(question, [answers[id(part)] for part in canvas_parts if part.question is question])

    def _parts(self, canvas: Canvas) -> Iterator[_Part]:
        width = self._circuit.num_positions
        tiles = canvas.masked.split(width)
        is_open = [self._gate(int(tile.sum()), len(tile)) for tile in tiles]
        for question in canvas.questions:
            tile_of = question.columns // width
            for tile in tile_of.unique().tolist():
                asked, tokens = question.columns[tile_of == tile], question.tokens[tile_of == tile]
                columns = tile * width + tiles[tile].nonzero()[:, 0] if is_open[tile] else asked
                yield _Part(canvas, question, columns, torch.isin(columns, asked), tile * width, is_open[tile], tokens)

    def _in_pieces(self, parts: Sequence[_Part], size: int) -> Iterator[list[_Part]]:
        """Windows whose evidence is `size` positions or less, at least one window at a time."""
        number = max(1, size // self._circuit.num_positions)
        return (list(parts[start : start + number]) for start in range(0, len(parts), number))

    def _by_circuit(self, reading: Reading, parts: Sequence[_Part]) -> list[Question | None]:
        """The answers to parts; None where the circuit rules out all that the backbone says."""
        circuit, length = self._circuit, self._circuit.num_positions
        observed = torch.full((len(parts), length), -1)
        committed = observed.clone()
        for row, part in enumerate(parts):
            window = slice(part.start, part.start + length)
            visible = part.canvas.target[window].masked_fill(part.canvas.masked[window], -1)
            observed[row, : len(visible)] = visible
            committed[row, part.columns[part.scored] - part.start] = part.tokens
        # Beyond the target nothing is known: all tokens weigh the same, and sum to one under the circuit.
        sizes = [(len(part.columns), length - len(part.canvas.target[part.start :][:length])) for part in parts]
        is_known = torch.cat([torch.arange(sum(size)) < size[0] for size in sizes]).to(reading.device)
        rows = torch.cat([part.first + torch.arange(len(part.columns)) for part in parts]).to(reading.device)
        known = (reading.logits(rows) / self._config.pc_temperature).log_softmax(dim=-1).to(circuit.dtype)
        evidence = known.new_zeros(len(is_known), known.shape[-1])
        evidence[is_known] = known
        posterior = circuit.evaluate(evidence, observed.to(circuit.device))
        scored = torch.cat([part.scored for part in parts]).to(known.device)
        own = known[scored].gather(-1, torch.cat([part.tokens for part in parts]).to(known.device)[:, None])[:, 0]
        own_sums = torch.stack([each.sum() for each in own.split([len(part.tokens) for part in parts])])
        after = posterior.observe(committed.to(circuit.device)).log_partition
        together = (after + own_sums - posterior.log_partition).tolist()
        answers: list[Question | None] = []
        for part, value, impossible in zip(parts, together, posterior.impossible.tolist(), strict=True):
            part.question.num_circuit += 1
            part.question.num_impossible += impossible
            answers.append(None if impossible else part.ask(value))
        if any(part.question.tops for part in parts):
            marginals = posterior.masked_token_marginals()[is_known][scored].double().log()
            _answer_each(
                [part.ask(0.0) if each is None else each for part, each in zip(parts, answers, strict=True)], marginals
            )
        return answers

    def _by_backbone(self, reading: Reading, parts: Sequence[_Part], answers: dict[int, Question | None]) -> None:
        """Write the answers to parts where the circuit does not speak."""
        if not parts:
            return
        rows = [part.first + part.scored.nonzero()[:, 0] for part in parts]
        questions = [part.ask() for part in parts]
        answer_alone(reading.at(torch.cat(rows)), questions)
        for part, question in zip(parts, questions, strict=True):
            answers[id(part)] = question


def _answer_each(answers: Sequence[Question], marginals: Tensor) -> None:
    """Each scored token by itself, the others summed over, and the most likely token, from log marginals [N, V]."""
    best, best_tokens = marginals.max(dim=-1)
    tokens = torch.cat([answer.tokens for answer in answers]).to(marginals.device)
    own = marginals.gather(-1, tokens[:, None])[:, 0]
    sizes = [len(answer.tokens) for answer in answers]
    parts = (each.cpu().split(sizes) for each in (own, best, best_tokens))
    for answer, *of_answer in zip(answers, *parts, strict=True):
        answer.alone, answer.best, answer.best_tokens = of_answer


def _put_together(question: Question, parts: Sequence[Question | None]) -> None:
    """A question's answer from those of its parts, which are in the order of its columns."""
    answers = [part for part in parts if part is not None]
    question.together = sum(part.together for part in answers)
    if question.tops:
        question.alone, question.best, question.best_tokens = (
            torch.cat([getattr(part, name) for part in answers]) for name in ("alone", "best", "best_tokens")
        )
