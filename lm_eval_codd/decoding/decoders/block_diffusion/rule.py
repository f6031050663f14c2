"""What a rule of a block says, and what the rules share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import Support
from lm_eval_codd.decoding.commitment import surest
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class Extent(NamedTuple):
    """How far an answer goes.

    offset: tokens before the answer from where its blocks are counted.
    num_blocks: blocks from there to the end of the last one, those of the prompt included.
    num_positions: of the answer.
    """

    offset: int
    num_blocks: int
    num_positions: int


@dataclass(frozen=True)
class Stand:
    """Where each row stands in its block.

    block: [B] int64, counted from where the row's blocks are.
    taken: [B] int64, forwards that it has had.
    place: [B, G] int64, of the answer's positions, counted from where the row's blocks are.
    inside: [B, G] bool, its positions of the answer.
    masked: [B, G] bool, those of them that are masked.
    """

    block: Tensor
    taken: Tensor
    place: Tensor
    inside: Tensor
    masked: Tensor


class Rule(ABC):
    """How the masks of a block become tokens. A row's answers depend on that row alone.

    Attributes:
        stores: whether a finished block takes a forward of its own, which leaves its final keys and values behind;
            else the next block's first forward computes it once more. Where experts choose tokens nothing can be left
            behind, so there only one that predicts a token is made (`stores_predict`).
        stores_predict: whether that forward predicts a token too.
        stores_last: whether the last block does so too.
        edits: whether a token may be replaced as long as its block is worked on.
        scores_untempered: whether confidences are of the untempered distribution; else of the one drawn from.
        stops_anyway: whether an end token in a finished block ends the answer even with `stop_at_eos=False`.
    """

    stores: bool = False
    stores_predict: ClassVar[bool] = False
    stores_last: ClassVar[bool] = True
    edits: ClassVar[bool] = False
    stops_anyway: ClassVar[bool] = False
    scores_untempered: ClassVar[bool] = False

    def __init__(self, config: DecodingConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.stores = self.stores and (self.stores_predict or config.router != "ec")

    def extent(self, num_prompt: int) -> Extent:
        """Of an answer to so many tokens. Blocks are counted from the prompt's first one; the last may pass the end."""
        length = self.config.block_length
        num_blocks = -(-(num_prompt + self.config.gen_length) // length)
        return Extent(num_prompt, num_blocks, num_blocks * length - num_prompt)

    def start(self, canvas: Canvas) -> None:  # noqa: B027 - most rules keep nothing
        """Give rows that are about to join what the rule keeps of them in `Canvas.state`."""

    @abstractmethod
    def goes_on(self, canvas: Canvas, stand: Stand) -> Tensor:
        """[B] bool: the block takes one more forward that may write in it. A fresh block does whatever this says."""

    def wanted(self, stand: Stand) -> Tensor:
        """[B, G] bool: positions whose logits that forward is asked for."""
        return stand.masked

    def part(self, stand: Stand) -> Tensor:
        """[B] int64, as `Look.part`, of a forward that writes in the block, where `cache` keeps the rest of it."""
        return torch.full_like(stand.block, -1)

    def finishing(self, stand: Stand) -> Tensor:
        """[B, G] bool: where the forward of a finished block looks, one position a row."""
        return first_from(stand.place, stand.block * self.config.block_length)

    def finishes(self, stand: Stand, step: Step) -> Tensor:
        """[B, P] bool: where that forward writes the most likely token."""
        return torch.zeros_like(step.committable)

    def support(self, logits: Tensor) -> Support:
        """Of the tokens that are drawn at a temperature above 0."""
        return nucleus(logits / self.config.temperature, self.config.top_k, self.config.top_p)

    @abstractmethod
    def commits(
        self, canvas: Canvas, stand: Stand, step: Step, tokens: Tensor, confidence: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """[B, P] bool, which candidates are written, and what of `Canvas.state` changes."""


def quotas(num_steps: int, block_length: int, device: torch.device) -> Tensor:
    """[num_steps] int64: a block's tokens spread over its steps, the first ones take one more."""
    base, extra = divmod(block_length, num_steps)
    return to_device([base + (step < extra) for step in range(num_steps)], device)


def high_or_best(confidence: Tensor, open_: Tensor, threshold: float, quota: Tensor) -> Tensor:
    """[B, P] bool: all that are surer than the threshold where they are `quota` [B] or more, else so many best."""
    high = open_ & (confidence > threshold)
    best = surest(confidence, open_, quota)
    return torch.where((high.sum(dim=1) >= quota)[:, None], high, best)


def nucleus(logits: Tensor, top_k: int | None, top_p: float | None) -> Support:
    """The `top_k` largest logits, and of the distribution over these the first that pass `top_p`."""
    if top_k is None and top_p is None:
        return Support(logits)
    values, ids = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    if top_p is not None:
        probabilities = values.softmax(dim=-1)
        beyond = probabilities.cumsum(dim=-1) - probabilities > top_p
        beyond[..., 0] = False
        values = values.masked_fill(beyond, -torch.inf)
    return Support(values, ids)


def first_from(place: Tensor, least: Tensor) -> Tensor:
    """[B, G] bool: of each row the first position whose place [B, G] is at least `least` [B]."""
    reached = place >= least[:, None]
    return reached & (reached.cumsum(dim=1) == 1)
