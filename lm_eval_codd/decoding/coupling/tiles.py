"""A circuit in decoders that mask again: its windows tile the answer, and only masked positions are coupled.

A tile whose gate is open is one window: its tokens are observed, one joint latent draw couples its masked positions,
and the coupled logits take the place of the backbone's there, in whatever the decoder makes of them (candidates and
scores). Tokens that stand there are scored by the backbone. There is no reference for that (spec/decoders.md 9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.coupling.evidence import Evidence
from lm_eval_codd.decoding.coupling.sampling import COUPLED_LOGITS
from lm_eval_codd.decoding.coupling.windows import Gate, Windows
from lm_eval_codd.tensors.transfer import to_device

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.decoding.step import Step
    from lm_eval_codd.settings import DecodingConfig


class Tiles:
    """Couples a step's masked positions, a tile of the answer at a time; waits for the device once a step.

    The tiles lie side by side from the answer's first position on. Of what the last one has beyond the row's own end
    nothing is known, and so of masks that are fixed; the circuit sums over both.
    """

    def __init__(self, config: DecodingConfig, circuit: Circuit) -> None:
        self._gate = Gate(config)
        self._circuit = circuit
        self._pc_temperature = config.pc_temperature
        self._coupled_logits = COUPLED_LOGITS[config.pc_sampling]

    def couple(self, canvas: Canvas, step: Step, logits: Logits) -> None:
        """Overwrite `logits` at the masked positions of open tiles; no other logits are computed here."""
        windows = self.windows(canvas)
        if not len(windows.row):
            return
        evidence = Evidence.of(self._circuit, canvas, step, windows, logits, self._pc_temperature)
        evidence.count_into(canvas)
        coupled = self._coupled_logits(evidence.posterior, evidence.draws(canvas, step))
        logits.overwrite(evidence.places_in(logits), coupled)

    def windows(self, canvas: Canvas) -> Windows:
        """The open tiles in which there is something to decide."""
        inside, masked = canvas.inside, canvas.masked & canvas.inside
        takes = self._tiled(masked & canvas.variable, False)
        silent = self._tiled(~inside | (masked & ~canvas.variable), True)
        length = self._tiled(inside, False).sum(dim=2)
        is_open = self._gate(self._tiled(masked, False).sum(dim=2), length) & takes.any(dim=2)
        unobserved = (takes | silent).sum(dim=2).where(is_open, 0).tolist()
        found = [(row, tile) for row, numbers in enumerate(unobserved) for tile, number in enumerate(numbers) if number]
        row, tile = to_device([[row for row, _ in found], [tile for _, tile in found]], takes.device)
        offsets = torch.arange(self._circuit.num_positions, device=takes.device)
        return Windows(
            row=row,
            columns=canvas.answer_start + tile[:, None] * self._circuit.num_positions + offsets,
            takes=takes[row, tile],
            num_masked=sum(map(sum, unobserved)),
            silent=silent[row, tile],
        )

    def _tiled(self, values: Tensor, filling: bool) -> Tensor:
        """[B, G] -> [B, number of tiles, T]; the last tile is filled up."""
        length = self._circuit.num_positions
        filled = torch.nn.functional.pad(values, (0, -values.shape[1] % length), value=filling)
        tiled: Tensor = filled.unflatten(1, (-1, length))
        return tiled
