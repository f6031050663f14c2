"""Score given canvases: rows of any lengths in, what the network says at some positions of each out.

The trunk runs once over a batch of canvases. The head runs over the asked positions alone, some at a time, and of a
position's logits only the log-sum-exp, the target's and the largest are kept, unless a caller reads them itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lm_eval_codd.backbones.full_pass import FullPass

if TYPE_CHECKING:
    from lm_eval_codd.backbones.protocols import Backbone

# Bytes of logits that exist at once: a head's weights are read anew for each piece.
_ROOM_ON_A_CPU: Final = 64 << 20
_ROOM_ON_A_GPU: Final = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What N positions say.

    Attributes:
        targets: [N] float32, log p of the asked token.
        tokens: [N] int64, the most likely token; None where it was not asked for.
        tops: [N] float32, its log p.
    """

    targets: Tensor
    tokens: Tensor | None = None
    tops: Tensor | None = None


class Reading:
    """The asked positions of a batch of canvases, N in all, in order: canvas by canvas.

    Args:
        given: what the head reads of them, [N, ...]; with guidance also what it reads without the prompts.
        full_pass: whose head it is.
        cfg_scale: guidance; read only where there are two.
    """

    def __init__(self, given: tuple[Tensor, ...], full_pass: FullPass, cfg_scale: float) -> None:
        self._given, self._full_pass, self._cfg_scale = given, full_pass, cfg_scale
        self.device = given[0].device

    def __len__(self) -> int:
        return len(self._given[0])

    @property
    def rows_at_a_time(self) -> int:
        """How many positions' logits to look at in one go."""
        room = _ROOM_ON_A_CPU if self.device.type == "cpu" else _ROOM_ON_A_GPU
        return max(1, room // (4 * self._full_pass.vocab_size * len(self._given)))

    def logits(self, part: slice | Tensor = slice(None)) -> Tensor:
        """[n, V] float32 of some of the positions; overwritten by the next call."""
        given = [each[part] for each in self._given]
        if len(given) == 1:
            return self._full_pass.head(given[0])
        conditional, unconditional = self._full_pass.head(torch.cat(given)).chunk(2)
        return unconditional + (self._cfg_scale + 1) * (conditional - unconditional)

    def at(self, rows: Tensor) -> Reading:
        """Some of the positions, [n] int64."""
        rows = rows.to(self.device)
        return Reading(tuple(each.index_select(0, rows) for each in self._given), self._full_pass, self._cfg_scale)

    def score(self, targets: Tensor, *, tops: bool = False) -> Scores:
        """Scores of the tokens `targets` [N], with `tops` of the most likely tokens too."""
        scores, start = [], 0
        for some in targets.split(self.rows_at_a_time):
            logits = self.logits(slice(start, start + len(some)))
            whole = logits.logsumexp(dim=-1)
            score = [logits.gather(-1, some[:, None])[:, 0] - whole]
            if tops:
                top, token = logits.max(dim=-1)
                score += [token, top - whole]
            scores.append(score)
            start += len(some)
        return Scores(*(torch.cat(each) for each in zip(*scores, strict=True)))


@torch.no_grad()
def read_canvases(
    backbone: Backbone,
    canvases: Sequence[Tensor],
    positions: Sequence[Tensor],
    *,
    cfg_scale: float = 0.0,
    prompt_lengths: Sequence[int] = (),
) -> Reading:
    """Run the network once over some canvases.

    Args:
        backbone: the masked diffusion model.
        canvases: token ids of each [L_b], on the CPU; lengths may differ.
        positions: the asked columns of each [P_b], on the CPU; numbers may differ, and be 0.
        cfg_scale: classifier-free guidance, logits = u + (cfg_scale + 1)(c - u), u from the canvas whose prompt is
            masked (LLaDA); both go through the network in the same pass. 0 is off.
        prompt_lengths: of each canvas; read with guidance.

    Returns:
        The positions, all canvases' after each other. A position's values do not depend on the other canvases, up to
        the rounding of another kernel.
    """
    device = torch.device(getattr(backbone, "device", "cpu"))
    rows = list(canvases)
    if cfg_scale:
        for canvas, length in zip(canvases, prompt_lengths, strict=True):
            rows.append(torch.cat([torch.full((length,), backbone.mask_id), canvas[length:]]))
    lengths = torch.tensor([len(row) for row in rows])
    counts = torch.tensor([len(columns) for columns in positions])
    # Padding goes to the left, as in decoding; what a row has there is never read.
    tokens = pad_sequence(rows, batch_first=True, padding_value=backbone.eos_id, padding_side="left")
    padding = tokens.shape[1] - lengths
    real = torch.arange(tokens.shape[1]) >= padding[:, None]
    asked = pad_sequence(list(positions), batch_first=True) + padding[: len(canvases), None]
    places = (torch.arange(asked.shape[1]) < counts[:, None]).flatten().nonzero()[:, 0].to(device)
    full_pass = FullPass(backbone)
    attention_mask = None if bool(real.all()) else real.to(device)
    asked = asked.clamp(max=tokens.shape[1] - 1).to(device)
    halves = full_pass.before_head(
        tokens.to(device), attention_mask, asked if not cfg_scale else asked.repeat(2, 1)
    ).split(len(canvases))
    return Reading(tuple(half.flatten(0, 1).index_select(0, places) for half in halves), full_pass, cfg_scale)
