"""What a circuit is told in a step, and where its answer goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import rows_at_a_time
from lm_eval_codd.tensors.noise import Stream, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.coupling.windows import Windows
    from lm_eval_codd.decoding.logits import Logits
    from lm_eval_codd.decoding.protocols import Circuit, Posterior
    from lm_eval_codd.decoding.step import Step


@dataclass(frozen=True)
class Evidence:
    """A step's windows under the circuit, and where in the step's logits their masked positions stand.

    Of the W windows' positions, M are masked; they come in row-major order.

    source: [W, T] int64, the position's row of the step's logits [N, V]; -1 where the step has none.
    """

    posterior: Posterior
    windows: Windows
    source: Tensor

    @classmethod
    def of(
        cls,
        circuit: Circuit,
        canvas: Canvas,
        step: Step,
        windows: Windows,
        logits: Tensor | Logits,
        pc_temperature: float,
    ) -> Evidence:
        """Condition the circuit on tempered logits [N, V] where a position is masked, else on its token."""
        row, columns = windows.row[:, None], windows.columns
        if windows.silent is not None:
            columns = columns.clamp(max=canvas.tokens.shape[1] - 1)
        tokens = canvas.tokens[row, columns]
        masked = tokens == canvas.ids.mask
        source = _sources(canvas, step)[row, columns]
        if windows.silent is not None:
            masked, source = masked | windows.silent, source.masked_fill(windows.silent, -1)
        places = _places(masked, windows.num_masked)
        spoken = source.flatten()[places]
        # Their scale may be any: it goes into log Z, and the coupled distribution is the same.
        log_evidence = logits[spoken.clamp(min=0)].div_(pc_temperature)
        # A mask token inside a prompt is not decoded, so nothing is known of it: log 1 for every token.
        log_evidence.masked_fill_((spoken < 0)[:, None], 0.0)
        observed = tokens.masked_fill(masked, -1)
        return cls(circuit.evaluate(log_evidence, observed, places=places), windows, source)

    def draws(self, canvas: Canvas, step: Step) -> Tensor:
        """[W, T] uniform numbers of the rows, by position in the unpadded row."""
        row = self.windows.row
        columns = self.windows.columns - canvas.first[row][:, None]
        return uniforms(canvas.keys[row], Stream.LATENT, step.number[row], columns)

    def write(self, logits: Tensor, coupled: Tensor) -> None:
        """Overwrite `logits` [N, V] by `coupled` [M, V], where it may be.

        Windows whose evidence the circuit rules out keep the backbone's logits.
        """
        places = self.posterior.places
        if self.windows.num_masked is None:
            taken = (self.windows.takes & (self.source >= 0)).flatten()[places].nonzero()[:, 0]
            places, coupled = places[taken], coupled[taken]
        source = self.source.flatten()[places]
        impossible = self.posterior.impossible[places // self.source.shape[1]]
        size = rows_at_a_time(logits)
        for rows, new, keeps in zip(source.split(size), coupled.split(size), impossible.split(size), strict=True):
            logits[rows] = torch.where(keeps[:, None], logits[rows], new.to(logits.dtype))

    def places_in(self, logits: Logits) -> Tensor:
        """[N] int64: which of the M coupled rows takes the place of each row of `logits` [N, V], -1 where none does.

        None of windows whose evidence the circuit rules out.
        """
        places = self.posterior.places
        source, number = self.source.flatten()[places], logits.shape[0]
        stays = (source < 0) | self.posterior.impossible[places // self.source.shape[1]]
        taken = source.new_full((number + 1,), -1)
        taken[source.masked_fill(stays, number)] = torch.arange(len(source), device=source.device)
        return taken[:number]

    def of_rows(self, keep: Tensor) -> Evidence:
        """The windows of the rows [B] bool to keep."""
        keep = keep[self.windows.row]
        return Evidence(self.posterior.select(keep), self.windows.select(keep), self.source[keep])

    def observe(self, tokens: Tensor, mask_id: int) -> Evidence:
        """The same evidence after more of the canvas [B, L] was decided."""
        known = tokens[self.windows.row[:, None], self.windows.columns]
        observed = self.posterior.observe(known.masked_fill(known == mask_id, -1))
        return Evidence(observed, replace(self.windows, num_masked=None), self.source)

    def count_into(self, canvas: Canvas) -> None:
        """Count one circuit evaluation a window for its row, and those that the circuit rules out."""
        impossible = self.posterior.impossible.long()
        canvas.num_circuit.index_add_(0, self.windows.row, torch.ones_like(impossible))
        canvas.num_impossible.index_add_(0, self.windows.row, impossible)


def _sources(canvas: Canvas, step: Step) -> Tensor:
    """[B, L]: the row of the step's logits that belongs to a canvas column, -1 where there is none."""
    sources = torch.full_like(canvas.tokens, -1)
    sources[step.row, canvas.answer_start + step.columns[step.row, step.place]] = torch.arange(
        len(step.row), device=sources.device
    )
    return sources


def _places(masked: Tensor, number: int | None) -> Tensor:
    """[M] int64: where the Trues stand, flattened; does not wait for the device where their number is known."""
    if number is None:
        return masked.flatten().nonzero()[:, 0]
    # A stable sort that puts the Trues first.
    return masked.flatten().byte().argsort(descending=True, stable=True)[:number]
