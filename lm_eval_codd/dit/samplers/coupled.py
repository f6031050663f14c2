"""A circuit in the ancestral samplers of masks: the tokens that leave the mask together are drawn together.

Who leaves is decided first and as ever; then the tokens of a window come from the product of x_theta and the circuit,
given the visible ones, in place of x_theta alone. An extension without reference: no circuit for these vocabularies is
published, and no gain is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.coupling.windows import Gate
from lm_eval_codd.dit.samplers.draws import by_inverse
from lm_eval_codd.settings import DecodingConfig
from lm_eval_codd.tensors.noise import Stream, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.circuits import HMM
    from lm_eval_codd.dit.model import DiT
    from lm_eval_codd.dit.samplers.predictor import Step


class Coupled:
    """Draws again what left the mask, in the windows whose gate is open.

    Windows tile the row from its first position. What a short last one has beyond the row is summed over.

    Args:
        dit: of a mask process.
        circuit: over its vocabulary; the mask, where it is the last id, may be missing.
        pc_frac: a window is open where the share of masked positions is strictly below.
        reverse_frac: or strictly above.
    """

    def __init__(self, dit: DiT, circuit: HMM, pc_frac: float, reverse_frac: bool) -> None:
        check_circuit(dit, circuit)
        assert dit.mask_id is not None
        self._mask_id = dit.mask_id
        self._dit, self._circuit = dit, circuit.to(device=dit.device)
        self._gate = Gate(DecodingConfig(pc_frac=pc_frac, reverse_frac=reverse_frac))

    def redrawn(self, before: Tensor, after: Tensor, hidden: Tensor, step: Step, keys: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L] ids after a step, and [B] how often each row's circuit was evaluated.

        Args:
            before: [B, L] ids at the step's time.
            after: [B, L] ids that were drawn for the next time, each for itself.
            hidden: [B, L, d] of `before`.
            step: which one.
            keys: [B] of the rows.
        """
        width = self._circuit.num_positions
        masked = self._tiled(before == self._mask_id, False)
        leaving = self._tiled(before != after, False)
        inside = self._tiled(torch.ones_like(before, dtype=torch.bool), False)
        is_open = self._gate(masked.sum(dim=2), inside.sum(dim=2)) & leaving.any(dim=2)
        windows, after = is_open.nonzero(), after.clone()
        for some in windows.split(max(1, self._dit.piece // width)):
            self._redraw(before, after, hidden, step, keys, some)
        return after, is_open.sum(dim=1)

    def _redraw(self, before: Tensor, after: Tensor, hidden: Tensor, step: Step, keys: Tensor, windows: Tensor) -> None:
        """Overwrite `after` where it left the mask, in windows [W, 2] of row and tile."""
        dit, circuit, length = self._dit, self._circuit, before.shape[1]
        row = windows[:, :1]
        columns = windows[:, 1:] * circuit.num_positions + torch.arange(circuit.num_positions, device=row.device)
        inside = columns < length
        places = row * length + columns.clamp(max=length - 1)
        old = before.flatten()[places]
        is_masked = inside & (old == self._mask_id)
        unknown = is_masked | ~inside
        log_x = dit.diffusion.log_x(dit.head(hidden.flatten(0, 1)[places[is_masked]]), old[is_masked], step.alpha_t)
        said = dit.diffusion.log_clean(log_x)
        said[:, self._mask_id] = -torch.inf
        evidence = said.new_zeros(int(unknown.sum()), min(dit.vocab_size, circuit.vocab_size))
        known = is_masked[unknown]
        evidence[known] = said[:, : evidence.shape[1]]
        posterior = circuit.evaluate(evidence.to(circuit.dtype), old.masked_fill(unknown, -1))
        number = torch.full_like(columns, step.number)[:, 0]
        latents = posterior.sample(uniforms=uniforms(keys[row[:, 0]], Stream.LATENT, number, columns))
        log_weights = posterior.couple_masked(latents)[known].double()
        own = uniforms(keys[row[:, 0]], Stream.JOINT, number, columns)[is_masked]
        drawn = by_inverse((log_weights - log_weights.amax(dim=-1, keepdim=True)).exp(), own, None)[0]
        masked_places = places[is_masked]
        possible = ~posterior.impossible[:, None].expand_as(columns)[is_masked]
        takes = possible & (after.flatten()[masked_places] != self._mask_id)
        after.view(-1)[masked_places[takes]] = drawn[takes]

    def _tiled(self, values: Tensor, filling: bool) -> Tensor:
        """[B, L] to [B, number of tiles, T]; the last tile is filled up."""
        width = self._circuit.num_positions
        filled = torch.nn.functional.pad(values, (0, -values.shape[1] % width), value=filling)
        return filled.unflatten(1, (-1, width))


def refuse_circuit(algo: str) -> None:
    """Raise `ValueError`, one line, for an algorithm in which nothing is masked."""
    why = {"duo": "it has no mask, so nothing is ever observed", "ar": "it draws one token at a time"}.get(algo)
    if why is not None:
        raise ValueError(f"a circuit does not go with algo={algo}: {why}; leave it out")


def check_circuit(dit: DiT, circuit: HMM) -> None:
    """Raise `ValueError`, one line, for a model that has no masks, or a circuit of another vocabulary."""
    refuse_circuit(dit.algo)
    assert dit.mask_id is not None
    size = dit.vocab_size - (dit.mask_id == dit.vocab_size - 1)
    if circuit.vocab_size < size:
        raise ValueError(
            f"the circuit's vocabulary of {circuit.vocab_size} tokens is smaller than the {dit.vocab_size} of "
            f"`{dit.source}`; use a circuit made for it"
        )
