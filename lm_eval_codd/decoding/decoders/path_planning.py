"""P2, path planning (arXiv 2502.03540; spec/decoders.md 2): a step may mask again what an earlier one decided.

At step i of n the share kappa(i / n) of the answer is decided, the rest is masked, so the plan says how many and the
scores say which. `released` is the authors' code, `paper` their equation 7; they agree at eta = 1, ties aside:

- released: a position scores the log-probability of the token that would be predicted there now, times eta where it is
  decided. Those strictly below the cut-off are masked, so that equal scores mask fewer. An eta above 1 gives tokens
  away more easily, 0 keeps them all; with `diff_top2`, whose scores are positive, it is the other way round.
- paper: the probability itself, times eta where the position is masked; as many as the plan says stay decided.

A decided token that stays is not rewritten. A predicted mask stays masked; the last step's share is 1, so what it
leaves masked is what it predicted. At a temperature above 0 tokens are drawn by inversion, and the score is that of
the tempered distribution; the released code adds noise to all logits, and its score is of the noised ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.backbones.full_pass import FullPass
from lm_eval_codd.decoding.candidates import Support, draw, in_pieces, most_likely, rows_at_a_time, tempered_support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.decoding.confidence import Rule, low_confidence
from lm_eval_codd.decoding.decoders.revision import Revising, revision
from lm_eval_codd.decoding.step import Decision, Look, Step
from lm_eval_codd.tensors.noise import Stream

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.decoding.protocols import Backbone, Circuit
    from lm_eval_codd.settings import DecodingConfig

# The share of the answer that is decided after a share t of the steps.
KAPPAS: Final[Mapping[str, Callable[[float], float]]] = {
    "linear": lambda t: t,
    "sine": lambda t: math.sin(math.pi * t / 2),
    "geometric": lambda t: 1 - (1 - t) ** 2,
    "log": lambda t: math.log(1 + t) / math.log(2),
    "poly2": lambda t: t**2,
    "poly05": lambda t: t**0.5,
}


class PathPlanning(Revising):
    """See `Decoder`.

    Args:
        planner: scores decided positions in place of the backbone: a model of the same vocabulary, which sees what
            the backbone predicts at every position, the prompt's included, and no mask.
    """

    def __init__(
        self,
        config: DecodingConfig,
        family: str,
        ids: Ids,
        device: torch.device,
        circuit: Circuit | None = None,
        planner: Backbone | None = None,
    ) -> None:
        super().__init__(config, family, ids, device, circuit)
        self._score = _SCORES["probability" if config.form == "paper" else config.score]
        self._planner = None if planner is None else FullPass(planner)

    @staticmethod
    def shares(config: DecodingConfig) -> list[float]:
        """See `Revising`."""
        return shares_of(config.kappa, config.steps)

    def look(self, canvas: Canvas) -> Look:
        """See `Decoder`."""
        variable, masked = canvas.variable, canvas.masked
        num_masked = self._plan(canvas.step, variable)
        # Where nothing will be masked, a decided position matters no more.
        wanted = variable & (masked | (num_masked > 0)[:, None]) & self._plan.is_under_way(canvas.step)[:, None]
        budget = variable.sum(dim=1) - num_masked
        committable = wanted
        if self._planner is not None:
            wanted = canvas.real & wanted.any(dim=1, keepdim=True)
            committable = torch.nn.functional.pad(committable, (canvas.answer_start, 0))
        return Look(
            step=canvas.step,
            block=torch.zeros_like(canvas.step),
            wanted=wanted,
            num_open=(masked & variable).sum(dim=1),
            committable=committable,
            budget=budget,
        )

    def revise(self, canvas: Canvas, step: Step, logits: Logits) -> Decision:
        """See `Revising`."""
        drawn = step.uniforms(Stream.TOKEN) if self._config.temperature > 0 else None
        rank = step.uniforms(Stream.RANK) if self._config.score == "random" else None
        tokens, score = in_pieces(step, logits, self._propose, drawn, rank)
        masked = canvas.at(step.columns) == self._mask
        if self._planner is not None:
            decided = step.committable & ~masked
            score = self._planned(self._planner, canvas, step, tokens, decided, score, rank)
        if self._config.form == "paper":
            score = torch.where(masked, self._config.eta * score, score)
            kept = surest(score, step.committable, step.budget)
        else:
            score = torch.where(masked, score, self._config.eta * score)
            kept = _above_the_cut(score, step)
        return revision(step, tokens, score, masked, kept, self._mask)

    def _propose(self, logits: Tensor, drawn: Tensor | None, rank: Tensor | None) -> tuple[Tensor, Tensor]:
        support = tempered_support(logits, self._config)
        tokens = most_likely(support.values) if drawn is None else draw(support, drawn)
        return tokens, self._score(support, tokens, rank)

    def _planned(
        self,
        planner: FullPass,
        canvas: Canvas,
        step: Step,
        tokens: Tensor,
        decided: Tensor,
        score: Tensor,
        rank: Tensor | None,
    ) -> Tensor:
        """[B, P]: the planner's scores of the predicted tokens where a position is decided, else as they were."""
        columns = canvas.answer_start + step.columns
        predicted = canvas.tokens.scatter(1, columns, tokens.where(step.wanted, canvas.at(step.columns)))
        row, place = decided.nonzero(as_tuple=True)
        logits = planner(predicted, canvas.attention_mask, columns, lambda hidden: hidden[row, place])
        size = rows_at_a_time(logits)
        index, uniform = tokens[row, place].split(size), None if rank is None else rank[row, place].split(size)
        pieces = [
            self._score(Support(some), index[piece], None if uniform is None else uniform[piece])
            for piece, some in enumerate(logits.split(size))
        ]
        return score.index_put((row, place), torch.cat(pieces))


def shares_of(kappa: str, num_steps: int) -> list[float]:
    """In the released code's order of operations, which decides where a number of positions is nearly whole."""
    return [1 - KAPPAS[kappa](step * (1 / num_steps)) for step in range(1, num_steps + 1)]


def _above_the_cut(score: Tensor, step: Step) -> Tensor:
    """[B, P] bool: those whose score is not below the best of what the plan wants masked no more."""
    number = score.shape[1]
    # Scores that are not numbers are never below it.
    score = torch.where(step.committable & ~score.isnan(), score, torch.inf)
    num_masked = step.committable.sum(dim=1) - step.budget
    ascending = score.sort(dim=1).values
    cut = ascending.gather(1, num_masked.clamp(0, number - 1)[:, None])
    cut = cut.masked_fill((num_masked >= number)[:, None], torch.inf)
    return step.committable & ~(score < cut)


def _log_probability(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    """From the share of all other tokens where it is small, so that sure positions are told apart as in float64."""
    own = support.values.gather(-1, index[..., None])[..., 0]
    log_probability = (own - support.values.logsumexp(dim=-1)).double()
    probability = low_confidence(support, index, uniform)
    return torch.where(probability > 0.5, probability.log(), log_probability)


def _lead(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    """Log-probability of the most likely token less that of the second, whatever the candidate."""
    top = support.values.topk(2, dim=-1).values.double()
    return top[..., 0] - top[..., 1]


def _log_uniform(support: Support, index: Tensor, uniform: Tensor | None) -> Tensor:
    assert uniform is not None  # drawn for this score
    return uniform.log()


_SCORES: Final[dict[str, Rule]] = {
    "logp": _log_probability,
    "diff_top2": _lead,
    "random": _log_uniform,
    "probability": low_confidence,
}
