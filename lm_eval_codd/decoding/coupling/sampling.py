"""The seam between backbone and circuit: how a step's logits become a decision.

`Independent` decides from the backbone's logits. The others first multiply them with the circuit inside the step's
open windows: p_hat(x0 | xt) = p_theta^(1/tau)(x0 | xt) p_omega(x0) / Z (CoDD, Eq. 5), where
w_t = softmax(logits_t / tau) is soft evidence at masked positions and the token itself at decided ones.

Section 5.1 of the paper tempers the product, Algorithm 1 and the official code the backbone's factor alone; so does
this. Where a gate is closed the backbone's logits stay as they are, untempered, as in the official code. Results are
float32 throughout. Dream's temperature, top-p and top-k act after the circuit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import Tensor

from lm_eval_codd.decoding.candidates import rows_at_a_time
from lm_eval_codd.decoding.coupling.windows import BestWindow, BlockWindow, CoveringWindows, WindowRule, Windows
from lm_eval_codd.decoding.noise import Stream, uniforms

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Backbone, Circuit, Posterior
    from lm_eval_codd.decoding.step import Decider, Decision, Step
    from lm_eval_codd.settings import DecodingConfig


class Coupling(Protocol):
    """Turns a step's logits into a decision."""

    needs_all_open: bool
    """Whether logits are needed at every open position, not only at those that may be committed."""

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """`logits` [N, V] float32 at the step's positions; may be overwritten."""
        ...


def make_coupling(config: DecodingConfig, circuit: Circuit | None, decider: Decider) -> Coupling:
    """The coupling that the settings ask for; without a circuit, `Independent`.

    Raises:
        ValueError: the circuit's window does not fit the block, or the answer.
    """
    if circuit is None:
        return Independent(decider)
    check_window(config, circuit.num_positions)
    rule = _window_rule(config, circuit.num_positions, decider)
    if config.pc_sampling == "any_order":
        return AnyOrder(decider, rule, circuit, config.pc_temperature)
    return OneShot(decider, rule, circuit, config.pc_temperature, _COUPLED_LOGITS[config.pc_sampling])


def check_window(config: DecodingConfig, num_positions: int) -> None:
    """Raise `ValueError` when a circuit's window of `num_positions` fits neither the blocks nor the answer."""
    if config.goes_by_blocks and config.block_length != num_positions:
        raise ValueError(
            f"`block_length={config.block_length}` must equal the circuit's window of {num_positions} positions; "
            f"set block_length={num_positions} or use another circuit"
        )
    if config.gen_length < num_positions:
        raise ValueError(
            f"`gen_length={config.gen_length}` is shorter than the circuit's window of {num_positions} positions; "
            f"use at least {num_positions}"
        )


def check_vocabulary(backbone: Backbone, circuit: Circuit) -> None:
    """Raise `ValueError` when the circuit does not know all of the backbone's tokens."""
    if circuit.vocab_size < backbone.vocab_size:
        raise ValueError(
            f"the circuit's vocabulary of {circuit.vocab_size} tokens is smaller than the backbone's "
            f"{backbone.vocab_size}; use a circuit made for this backbone"
        )


def _window_rule(config: DecodingConfig, num_positions: int, decider: Decider) -> WindowRule:
    if config.goes_by_blocks:
        return BlockWindow(config, num_positions)
    return (BestWindow if config.pc_windows == "best" else CoveringWindows)(config, num_positions, decider)


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

    def __init__(
        self,
        decider: Decider,
        rule: WindowRule,
        circuit: Circuit,
        pc_temperature: float,
        coupled_logits: Callable[[Posterior, Tensor], Tensor],
    ) -> None:
        self._decider, self._rule, self._circuit = decider, rule, circuit
        self._pc_temperature, self._coupled_logits = pc_temperature, coupled_logits

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        placement = self._rule(canvas, step, logits)
        step = replace(step, committable=placement.committable)
        if len(placement.windows.row):
            evidence = Evidence.of(self._circuit, canvas, step, placement.windows, logits, self._pc_temperature)
            evidence.count_into(canvas)
            evidence.write(logits, self._coupled_logits(evidence.posterior, evidence.draws(canvas, step)))
        return self._decider.decide(step, logits, placement.forced)


class AnyOrder:
    """Any-order sampling (section 5.1): the step's tokens are committed one by one.

    Each comes from its exact conditional given those before it. The backbone is not asked again within the step, and
    windows and gates stay as the step found them.
    """

    needs_all_open = True

    def __init__(self, decider: Decider, rule: WindowRule, circuit: Circuit, pc_temperature: float) -> None:
        self._decider, self._rule, self._circuit = decider, rule, circuit
        self._pc_temperature = pc_temperature

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        placement = self._rule(canvas, step, logits)
        if not len(placement.windows.row):
            return self._decider.decide(replace(step, committable=placement.committable), logits, placement.forced)
        evidence = Evidence.of(self._circuit, canvas, step, placement.windows, logits, self._pc_temperature)
        tokens = canvas.tokens.clone()
        left, active = placement.committable, step.budget > 0
        decision: Decision | None = None
        turn = 0
        while bool(active.any()):
            evidence = evidence.of_rows(active)
            evidence.count_into(canvas)
            evidence.write(logits, marginal_logits(evidence.posterior))
            one = replace(step, committable=left, budget=active.long())
            forced = None if placement.forced is None else placement.forced & left
            latest = self._decider.decide(one, logits, forced, turn=turn)
            decision = latest if decision is None else decision.then(latest)
            left = left & ~latest.commit
            answer = tokens[:, canvas.answer_start :]
            answer.scatter_(1, step.columns, latest.tokens.where(latest.commit, answer.gather(1, step.columns)))
            evidence = evidence.observe(tokens, canvas.ids.mask)
            turn += 1
            # A row whose surest token does not reach the floor has committed nothing, and is through.
            active = active & latest.commit.any(dim=1) & left.any(dim=1) & (step.budget > turn)
        return decision


def latent_logits(posterior: Posterior, draws: Tensor) -> Tensor:
    """The official code's: one joint latent path z a window, then log w + log E[z]; [M, V]."""
    return posterior.couple_masked(posterior.sample(uniforms=draws))


def map_logits(posterior: Posterior, draws: Tensor) -> Tensor:
    """As `latent_logits`, with the most likely latent path (Viterbi) instead of a drawn one."""
    return posterior.couple_masked(posterior.max())


def marginal_logits(posterior: Posterior, draws: Tensor | None = None) -> Tensor:
    """Logarithms of the exact token marginals of the coupled distribution, [M, V]."""
    return posterior.masked_token_marginals().log()


_COUPLED_LOGITS: Final = {"latent": latent_logits, "map": map_logits, "marginal": marginal_logits}


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
        logits: Tensor,
        pc_temperature: float,
    ) -> Evidence:
        """Condition the circuit on tempered logits [N, V] where a position is masked, else on its token."""
        row = windows.row[:, None]
        tokens = canvas.tokens[row, windows.columns]
        masked = tokens == canvas.ids.mask
        source = _sources(canvas, step)[row, windows.columns]
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
