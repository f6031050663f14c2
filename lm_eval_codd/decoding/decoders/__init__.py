"""Decoders: each says where the network looks and what is written there. A new one is a file here, and its facts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from lm_eval_codd.decoding.coupling import check_window
from lm_eval_codd.settings import DECODERS

if TYPE_CHECKING:
    import torch

    from lm_eval_codd.decoding.canvas import Canvas, Ids
    from lm_eval_codd.decoding.protocols import Backbone, Circuit
    from lm_eval_codd.decoding.step import Decision, Look, Step
    from lm_eval_codd.settings import DecodingConfig


class Decoder(Protocol):
    """Decides when a row has ended, and what each of its steps writes.

    The loop owns the canvas, the queue, the network, the clock and the counts, and asks three things, always of all
    rows under way. A row's answers to them depend on that row alone.
    """

    revises: bool
    """Whether it may mask again what was committed: no caches then, and drafts may be given."""

    def __init__(
        self, config: DecodingConfig, family: str, ids: Ids, device: torch.device, circuit: Circuit | None
    ) -> None:
        """Raise `ValueError` for a circuit that it cannot use; its window has been held against the settings."""
        ...

    def start(self, canvas: Canvas) -> None:
        """Prepare rows that are about to join: give them their entries of `Canvas.state`."""
        ...

    def look(self, canvas: Canvas) -> Look:
        """The next step of every row; one that wants no position is through. Pure: it may be asked twice."""
        ...

    def decide(self, canvas: Canvas, step: Step, logits: Any) -> Decision:
        """What the step writes. It may count circuit evaluations on the canvas, and changes nothing else there.

        Args:
            canvas: as it was looked at.
            step: the wanted positions.
            logits: a tensor [N, V] float32 at those positions, after guidance; may be overwritten where a circuit was
                given. `Logits`, a piece at a time, where the decoder has an attribute `takes_pieces` that is true.
        """
        ...


def make_decoder(
    config: DecodingConfig,
    family: str,
    ids: Ids,
    device: torch.device,
    circuit: Circuit | None = None,
    planner: Backbone | None = None,
) -> Decoder:
    """The decoder that the settings name; a planner is for those that take one.

    Raises `ValueError` for a circuit that it cannot use.
    """
    if circuit is not None:
        check_window(config, circuit.num_positions)
    module, name = DECODERS[config.decoder].target.split(":")
    others = {} if planner is None else {"planner": planner}
    decoder: Decoder = getattr(import_module(module), name)(config, family, ids, device, circuit, **others)
    return decoder
