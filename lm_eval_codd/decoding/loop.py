"""The denoising loop: it owns the canvas, the batch, the clock and the counts; a decoder says what each step does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from lm_eval_codd.backbones.routed import routed, warn_of_all_masks
from lm_eval_codd.decoding.calls import check_call
from lm_eval_codd.decoding.decoders import make_decoder
from lm_eval_codd.decoding.network import make_network
from lm_eval_codd.decoding.queue import Clock, Queue
from lm_eval_codd.decoding.requirements import (
    check_decoder,
    check_drafts,
    check_keeps_rounds,
    check_padding,
    check_planner,
    check_room,
    check_rows,
    resolve_ids,
)
from lm_eval_codd.decoding.results import Finished, Generation, StepEvent, event_of, generations
from lm_eval_codd.decoding.rounds import Rounds
from lm_eval_codd.decoding.step import Step

if TYPE_CHECKING:
    from lm_eval_codd.decoding.canvas import Canvas
    from lm_eval_codd.decoding.protocols import Backbone, Circuit, MovableCircuit
    from lm_eval_codd.settings import DecodingConfig


def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    circuit: Circuit | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    *,
    drafts: Sequence[Sequence[int]] | None = None,
    fixed: Sequence[Sequence[bool]] | None = None,
    planner: Backbone | None = None,
    repeats: Sequence[int] | None = None,
    batch_size: int | None = None,
    compare: bool = False,
    keep_rounds: bool = False,
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
        drafts: per prompt a list of ids of its answer so far, mask ids among them or not, any lengths; `gen_length` is
            not read then. For decoders that revise.
        fixed: per draft a list of bools: positions that never change, and stay masked if they are. None: the decoder
            says.
        planner: scores what is decided in place of the backbone, for `decoder=p2`; of the same vocabulary.
        repeats: which repetition of its prompt a row is (for several draws of one prompt); 0 by default.
        batch_size: rows under way at once; where one is through, the next prompt takes its place. None: all of them.
        compare: have each `StepEvent` say what the backbone alone would have decided, at the cost of deciding twice.
        keep_rounds: have each `Generation` say what every step made of it (`rounds`) and how sure the backbone was of
            its first tokens (`first_confidence`), for `decoder=corrective`.

    Returns:
        A `Generation` a prompt, in order.

    Raises:
        TypeError: text, names or plain data in place of token ids, of what is loaded or of a `DecodingConfig`.
        ValueError: settings that this backbone or circuit cannot serve.
    """
    finished = stream(
        backbone,
        prompts,
        config,
        circuit,
        on_step,
        drafts=drafts,
        fixed=fixed,
        planner=planner,
        repeats=repeats,
        batch_size=batch_size,
        compare=compare,
        keep_rounds=keep_rounds,
    )
    by_index = {one.index: one.generation for one in finished}
    empty = drafts is None and not all(map(len, prompts))
    warn_of_all_masks(config, has_empty_prompt=empty, cfg_scale=config.cfg_scale)
    return [by_index[index] for index in range(len(prompts))]


@torch.inference_mode()
def stream(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    circuit: Circuit | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    *,
    drafts: Sequence[Sequence[int]] | None = None,
    fixed: Sequence[Sequence[bool]] | None = None,
    planner: Backbone | None = None,
    repeats: Sequence[int] | None = None,
    batch_size: int | None = None,
    compare: bool = False,
    keep_rounds: bool = False,
) -> Iterator[Finished]:
    """Decode as `generate` does, and yield each answer when its row is through.

    The longest prompts come first, and equal lengths together, so that the batch is padded as little as can be.

    Yields:
        Every prompt's answer once, in the order in which they are done.

    Raises:
        TypeError: text, names or plain data in place of token ids, of what is loaded or of a `DecodingConfig`.
        ValueError: settings that this backbone or circuit cannot serve.
    """
    check_call(backbone, prompts, config, circuit, drafts, fixed, planner)
    if not prompts:
        return
    config = config.with_rule(backbone.family)
    ids = resolve_ids(backbone, config)
    begun = check_drafts(drafts, fixed, len(prompts))
    backbone = routed(backbone, config, ids.mask)
    check_room(backbone, prompts, config, circuit, begun)
    check_rows(len(prompts), repeats, batch_size)
    check_padding(prompts, config, begun, batch_size)
    check_planner(backbone, planner, config)
    device = torch.device(getattr(backbone, "device", "cpu"))
    if circuit is not None and getattr(circuit, "device", device) != device:
        circuit = cast("MovableCircuit", circuit).to(device=device)
    decoder = make_decoder(config, backbone.family, ids, device, circuit, planner)
    without_circuit = make_decoder(config, backbone.family, ids, device, planner=planner) if compare else None
    check_decoder(decoder, config, begun)
    takes_pieces = getattr(decoder, "takes_pieces", False)
    rounds = None
    if keep_rounds:
        check_keeps_rounds(decoder, config)
        rounds = Rounds(config.steps)

    def start(canvas: Canvas) -> None:
        decoder.start(canvas)
        if rounds is not None:
            rounds.start(canvas)

    room = getattr(decoder, "room", None)
    shown = None if room is None else config.gen_length
    num_capped = getattr(decoder, "num_capped", None)
    queue = Queue(prompts, repeats, batch_size, config, ids, device, start=start, drafts=begun, room=room)
    network = make_network(backbone, config, stores=getattr(decoder, "stores", False))
    clock = Clock()

    canvas = queue.refill(None)
    while canvas is not None:
        look = decoder.look(canvas)
        parts = [] if look.part is None else [look.part]
        numbers = torch.stack([look.wanted.sum(dim=1), look.block, look.num_open, *parts])
        num_wanted, blocks, num_open, *of_parts = numbers.tolist()  # the step's one wait for the device
        clock.tick(canvas.indices)
        if not all(num_wanted):
            done = canvas.keep([row for row, number in enumerate(num_wanted) if not number])
            capped = None if num_capped is None else num_capped(done)
            for index, generation in generations(done, config, shown, capped):
                seconds = clock.stop(index)
                handed_over = time.perf_counter()
                yield Finished(index, generation, seconds)
                clock.skip(time.perf_counter() - handed_over)
            canvas = queue.refill(
                canvas.keep([row for row, number in enumerate(num_wanted) if number], trim=network.trim)
            )
            continue
        step = Step.of(canvas, look, num_wanted, blocks, num_open, *of_parts)
        source = network.logits(canvas, step)
        logits: Any = source if takes_pieces else source.whole()
        if config.logits_eos_inf:
            logits[..., ids.eos] = -torch.inf
        # Before the circuit writes into the logits; draws are functions of row and step, so the second are the same.
        alone = without_circuit.decide(canvas, step, logits) if without_circuit else None
        decision = decoder.decide(canvas, step, logits)
        canvas.num_nonfinite += step.spread(~source.are_finite, False).any(dim=1)
        del logits, source  # not beside the next step's
        if rounds is not None:
            rounds.note(canvas, step, decision)
        before = canvas.tokens.clone() if on_step is not None and decoder.revises else None
        canvas.commit(step.columns, decision.tokens, decision.commit)
        canvas.state.update(decision.state)
        canvas.num_forward += 1
        canvas.num_planner += int(planner is not None)
        canvas.step = step.number + 1
        if on_step is not None:
            on_step(event_of(canvas, step, decision, alone, before))
