"""What a log-likelihood is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Likelihood:
    """What a model thinks of one target after its prompt.

    value: nats, summed over the target's tokens.
    stderr: standard error of `value` over the random masks; 0.0 where nothing is drawn, None for a single mask.
    num_forward: canvases that the network saw for this target (NFE); equal ones of one set of masks are seen once.
    is_greedy: whether decoding one token a step, the surest first, writes the target; None where nobody asked.
    num_circuit: circuit evaluations, one for each window whose gate was open.
    num_impossible: those of them whose evidence the circuit ruled out, so that the backbone spoke alone.
    """

    value: float
    stderr: float | None
    num_forward: int
    is_greedy: bool | None = None
    num_circuit: int = 0
    num_impossible: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """A likelihood as it is done.

    index: of its pair.
    seconds: its share of the passes' wall time.
    """

    index: int
    likelihood: Likelihood
    seconds: float
