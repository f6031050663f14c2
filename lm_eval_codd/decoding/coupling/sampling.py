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
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from lm_eval_codd.decoding.coupling.evidence import Evidence

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.coupling.windows import WindowRule
    from lm_eval_codd.decoding.protocols import Chooser, Circuit, Posterior
    from lm_eval_codd.decoding.step import Decision, Step


class Coupling(Protocol):
    """Turns a step's logits into a decision."""

    needs_all_open: bool
    """Whether logits are needed at every open position, not only at those that may be committed."""

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """`logits` [N, V] float32 at the step's positions; may be overwritten."""
        ...


class Independent:
    """No circuit: every position for itself."""

    needs_all_open = False

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        return self._chooser.choose(canvas, step, logits)


class OneShot:
    """The circuit speaks once a step; all of the step's tokens come from the coupled logits."""

    needs_all_open = True

    def __init__(
        self,
        chooser: Chooser,
        rule: WindowRule,
        circuit: Circuit,
        pc_temperature: float,
        coupled_logits: Callable[[Posterior, Tensor], Tensor],
    ) -> None:
        self._chooser, self._rule, self._circuit = chooser, rule, circuit
        self._pc_temperature, self._coupled_logits = pc_temperature, coupled_logits

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        placement = self._rule(canvas, step, logits)
        step = replace(step, committable=placement.committable)
        if len(placement.windows.row):
            evidence = Evidence.of(self._circuit, canvas, step, placement.windows, logits, self._pc_temperature)
            evidence.count_into(canvas)
            evidence.write(logits, self._coupled_logits(evidence.posterior, evidence.draws(canvas, step)))
        return self._chooser.choose(canvas, step, logits, placement.forced)


class AnyOrder:
    """Any-order sampling (section 5.1): the step's tokens are committed one by one.

    Each comes from its exact conditional given those before it. The backbone is not asked again within the step, and
    windows and gates stay as the step found them.
    """

    needs_all_open = True

    def __init__(self, chooser: Chooser, rule: WindowRule, circuit: Circuit, pc_temperature: float) -> None:
        self._chooser, self._rule, self._circuit = chooser, rule, circuit
        self._pc_temperature = pc_temperature

    def decide(self, canvas: Canvas, step: Step, logits: Tensor) -> Decision:
        """See `Coupling`."""
        placement = self._rule(canvas, step, logits)
        if not len(placement.windows.row):
            return self._chooser.choose(
                canvas, replace(step, committable=placement.committable), logits, placement.forced
            )
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
            latest = self._chooser.choose(canvas, one, logits, forced, turn=turn)
            decision = latest if decision is None else decision.then(latest)
            left = left & ~latest.commit
            answer = tokens[:, canvas.answer_start :]
            answer.scatter_(1, step.columns, latest.tokens.where(latest.commit, answer.gather(1, step.columns)))
            evidence = evidence.observe(tokens, canvas.ids.mask)
            turn += 1
            # A row whose surest token does not reach the floor has committed nothing, and is through.
            active = active & latest.commit.any(dim=1) & left.any(dim=1) & (step.budget > turn)
        assert decision is not None  # a step without a budget is not asked for
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


COUPLED_LOGITS: Final = {"latent": latent_logits, "map": map_logits, "marginal": marginal_logits}
