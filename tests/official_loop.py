"""The official loop, as the measure of the project's: LLaDA's and CoDD's `generate`, step by step, from what they do.

It is plain on purpose: batch 1, the language-model head and a float64 softmax over the whole canvas, no early end, and
in the circuit a Python loop over the positions. Greedy decoding only (spec: temperature 0 and no `random` confidence),
because official random draws cannot be repeated. It passes the official code's goldens (test_official_loop.py), and
`scripts/bench.py decode` measures against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval_codd import DecodingConfig
    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.circuits import HMM

Draws = Callable[[int, "Tensor"], "Tensor"]
"""(number of the step, columns [T] of the canvas) -> uniform numbers [T], which latents are drawn with."""


@torch.inference_mode()
def reference_decode(
    backbone: Backbone,
    prompt: Sequence[int],
    config: DecodingConfig,
    circuit: HMM | None = None,
    draws: Draws | None = None,
    *,
    num_steps: int | None = None,
) -> list[int]:
    """Decode one answer as the official code does (LLaDA's generate.py, CoDD's llada_generate.py).

    Args:
        backbone: its transformers model is called, nothing of this project.
        prompt: token ids.
        config: of the block paradigm and greedy; `stop_at_eos` is not read, there is no early end.
        circuit: couples the active block where its gate is open.
        draws: uniform numbers for the latent paths; torch's own when not given.
        num_steps: stop after so many steps of the schedule; None runs all.

    Returns:
        [gen_length] token ids; mask ids where nothing was decided.
    """
    eos = backbone.eos_id if config.eos_id is None else config.eos_id
    eot = backbone.eot_id if config.eot_id is None else config.eot_id
    mask = backbone.mask_id if config.mask_id is None else config.mask_id
    canvas = torch.full((1, len(prompt) + config.gen_length), mask, device=backbone.device)
    canvas[0, : len(prompt)] = torch.tensor(prompt, device=backbone.device)
    given = canvas != mask
    steps_a_block = config.num_steps // config.num_blocks
    for block in range(config.num_blocks):
        start = len(prompt) + block * config.block_length
        end = start + config.block_length
        transfers = transfer_counts(int((canvas[0, start:end] == mask).sum()), steps_a_block)
        for step, num_transfer in enumerate(transfers):
            number = block * steps_a_block + step
            if number == num_steps:
                return canvas[0, len(prompt) :].tolist()
            masked = canvas == mask
            logits = _forward(backbone, canvas, given, mask, config.cfg_scale)
            if config.logits_eos_inf:
                logits[:, :, eos] = -torch.inf
            if circuit is not None and _is_open(masked[0, start:end], config):
                columns = torch.arange(start, end, device=canvas.device)
                uniform = draws(number, columns) if draws else torch.rand(len(columns), device=canvas.device)
                observed = canvas[0, start:end].masked_fill(masked[0, start:end], -1)
                logits[0, start:end] = couple(
                    circuit, logits[0, start:end], observed, config.pc_temperature, uniform
                ).to(logits.dtype)
            candidates = logits.argmax(dim=-1)
            if config.confidence_eos_eot_inf:
                logits[:, :, [eos, eot]] = -torch.inf
            confidence = _CONFIDENCES[config.alg](logits, candidates)
            confidence[:, end:] = -torch.inf
            confidence = confidence.masked_fill(~masked, -torch.inf)
            if num_transfer:
                chosen = confidence[0].topk(num_transfer).indices
                canvas[0, chosen] = torch.where(masked[0, chosen], candidates[0, chosen], canvas[0, chosen])
    return canvas[0, len(prompt) :].tolist()


def transfer_counts(num_masked: int, num_steps: int) -> list[int]:
    """How many tokens each step of a block commits: an equal share, the first ones taking the rest."""
    base, extra = divmod(num_masked, num_steps)
    return [base + (step < extra) for step in range(num_steps)]


def couple(circuit: HMM, logits: Tensor, observed: Tensor, pc_temperature: float, uniform: Tensor) -> Tensor:
    """[T, V] float32: log evidence plus log emission of one drawn latent path (`apply_pc_logits`).

    Args:
        circuit: with one transition and one emission table for all positions, as the published ones.
        logits: [T, V] of the block.
        observed: [T] int64, the token where known, -1 where masked.
        pc_temperature: divides the logits.
        uniform: [T] numbers that the latents are drawn with.
    """
    log_evidence = (logits.float() / pc_temperature).log_softmax(dim=-1)
    log_leaf = log_leaves(circuit, log_evidence, observed)
    log_beta = backward(circuit, log_leaf)
    return emit(circuit, log_evidence, draw(circuit, log_leaf, log_beta, uniform))


def log_leaves(circuit: HMM, log_evidence: Tensor, observed: Tensor) -> Tensor:
    """[T, H]: log sum_v E[h, v] w_t(v) at a masked position, log E[h, x_t] w_t(x_t) at a known one.

    One matrix product over all positions. The official kernel reads the table again for each of them, so this
    reference is the faster one here.
    """
    leaves = (log_evidence.exp() @ circuit.emission.T.to(log_evidence.dtype)).log()
    for t in range(circuit.num_positions):
        token = observed[t]
        if token >= 0:
            leaves[t] = circuit.emission[:, token].log() + log_evidence[t, token]
    return leaves


def backward(circuit: HMM, log_leaf: Tensor) -> Tensor:
    """[T, H]: log beta_t(i) = log sum_j A[i, j] leaf_t+1(j) beta_t+1(j), a position at a time from the right."""
    log_beta = torch.zeros_like(log_leaf)
    for t in range(circuit.num_positions - 2, -1, -1):
        message = log_leaf[t + 1] + log_beta[t + 1]
        top = message.max()
        log_beta[t] = (circuit.transition @ (message - top).exp()).log() + top
    return log_beta


def log_partition(circuit: HMM, log_leaf: Tensor, log_beta: Tensor) -> Tensor:
    """Log Z, a scalar."""
    return (circuit.initial.log() + log_leaf[0] + log_beta[0]).logsumexp(dim=0)


def draw(circuit: HMM, log_leaf: Tensor, log_beta: Tensor, uniform: Tensor) -> list[Tensor]:
    """T latents, a position at a time from the left: one joint path from p(z | evidence)."""
    latents: list[Tensor] = []
    for t in range(circuit.num_positions):
        prior = circuit.initial if t == 0 else circuit.transition[latents[-1]]
        cumulative = (prior.log() + log_leaf[t] + log_beta[t]).softmax(dim=0).cumsum(dim=0)
        latents.append((cumulative > uniform[t] * cumulative[-1]).int().argmax())
    return latents


def emit(circuit: HMM, log_evidence: Tensor, latents: Sequence[Tensor]) -> Tensor:
    """[T, V]: log evidence plus log emission of the latents, a position at a time."""
    rows = [log_evidence[t] + circuit.emission[latents[t]].log() for t in range(circuit.num_positions)]
    return torch.stack(rows)


def _forward(backbone: Backbone, canvas: Tensor, given: Tensor, mask: int, cfg_scale: float) -> Tensor:
    """[1, L, V], over the whole canvas."""
    if not cfg_scale:
        return backbone.model(input_ids=canvas, use_cache=False).logits
    both = torch.cat([canvas, canvas.masked_fill(given, mask)])
    conditional, unconditional = backbone.model(input_ids=both, use_cache=False).logits.chunk(2)
    return unconditional + (cfg_scale + 1) * (conditional - unconditional)


def _is_open(masked: Tensor, config: DecodingConfig) -> bool:
    share = masked.double().mean().item()
    return share > config.pc_frac if config.reverse_frac else share < config.pc_frac


def _low_confidence(logits: Tensor, candidates: Tensor) -> Tensor:
    return logits.double().softmax(dim=-1).gather(-1, candidates[..., None])[..., 0]


def _margin(logits: Tensor, candidates: Tensor) -> Tensor:
    top = logits.softmax(dim=-1).topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


def _entropy(logits: Tensor, candidates: Tensor) -> Tensor:
    probabilities = logits.softmax(dim=-1)
    return (probabilities * torch.log(probabilities + 1e-10)).sum(dim=-1)


_CONFIDENCES = {"low_confidence": _low_confidence, "margin": _margin, "entropy": _entropy}
