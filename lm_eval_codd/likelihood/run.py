"""Log-likelihoods of targets: estimators under way side by side, canvases of equal length in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.backbones.routed import routed, warn_of_all_masks
from lm_eval_codd.decoding import check_vocabulary, no_likelihoods
from lm_eval_codd.likelihood.asking import Ask, Estimate, Estimator, Target, Told
from lm_eval_codd.likelihood.chain import chain
from lm_eval_codd.likelihood.coupled import Coupled
from lm_eval_codd.likelihood.exact import exact
from lm_eval_codd.likelihood.greedy import is_greedy
from lm_eval_codd.likelihood.mc import mc
from lm_eval_codd.likelihood.mc_bernoulli import mc_bernoulli
from lm_eval_codd.likelihood.one_forward import one_forward
from lm_eval_codd.likelihood.requirements import Pair, check_call, check_pairs, warn_of_masks
from lm_eval_codd.likelihood.results import Finished, Likelihood
from lm_eval_codd.likelihood.scoring import Alone, Canvas, Question, Scoring
from lm_eval_codd.tensors.noise import row_keys

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.settings import LikelihoodConfig

_ESTIMATORS: Final[dict[str, Callable[[Target, LikelihoodConfig], Estimator]]] = {
    "mc": mc,
    "mc_bernoulli": mc_bernoulli,
    "chain": chain,
    "exact": exact,
    "one_forward": one_forward,
}
# Tokens of targets under way beyond which no further target of the same prompt joins them.
_ENOUGH_TOKENS: Final = 1 << 20


def log_likelihood(
    backbone: Backbone,
    pairs: Sequence[Pair],
    config: LikelihoodConfig,
    circuit: HMM | None = None,
    *,
    batch_size: int = 32,
) -> list[Likelihood]:
    """What a model thinks of each target after its prompt.

    A value depends on its pair, the settings and the seed, never on the other pairs, up to the rounding of a kernel.

    Args:
        backbone: the masked diffusion language model.
        pairs: (prompt ids, target ids), any lengths; a prompt may be empty, a target may not.
        config: every setting.
        circuit: couples the parallel predictions (CoDD): log p of masked tokens is then log p_omega + sum log p_theta -
            log Z in each window whose gate is open (arXiv 2603.00045, Eq. 7). Its windows tile the target from its
            first token; a short last one marginalises what lies beyond.
        batch_size: canvases in a pass of the network.

    Returns:
        A `Likelihood` a pair, in order.

    Raises:
        TypeError: text, names or plain data in place of token ids, of what is loaded or of a `LikelihoodConfig`.
        ValueError: one line: a pair or settings that this backbone or circuit cannot serve.
    """
    finished = stream(backbone, pairs, config, circuit, batch_size=batch_size)
    by_index = {one.index: one.likelihood for one in finished}
    empty = any(not len(prompt) for prompt, _ in pairs)
    warn_of_masks(backbone, (target for _, target in pairs))
    warn_of_all_masks(config, has_empty_prompt=empty, cfg_scale=config.cfg_scale)
    return [by_index[index] for index in range(len(pairs))]


@torch.inference_mode()
def stream(
    backbone: Backbone,
    pairs: Sequence[Pair],
    config: LikelihoodConfig,
    circuit: HMM | None = None,
    *,
    batch_size: int = 32,
    on_pass: Callable[[int], object] = lambda num_canvases: None,
    estimator: Callable[[Target, LikelihoodConfig], Estimator] | None = None,
) -> Iterator[Finished]:
    """`log_likelihood` that yields each value when it is there, the longest pairs first.

    `estimator` takes the place of the settings' own. `on_pass` is called after each pass of the network, with the
    number of its canvases.

    Raises:
        TypeError: as `log_likelihood`, with the first value that is asked for.
        ValueError: as `log_likelihood`, likewise.
    """
    check_call(backbone, pairs, config, circuit)
    check_pairs(backbone, pairs, config.pad_to)
    # A block-causal checkpoint that was loaded with full attention is another model than the trained one.
    if getattr(backbone, "attention", "full") == "block" or not getattr(backbone, "decodes", True):
        raise ValueError(no_likelihoods(backbone.family))
    if batch_size < 1:
        raise ValueError(f"`batch_size={batch_size}` must be at least 1")
    backbone = routed(backbone, config, backbone.mask_id)
    scoring: Scoring = Alone(backbone, config)
    if circuit is not None:
        check_vocabulary(backbone, circuit)
        device = torch.device(getattr(backbone, "device", "cpu"))
        scoring = Coupled(backbone, config, circuit.to(device=device) if circuit.device != device else circuit)
    work = _Work(pairs, config, backbone.mask_id, estimator or _ESTIMATORS[config.estimator])
    while batch := work.next_batch(batch_size):
        began = time.perf_counter()
        scoring.answer(batch)
        work.spend((time.perf_counter() - began) / len(batch), batch)
        on_pass(len(batch))
        yield from work.finished()


@dataclass(slots=True, eq=False)
class _Job:
    """A target under way: its estimator, what that asked last, and what it cost."""

    index: int
    prompt: Tensor
    target: Target
    estimator: Generator[Ask, Told, tuple[Estimate, bool | None]]
    ask: Ask | None = None
    questions: list[Question | None] = field(default_factory=list)
    which: Tensor | None = None
    known: dict[bytes, Question] = field(default_factory=dict)
    num_open: int = 0
    num_forward: int = 0
    num_circuit: int = 0
    num_impossible: int = 0
    seconds: float = 0.0


class _Work:
    """Targets that wait, are under way, or are done."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        config: LikelihoodConfig,
        mask_id: int,
        estimator: Callable[[Target, LikelihoodConfig], Estimator],
    ) -> None:
        self._pairs, self._config, self._mask_id, self._estimator = pairs, config, mask_id, estimator
        # Long ones first, so that memory runs out at the start if it does; targets of one prompt side by side.
        self._waiting = sorted(
            range(len(pairs)),
            key=lambda index: (len(pairs[index][0]) + len(pairs[index][1]), tuple(pairs[index][0])),
        )
        self._canvases: dict[tuple[bytes, bytes], Canvas] = {}
        self._asked: dict[int, tuple[_Job, Question]] = {}
        self._done: list[Finished] = []
        self._tokens = 0

    def next_batch(self, size: int) -> list[Canvas]:
        """The longest canvases that are asked for; none when all targets are done."""
        last: tuple[Sequence[int], int] | None = None
        while self._waiting and (
            len(self._canvases) < size or (self._shape(self._waiting[-1]) == last and self._tokens < _ENOUGH_TOKENS)
        ):
            index = self._waiting.pop()
            last = self._shape(index)
            self._start(index)
        longest = sorted(self._canvases, key=lambda key: -len(self._canvases[key]))[:size]
        batch = [self._canvases.pop(key) for key in longest]
        self._tokens -= sum(len(canvas.target) for canvas in batch)
        return batch

    def spend(self, seconds: float, batch: Sequence[Canvas]) -> None:
        """Give answers to the estimators that wait for them, and so many seconds a canvas to their accounts."""
        for canvas in batch:
            for question in canvas.questions:
                job, _ = self._asked.pop(id(question))
                job.seconds += seconds / len(canvas.questions)
                job.num_circuit += question.num_circuit
                job.num_impossible += question.num_impossible
                job.num_open -= 1
                if not job.num_open:
                    self._go_on(job, _told(job))

    def finished(self) -> Iterator[Finished]:
        """The targets that are done, each once."""
        done, self._done = self._done, []
        yield from done

    def _shape(self, index: int) -> tuple[Sequence[int], int]:
        prompt, target = self._pairs[index]
        return prompt, len(target)

    def _start(self, index: int) -> None:
        prompt, tokens = self._pairs[index]
        key = row_keys(self._config.seed, [prompt], [0], torch.device("cpu"))
        target = Target(torch.tensor(list(tokens)), len(prompt), key)
        estimator = _whole(target, self._config, self._estimator)
        job = _Job(index, torch.tensor(list(prompt), dtype=torch.int64), target, estimator)
        self._go_on(job, None)

    def _go_on(self, job: _Job, told: Told | None) -> None:
        """Let an estimator go on until it asks for something that is not known, or is done."""
        while True:
            try:
                job.ask = job.estimator.send(told)  # type: ignore[arg-type]  # None starts a generator
            except StopIteration as stop:
                (value, stderr), greedy = stop.value
                counts = job.num_forward, greedy, job.num_circuit, job.num_impossible
                self._done.append(Finished(job.index, Likelihood(value, stderr, *counts), job.seconds))
                return
            self._ask(job, job.ask)
            if job.num_open:
                return
            told = _told(job)

    def _ask(self, job: _Job, ask: Ask) -> None:
        """Put what is asked on canvases; equal ones are looked at once."""
        both, job.which = torch.cat([ask.masked, ask.scored], dim=1).unique(dim=0, return_inverse=True)
        masked, scored = both.chunk(2, dim=1)
        job.questions = [None] * len(both)
        targets = job.target.tokens.masked_fill(masked, self._mask_id)
        prompt = job.prompt.numpy().tobytes()
        for row, is_asked in enumerate(scored.any(dim=1).tolist()):
            way = both[row].numpy().tobytes()
            if not is_asked or (way in job.known and job.known[way].tops >= ask.tops):
                job.questions[row] = job.known.get(way)
                continue
            columns = scored[row].nonzero()[:, 0]
            question = Question(columns, job.target.tokens[columns], ask.tops)
            key = (prompt, masked[row].numpy().tobytes() + targets[row].numpy().tobytes())
            if key not in self._canvases:
                self._canvases[key] = Canvas(job.prompt, targets[row], masked[row])
                self._tokens += len(job.target)
            self._canvases[key].questions.append(question)
            self._asked[id(question)] = (job, question)
            job.questions[row] = job.known[way] = question
            job.num_open += 1
            job.num_forward += 1


def _whole(
    target: Target, config: LikelihoodConfig, estimator: Callable[[Target, LikelihoodConfig], Estimator]
) -> Generator[Ask, Told, tuple[Estimate, bool | None]]:
    estimate = yield from estimator(target, config)
    greedy = (yield from is_greedy(target)) if config.is_greedy else None
    return estimate, greedy


def _told(job: _Job) -> Told:
    """What the answered questions of a job say, in the order in which it asked."""
    assert job.ask is not None and job.which is not None
    together = torch.tensor([0.0 if each is None else each.together for each in job.questions], dtype=torch.float64)
    if not job.ask.tops:
        return Told(together[job.which])
    shape = (len(job.questions), len(job.target))
    alone, tokens = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.int64)
    tops = torch.full(shape, -torch.inf, dtype=torch.float64)
    for row, question in enumerate(job.questions):
        if question is not None:
            for values, of_question in ((alone, question.alone), (tops, question.best), (tokens, question.best_tokens)):
                assert of_question is not None  # asked for
                values[row, question.columns] = of_question
    return Told(together[job.which], alone[job.which], tokens[job.which], tops[job.which])
