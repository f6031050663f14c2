"""From logits to one candidate token a position: greedy, or drawn at a temperature within a nucleus and a top-k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig

Proposal = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Support:
    """The tokens a position may take, with their logits.

    values: [N, K] float32, -inf where excluded.
    ids: [N, K] int64 token ids, or None when K is the whole vocabulary in order.
    """

    values: Tensor
    ids: Tensor | None = None

    def token(self, index: Tensor) -> Tensor:
        """[N] token ids of the entries `index` [N]."""
        return index if self.ids is None else self.ids.gather(-1, index[..., None])[..., 0]

    def without(self, tokens: tuple[int, ...]) -> Support:
        """The same support with some tokens excluded."""
        # One after the other: a list of them would have to be copied to the device, and waited for.
        values = self.values.clone()
        for token in tokens:
            if self.ids is None:
                values[..., token] = -torch.inf
            else:
                values.masked_fill_(self.ids == token, -torch.inf)
        return Support(values, self.ids)


def rows_at_a_time(logits: Tensor | Logits) -> int:
    """How many rows of logits [N, V] to look at in one go: what a CPU's cache holds, what a GPU can spare thrice."""
    piece = 8 << 20 if logits.device.type == "cpu" else 1 << 30
    return max(1, piece // (logits.shape[-1] * logits.element_size()))


def in_pieces(
    step: Step, logits: Tensor | Logits, propose: Proposal, *uniforms: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Tokens and confidences [B, P] that a function proposes for some of a step's positions at a time.

    Args:
        step: the positions.
        logits: [N, V] float32 there.
        propose: from logits [n, V] and numbers [n] to tokens and confidences [n].
        *uniforms: [B, P] numbers, or None, that it is given after the logits.
    """
    size = rows_at_a_time(logits)
    numbers = [None if each is None else step.flat(each).split(size) for each in uniforms]
    pieces = []
    for index, some in enumerate(logits.split(size)):
        pieces.append(propose(some, *(None if each is None else each[index] for each in numbers)))
    tokens, confidence = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    return step.spread(tokens, 0), step.spread(confidence, -torch.inf)


def tempered_support(logits: Tensor, config: DecodingConfig) -> Support:
    """Apply temperature, then top-p, then top-k, in the order of Dream's sampler.

    The nucleus keeps the first token that passes `top_p`. With `top_k` set, only the k largest logits are ever
    sorted: both cuts are prefixes of the same order. Of tokens tied at the k-th place, k are kept in all.

    Args:
        logits: [N, V] float32.
        config: its temperature, top_p and top_k.

    Returns:
        A support of K = V entries in vocabulary order without top_p and top_k, else in descending order.
    """
    if config.temperature > 0:
        logits = logits / config.temperature
    if config.top_k is None and config.top_p is None:
        return Support(logits)
    num_kept = min(config.top_k or logits.shape[-1], logits.shape[-1])
    values, ids = logits.topk(num_kept, dim=-1)
    if config.top_p is not None:
        probabilities = (values - logits.logsumexp(dim=-1, keepdim=True)).exp()
        mass_before = probabilities.cumsum(dim=-1) - probabilities
        beyond = mass_before > config.top_p
        beyond[..., 0] = False
        values = values.masked_fill(beyond, -torch.inf)
    return Support(values, ids)


def most_likely(values: Tensor) -> Tensor:
    """[N] index of each row's largest value [N, K], the first where several are equal."""
    if values.shape[-1] % _GROUP:
        return values.argmax(dim=-1)
    # In two levels: on a CPU, `amax` runs ten times as fast as `argmax` does over a whole vocabulary.
    grouped = values.unflatten(-1, (-1, _GROUP))
    group = grouped.amax(dim=-1).argmax(dim=-1)
    inside = grouped.gather(-2, group[..., None, None].expand(*group.shape, 1, _GROUP))[..., 0, :]
    index: Tensor = group * _GROUP + inside.argmax(dim=-1)
    return index


def draw(support: Support, uniform: Tensor) -> Tensor:
    """[N] index of one entry a position, drawn from the softmax by inversion with `uniform` [N] in (0, 1)."""
    weights = (support.values - support.values.amax(dim=-1, keepdim=True)).exp()
    return invert_cdf(weights, uniform)


def invert_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw from unnormalised weights [..., K] with one uniform number each [...]; entries of weight 0 never come out.

    Two levels, a group and an entry of it: a running sum over a whole vocabulary would lose digits in float32. Weights
    that are NaN give some entry, so that their row alone is spoiled.
    """
    groups = -(-weights.shape[-1] // _GROUP)
    padded = torch.nn.functional.pad(weights, (0, groups * _GROUP - weights.shape[-1]))
    grouped = padded.unflatten(-1, (groups, _GROUP))
    group, rest = _invert(grouped.sum(dim=-1), uniform.to(weights.dtype))
    inside = grouped.gather(-2, group[..., None, None].expand(*group.shape, 1, _GROUP))[..., 0, :]
    entry, _ = _invert(inside, rest)
    return (group * _GROUP + entry).clamp(max=weights.shape[-1] - 1)


_GROUP = 256


def _invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The entry where the running sum passes `uniform` of the total, and where in that entry it does, in (0, 1)."""
    running = weights.cumsum(dim=-1)
    total = running[..., -1]
    tiny = torch.finfo(weights.dtype).tiny
    target = (uniform * total).clamp(min=tiny).minimum(total)
    entry = torch.searchsorted(running, target[..., None])[..., 0].clamp(max=weights.shape[-1] - 1)
    picked = weights.gather(-1, entry[..., None])[..., 0]
    before = running.gather(-1, entry[..., None])[..., 0] - picked
    rest = ((target - before) / picked).clamp(tiny, 1 - torch.finfo(weights.dtype).eps)
    return entry, rest
