"""The denoising loop: it owns the canvas, the batch, the ends and the counts; objects chosen beforehand do the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.decoding.canvas import Canvas, Ids
from lm_eval_codd.decoding.coupling import check_vocabulary, make_coupling
from lm_eval_codd.decoding.guidance import step_logits
from lm_eval_codd.decoding.schedule import Plan, make_schedule
from lm_eval_codd.decoding.step import Decider, Decision, Step

if TYPE_CHECKING:
    from lm_eval_codd.decoding.protocols import Backbone, Circuit
    from lm_eval_codd.settings import DecodingConfig


@dataclass(frozen=True)
class Generation:
    """One decoded answer.

    tokens: gen_length ids. With `stop_at_eos` everything after the first end token is eos; positions that were
        never decided (the backbone predicted the mask itself) hold the mask id.
    num_answer_tokens: tokens before the first end token, gen_length when there is none.
    num_forward: network evaluations that this row took part in (NFE).
    num_circuit: circuit evaluations made for this row.
    num_impossible: those of them whose evidence the circuit ruled out, so that the backbone decided alone.
    """

    tokens: list[int]
    num_answer_tokens: int
    num_forward: int
    num_circuit: int = 0
    num_impossible: int = 0


@dataclass(frozen=True)
class StepEvent:
    """What one step did, for `on_step`. R rows are still under way; P columns of each were looked at.

    rows: [R] int64, places in the list of prompts.
    number: [R] int64, the step's number in each row's schedule.
    answer: [R, gen_length] int64, after the step.
    columns: [R, P] int64, positions in the answer.
    tokens, confidence, commit: [R, P], candidates, how sure they are, and which were committed.
    num_circuit: [R] int64, circuit evaluations so far.
    alone: what the backbone alone would have decided on the same canvas; None unless `compare` asked for it.
    """

    rows: Tensor
    number: Tensor
    answer: Tensor
    columns: Tensor
    tokens: Tensor
    confidence: Tensor
    commit: Tensor
    num_circuit: Tensor
    alone: Decision | None = None


@torch.inference_mode()
def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    circuit: Circuit | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    *,
    repeats: Sequence[int] | None = None,
    compare: bool = False,
) -> list[Generation]:
    """Decode an answer to each prompt, all in one batch.

    What a row decodes to depends on its prompt, its repeat index, the settings and the seed, never on the other rows.

    Args:
        backbone: the diffusion language model.
        prompts: token ids, any lengths.
        config: every setting.
        circuit: couples the parallel predictions (CoDD); None decodes from the backbone alone. One that lies on
            another device than the backbone is copied there for this call.
        on_step: called after each step of the batch.
        repeats: which repetition of its prompt a row is (for several draws of one prompt); 0 by default.
        compare: have each `StepEvent` say what the backbone alone would have decided, at the cost of deciding twice.

    Returns:
        A `Generation` a prompt, in order.

    Raises:
        ValueError: settings that this backbone or circuit cannot serve.
    """
    if not prompts:
        return []
    ids = _resolve_ids(backbone, config)
    _check(backbone, prompts, config, circuit)
    device = torch.device(getattr(backbone, "device", "cpu"))
    if circuit is not None and getattr(circuit, "device", device) != device:
        circuit = circuit.to(device=device)
    repeats = [0] * len(prompts) if repeats is None else repeats
    canvas = Canvas.from_prompts(prompts, config.gen_length, ids, seed=config.seed, repeats=repeats, device=device)
    schedule = make_schedule(config, canvas.tokens.device)
    decider = Decider(config, backbone.family, ids)
    coupling = make_coupling(config, circuit, decider)
    finished: list[Generation | None] = [None] * len(prompts)

    while len(canvas.index):
        plan = schedule.next(canvas)
        going = plan.budget > 0
        if config.stop_at_eos:
            going &= ~canvas.ended()
        wanted = plan.open if coupling.needs_all_open else plan.committable
        num_wanted = torch.where(going, wanted.sum(dim=1), 0).tolist()  # waits for the device
        if not all(num_wanted):
            done = [row for row, n in enumerate(num_wanted) if not n]
            _finish(canvas.keep(canvas.index.new_tensor(done)), config, finished)
            canvas = canvas.keep(canvas.index.new_tensor([row for row, n in enumerate(num_wanted) if n]))
            continue
        step = _make_step(canvas, plan, wanted, max(num_wanted))
        logits = step_logits(backbone, canvas, step.columns, config.cfg_scale)
        if config.logits_eos_inf:
            logits[..., ids.eos] = -torch.inf
        # Before the circuit writes into the logits; draws are functions of row and step, so the second are the same.
        alone = decider.decide(step, logits) if compare else None
        decision = coupling.decide(canvas, step, logits)
        canvas.commit(step.columns, decision.tokens, decision.commit)
        canvas.num_forward += 1
        canvas.step = plan.step + 1
        if on_step is not None:
            on_step(_event(canvas, plan, step, decision, alone))
    return finished


def _make_step(canvas: Canvas, plan: Plan, wanted: Tensor, width: int) -> Step:
    """Collect the wanted positions to the left; rows with fewer than `width` are filled up with others."""
    columns = wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
    return Step(columns, plan.committable.gather(1, columns), plan.budget, canvas.keys, plan.step)


def _finish(done: Canvas, config: DecodingConfig, finished: list[Generation | None]) -> None:
    is_end = done.is_end()
    length = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1), config.gen_length)
    answer = done.answer
    if config.stop_at_eos:
        beyond = torch.arange(config.gen_length, device=answer.device) > length[:, None]
        answer = answer.masked_fill(beyond, done.ids.eos)
    columns = (done.index, answer, length, done.num_forward, done.num_circuit, done.num_impossible)
    for index, *values in zip(*(column.tolist() for column in columns), strict=True):
        finished[index] = Generation(*values)


def _event(canvas: Canvas, plan: Plan, step: Step, decision: Decision, alone: Decision | None) -> StepEvent:
    return StepEvent(
        rows=canvas.index,
        number=plan.step,
        answer=canvas.answer.clone(),
        columns=step.columns,
        tokens=decision.tokens,
        confidence=decision.confidence,
        commit=decision.commit,
        num_circuit=canvas.num_circuit.clone(),
        alone=alone,
    )


def _resolve_ids(backbone: Backbone, config: DecodingConfig) -> Ids:
    def pick(name: str) -> int | None:
        given = getattr(config, name)
        value = getattr(backbone, name) if given is None else given
        if value is not None and not 0 <= value < backbone.vocab_size:
            raise ValueError(f"`{name}={value}` is outside the vocabulary of {backbone.vocab_size} tokens")
        return value

    mask, eos, eot = pick("mask_id"), pick("eos_id"), pick("eot_id")
    for name, value in (("mask_id", mask), ("eos_id", eos)):
        if value is None:
            raise ValueError(f"the checkpoint does not say its `{name}`; give `{name}=`")
    for name, value in (("eos_id", eos), ("eot_id", eot)):
        if value == mask:
            raise ValueError(f"`{name}={value}` is the mask token too, so every answer would be over; give another id")
    return Ids(mask, (eos,) if eot is None or eot == eos else (eos, eot))


def _check(
    backbone: Backbone, prompts: Sequence[Sequence[int]], config: DecodingConfig, circuit: Circuit | None
) -> None:
    max_length = getattr(backbone, "max_length", None)
    longest = max(map(len, prompts))
    if max_length is not None and longest + config.gen_length > max_length:
        raise ValueError(
            f"`gen_length={config.gen_length}` after a prompt of {longest} tokens exceeds the model's {max_length}; "
            f"shorten the prompt to {max_length - config.gen_length} tokens or lower `gen_length`"
        )
    for prompt in prompts:
        if len(prompt) and not 0 <= min(prompt) <= max(prompt) < backbone.vocab_size:
            raise ValueError(f"a prompt holds a token id outside the vocabulary of {backbone.vocab_size} tokens")
    if circuit is not None:
        check_vocabulary(backbone, circuit)
