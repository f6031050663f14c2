"""The seam between backbone and circuit: how a step's logits become a decision.

`Independent` decides from the backbone's logits. The others first multiply them with the circuit inside the step's
open windows: p_hat(x0 | xt) = p_theta^(1/tau)(x0 | xt) p_omega(x0) / Z (CoDD, Eq. 5), where
w_t = softmax(logits_t / tau) is soft evidence at masked positions and the token itself at decided ones.

Section 5.1 of the paper tempers the product, Algorithm 1 and the official code the backbone's factor alone; so does
this. Where a gate is closed the backbone's logits stay as they are, untempered, as in the official code. Results are
float32 throughout. Dream's temperature, top-p and top-k act after the circuit.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lm_eval_codd.decoding.noise import Stream, uniforms
from lm_eval_codd.decoding.windows import BestWindow, BlockWindow, CoveringWindows, WindowRule, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Circuit
    from lm_eval_codd.decoding.step import Decider, Decision, Step
    from lm_eval_codd.settings import DecodingConfig

logger = logging.getLogger(__name__)


class Coupling(Protocol):
    """Turns a step's logits into a decision."""

    needs_all_open: bool
    """Whether logits are needed at every open position, not only at those that may be committed."""

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """`logits` [B, P, V] float32 at the step's columns; may be overwritten."""
        ...


def make_coupling(config: DecodingConfig, circuit: Circuit | None, decider: Decider) -> Coupling:
    """The coupling that the settings ask for; without a circuit, `Independent`.

    Raises:
        ValueError: the circuit's window does not fit the block, or the answer.
    """
    if circuit is None:
        return Independent(decider)
    length = circuit.num_positions
    if config.paradigm == "block":
        if config.block_length != length:
            raise ValueError(
                f"`block_length={config.block_length}` must equal the circuit's window of {length} positions; "
                f"set block_length={length} or use another circuit"
            )
        rule: WindowRule = BlockWindow(config, length)
    else:
        if config.gen_length < length:
            raise ValueError(
                f"`gen_length={config.gen_length}` is shorter than the circuit's window of {length} positions; "
                f"use at least {length}"
            )
        rule = (BestWindow if config.pc_windows == "best" else CoveringWindows)(config, length, decider)
    if config.pc_sampling == "any_order":
        return AnyOrder(decider, rule, CircuitEvidence(config, circuit, marginal_logits))
    return OneShot(decider, rule, CircuitEvidence(config, circuit, _COUPLED_LOGITS[config.pc_sampling]))


class Independent:
    """No circuit: every position for itself."""

    needs_all_open = False

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        return self._decider.decide(step, logits)


class OneShot:
    """The circuit speaks once a step; all of the step's tokens come from the coupled logits."""

    needs_all_open = True

    def __init__(self, decider: Decider, rule: WindowRule, evidence: CircuitEvidence) -> None:
        self._decider, self._rule, self._evidence = decider, rule, evidence

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        placement = self._rule(canvas, step, logits)
        step = replace(step, committable=placement.committable)
        self._evidence.couple(canvas, canvas.tokens, step, placement.windows, logits, logits)
        return self._decider.decide(step, logits, placement.forced)


class AnyOrder:
    """Any-order sampling (section 5.1): the step's tokens are committed one by one.

    Each comes from its exact conditional given those before it. The backbone is not asked again within the step, and
    windows and gates stay as the step found them.
    """

    needs_all_open = True

    def __init__(self, decider: Decider, rule: WindowRule, evidence: CircuitEvidence) -> None:
        self._decider, self._rule, self._evidence = decider, rule, evidence

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        placement = self._rule(canvas, step, logits)
        tokens = canvas.tokens.clone()
        left = placement.committable
        decision: Decision | None = None
        for turn in range(int(step.budget.max())):
            one = replace(step, committable=left, budget=(step.budget > turn).long())
            coupled = logits.clone()
            self._evidence.couple(canvas, tokens, one, placement.windows.of_rows(one.budget > 0), logits, coupled)
            forced = placement.forced & left if placement.forced is not None else None
            latest = self._decider.decide(one, coupled, forced)
            decision = latest if decision is None else _later(decision, latest)
            left = left & ~latest.commit
            answer = tokens[:, canvas.answer_start :]
            decided = torch.where(latest.commit, latest.tokens, answer.gather(1, step.columns))
            answer.scatter_(1, step.columns, decided)
        return decision


class CircuitEvidence:
    """Hands windows to the circuit and writes what comes back over the backbone's logits."""

    def __init__(self, config: DecodingConfig, circuit: Circuit, coupled_logits: Callable[..., Tensor]) -> None:
        self._temperature = config.pc_temperature
        self._circuit = circuit
        self._coupled_logits = coupled_logits
        self._warned = False

    def couple(self, canvas: Canvas, tokens: Tensor, step: Step, windows: Windows, logits: Tensor, out: Tensor) -> None:
        """Overwrite `out` [B, P, V] with the coupled logits of the windows' positions.

        Args:
            canvas: where the rows stand; its counts of circuit calls are raised.
            tokens: [B, L] what is decided so far, which within a step may be more than the canvas says.
            step: the open positions that `logits` belongs to.
            windows: the open windows.
            logits: [B, P, V] float32, the backbone's; may be `out` itself.
            out: where the coupled logits go.
        """
        if not len(windows.row):
            return
        row = windows.row[:, None]
        observed = tokens[row, windows.columns]
        undecided = observed == canvas.ids.mask
        observed = observed.masked_fill(undecided, -1)
        slot = _slots(canvas, step)[row, windows.columns]
        speaks = undecided & (slot >= 0)
        evidence = logits.new_zeros(*undecided.shape, logits.shape[-1])  # a mask in a prompt has no evidence: log 1
        spoken_row = row.expand_as(slot)[speaks]
        evidence[speaks] = torch.log_softmax(logits[spoken_row, slot[speaks]] / self._temperature, dim=-1)
        draws = uniforms(
            canvas.keys[windows.row], Stream.LATENT, step.number[windows.row], windows.columns - canvas.first[row]
        )
        coupled = self._coupled_logits(self._circuit, evidence, observed, draws)
        possible = self._count(canvas, windows.row, coupled, speaks)
        takes = windows.takes & speaks & possible[:, None]
        out[row.expand_as(slot)[takes], slot[takes]] = coupled[takes]

    def _count(self, canvas: Canvas, row: Tensor, coupled: Tensor, speaks: Tensor) -> Tensor:
        """Count the calls; [N] bool, windows whose evidence the circuit does not rule out."""
        mute = speaks & (coupled.amax(dim=-1) == -torch.inf)
        possible = ~(mute | coupled.isnan().any(dim=-1)).any(dim=1)
        canvas.num_circuit.index_add_(0, row, torch.ones_like(row))
        canvas.num_impossible.index_add_(0, row, (~possible).long())
        return possible


def latent_logits(circuit: Circuit, log_evidence: Tensor, observed: Tensor, draws: Tensor) -> Tensor:
    """The official code's: one joint latent path z a window, then log w + log E[z]."""
    return circuit.couple(log_evidence, circuit.sample_latents(log_evidence, observed, uniforms=draws))


def map_logits(circuit: Circuit, log_evidence: Tensor, observed: Tensor, draws: Tensor) -> Tensor:
    """As `latent_logits`, with the most likely latent path (Viterbi) instead of a drawn one."""
    return circuit.couple(log_evidence, circuit.max_latents(log_evidence, observed))


def marginal_logits(circuit: Circuit, log_evidence: Tensor, observed: Tensor, draws: Tensor) -> Tensor:
    """Logarithms of the exact token marginals of the coupled distribution."""
    return circuit.token_marginals(log_evidence, observed).log()


_COUPLED_LOGITS = {"latent": latent_logits, "map": map_logits, "marginal": marginal_logits}


def _slots(canvas: Canvas, step: Step) -> Tensor:
    """[B, L]: where in the step's P positions a canvas column stands, -1 where it does not."""
    slots = torch.full_like(canvas.tokens, -1)
    places = torch.arange(step.columns.shape[1], device=slots.device).expand_as(step.columns)
    return slots.scatter_(1, canvas.answer_start + step.columns, places)


def _later(first: Decision, second: Decision) -> Decision:
    """Both decisions; where the second commits, its token and confidence."""
    new = second.commit
    return replace(
        first,
        tokens=torch.where(new, second.tokens, first.tokens),
        confidence=torch.where(new, second.confidence, first.confidence),
        commit=first.commit | new,
    )
