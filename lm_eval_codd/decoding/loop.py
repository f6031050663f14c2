"""The denoising loop: it owns the canvas, the batch, the clock and the counts; a decoder says what each step does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lm_eval_codd.decoding.calls import check_call
from lm_eval_codd.decoding.canvas import Canvas, Ids
from lm_eval_codd.decoding.coupling import check_vocabulary
from lm_eval_codd.decoding.decoders import make_decoder
from lm_eval_codd.decoding.network import make_network
from lm_eval_codd.decoding.queue import Clock, Queue
from lm_eval_codd.decoding.step import Decision, Step

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
    num_nonfinite: steps in which the backbone's logits held NaN or +inf at a position that the step looked at, or
        nothing but -inf. What such a step decides means nothing; a token of -inf is merely ruled out.
    """

    tokens: list[int]
    num_answer_tokens: int
    num_forward: int
    num_circuit: int = 0
    num_impossible: int = 0
    num_nonfinite: int = 0


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


class Finished(NamedTuple):
    """An answer as it leaves the loop.

    index: of its prompt.
    seconds: its share of the loop's wall time, which the rows under way share equally. What the caller does between
        two answers is not the loop's.
    """

    index: int
    generation: Generation
    seconds: float


def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    circuit: Circuit | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    *,
    repeats: Sequence[int] | None = None,
    batch_size: int | None = None,
    compare: bool = False,
) -> list[Generation]:
    """Decode an answer to each prompt.

    What a row decodes to depends on its prompt, its repeat index, the settings and the seed, never on the other rows.

    Args:
        backbone: the diffusion language model.
        prompts: token ids, any lengths.
        config: every setting.
        circuit: couples the parallel predictions (CoDD); None decodes from the backbone alone. One that lies on
            another device than the backbone is copied there for this call.
        on_step: called after each step of the batch.
        repeats: which repetition of its prompt a row is (for several draws of one prompt); 0 by default.
        batch_size: rows under way at once; where one is through, the next prompt takes its place. None: all of them.
        compare: have each `StepEvent` say what the backbone alone would have decided, at the cost of deciding twice.

    Returns:
        A `Generation` a prompt, in order.

    Raises:
        TypeError: text, names or plain data in place of token ids, of what is loaded or of a `DecodingConfig`.
        ValueError: settings that this backbone or circuit cannot serve.
    """
    finished = stream(
        backbone, prompts, config, circuit, on_step, repeats=repeats, batch_size=batch_size, compare=compare
    )
    by_index = {index: generation for index, generation, _ in finished}
    return [by_index[index] for index in range(len(prompts))]


@torch.inference_mode()
def stream(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    circuit: Circuit | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    *,
    repeats: Sequence[int] | None = None,
    batch_size: int | None = None,
    compare: bool = False,
) -> Iterator[Finished]:
    """Decode as `generate` does, and yield each answer when its row is through.

    The longest prompts come first, and equal lengths together, so that the batch is padded as little as can be.

    Yields:
        Every prompt's answer once, in the order in which they are done.

    Raises:
        TypeError: text, names or plain data in place of token ids, of what is loaded or of a `DecodingConfig`.
        ValueError: settings that this backbone or circuit cannot serve.
    """
    check_call(backbone, prompts, config, circuit)
    if not prompts:
        return
    ids = _resolve_ids(backbone, config)
    _check(backbone, prompts, config, circuit)
    _check_rows(len(prompts), repeats, batch_size)
    device = torch.device(getattr(backbone, "device", "cpu"))
    if circuit is not None and getattr(circuit, "device", device) != device:
        circuit = circuit.to(device=device)
    decoder = make_decoder(config, backbone.family, ids, device, circuit)
    without_circuit = make_decoder(config, backbone.family, ids, device) if compare else None
    queue = Queue(prompts, repeats, batch_size, config, ids, device, start=decoder.start)
    network = make_network(backbone, config)
    clock = Clock()

    canvas = queue.refill(None)
    while canvas is not None:
        look = decoder.look(canvas)
        numbers = torch.stack([look.wanted.sum(dim=1), look.block, look.num_open])
        num_wanted, blocks, num_open = numbers.tolist()  # the step's one wait for the device
        clock.tick(canvas.indices)
        if not all(num_wanted):
            done = canvas.keep([row for row, number in enumerate(num_wanted) if not number])
            for index, generation in _generations(done, config):
                seconds = clock.stop(index)
                handed_over = time.perf_counter()
                yield Finished(index, generation, seconds)
                clock.skip(time.perf_counter() - handed_over)
            canvas = queue.refill(canvas.keep([row for row, number in enumerate(num_wanted) if number]))
            continue
        step = Step.of(canvas, look, num_wanted, blocks, num_open)
        logits = network.logits(canvas, step)
        canvas.num_nonfinite += _are_nonfinite(step, logits)
        if config.logits_eos_inf:
            logits[..., ids.eos] = -torch.inf
        # Before the circuit writes into the logits; draws are functions of row and step, so the second are the same.
        alone = without_circuit.decide(canvas, step, logits) if without_circuit else None
        decision = decoder.decide(canvas, step, logits)
        del logits  # not beside the next step's
        canvas.commit(step.columns, decision.tokens, decision.commit)
        canvas.state.update(decision.state)
        canvas.num_forward += 1
        canvas.step = step.number + 1
        if on_step is not None:
            on_step(_event(canvas, step, decision, alone))


def _generations(done: Canvas, config: DecodingConfig) -> Iterator[tuple[int, Generation]]:
    is_end = done.is_end()
    length = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1), config.gen_length)
    answer = done.answer
    if config.stop_at_eos:
        beyond = torch.arange(config.gen_length, device=answer.device) > length[:, None]
        answer = answer.masked_fill(beyond, done.ids.eos)
    counts = (done.num_forward, done.num_circuit, done.num_impossible, done.num_nonfinite)
    for index, *values in zip(done.indices, *(column.tolist() for column in (answer, length, *counts)), strict=True):
        yield index, Generation(*values)


def _are_nonfinite(step: Step, logits: Tensor) -> Tensor:
    """[B] bool: rows that have a position whose largest logit of [N, V] is not a number to compare with."""
    return step.spread(~logits.amax(dim=-1).isfinite(), False).any(dim=1)


def _event(canvas: Canvas, step: Step, decision: Decision, alone: Decision | None) -> StepEvent:
    return StepEvent(
        rows=torch.tensor(canvas.indices),
        number=step.number,
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


def _check_rows(num_prompts: int, repeats: Sequence[int] | None, batch_size: int | None) -> None:
    if repeats is not None and len(repeats) != num_prompts:
        raise ValueError(f"`repeats` has {len(repeats)} numbers for {num_prompts} prompts; give one a prompt, or None")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size={batch_size}` must be at least 1, or None for all prompts at once")


def _check(
    backbone: Backbone, prompts: Sequence[Sequence[int]], config: DecodingConfig, circuit: Circuit | None
) -> None:
    if not getattr(backbone, "decodes", True):
        raise ValueError(
            f"`{backbone.family}` checkpoints are decoded by rules of their own, which no decoder here follows yet; "
            "`backbone.logits` works"
        )
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
