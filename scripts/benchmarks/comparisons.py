"""What `decode` measures, a function a question, each giving rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from benchmarks import parts
from benchmarks.model import make_sure, random_prompts
from benchmarks.parts import Parts, watched
from benchmarks.table import Row, say
from benchmarks.workload import Run, Workload, timed
from lm_eval_codd.tensors.noise import Stream, row_keys, uniforms
from tests.official_loop import reference_decode

if TYPE_CHECKING:
    from benchmarks.model import Shape
    from benchmarks.roofline import Ceilings
    from lm_eval_codd import DecodingConfig, Generation
    from lm_eval_codd.circuits import HMM

_MODES: Final = {
    "prefix": {"cache": "prefix"},
    "dual": {"cache": "dual"},
    "threshold": {"threshold": 0.9},
    "dual_threshold": {"cache": "dual", "threshold": 0.9},
}


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes:
        workload: backbone and requests.
        shape: of the backbone.
        config: exact mode, with early end.
        circuit: None leaves circuits out.
        timed_steps: of decodes without early end; the rest is scaled.
        rounds: how often what is compared is timed, in turn; the fastest counts.
        rounds_of_modes: how often the requests are decoded one after the other with caches and thresholds.
    """

    workload: Workload
    shape: Shape
    config: DecodingConfig
    circuit: HMM | None
    timed_steps: int
    rounds: int
    rounds_of_modes: int

    def scaled(self, num_steps: int) -> str:
        """How a decode without early end was timed."""
        steps = self.config.num_steps
        return f"all {steps} steps" if num_steps >= steps else f"first {num_steps} of {steps} steps, scaled"


@dataclass(frozen=True)
class Measured:
    """A decode of the project's loop, where its time went, and the bytes that it took on a GPU, with weights."""

    run: Run
    parts: Parts
    peak: int | None


def against_official(bench: Bench, ceilings: Ceilings) -> tuple[Run, list[Row]]:
    """Exact mode with and without early end against the official loop. Also gives the run with early end."""
    workload, config, how = bench.workload, bench.config, bench.scaled(bench.timed_steps)
    to_the_end = replace(config, stop_at_eos=False)
    _warm_up(bench, config, None)
    _official(bench, None, num_steps=1)
    official, exact, whole = [], [], []
    for _ in range(bench.rounds):
        say(f"the official loop, one request, {how}")
        official.append(_official(bench, None, num_steps=bench.timed_steps))
        say(f"exact mode, {len(workload.prompts)} requests")
        exact.append(_measured(bench, lambda: workload.decode(config)))
        say(f"exact mode without early end, {how}")
        whole.append(workload.decode(to_the_end, num_forward=bench.timed_steps).seconds_per_sample)
    (reference, answer), ours = min(official, key=lambda run: run[0].seconds), min(exact, key=lambda m: m.run.seconds)
    workload.check_ends(ours.run.outputs)
    theirs = reference.seconds_per_sample
    ratio, ratio_without_end = theirs / ours.run.seconds_per_sample, theirs / min(whole)
    rows = [
        Row("decode.samples_per_second_ratio", ratio, "x", note="exact mode against the official loop"),
        Row(
            "decode.samples_per_second_ratio_without_end",
            ratio_without_end,
            "x",
            note="the same, every answer decoded to its last position, as the official code does",
        ),
        Row("decode.official.seconds_per_sample", theirs, "s", note=f"batch 1, {how}"),
        _agreement("decode.official.equal_answers", bench, answer, ours.run.outputs[0]),
        *_figures("decode.exact", bench, ours),
        Row("decode.exact_without_end.seconds_per_sample", min(whole), "s", note=how),
        *(_reached(part, ours, ceilings) for part in (parts.BACKBONE, parts.HEAD)),
    ]
    return ours.run, rows


def with_circuit(bench: Bench, circuit: HMM, ceilings: Ceilings) -> Iterator[Row]:
    """Exact mode with a circuit: against the official loop, and its share of the time."""
    workload, config = bench.workload, bench.config
    num_steps = min(bench.timed_steps, config.num_steps // config.num_blocks)
    how = bench.scaled(num_steps)
    say(f"the official loop with a circuit, one request, {how}")
    single = circuit.to(torch.float32)  # the official tables are
    _official(bench, single, num_steps=1)
    official, answer = _official(bench, single, num_steps=num_steps)
    _warm_up(bench, config, circuit)
    say(f"exact mode with a circuit, {len(workload.prompts)} requests")
    ours = _measured(bench, lambda: workload.decode(config, circuit))
    workload.check_ends(ours.run.outputs)
    ratio = official.seconds_per_sample / ours.run.seconds_per_sample
    note = f"{circuit.num_latents} latents, pc_frac {config.pc_frac:g}"
    yield Row("decode.circuit.samples_per_second_ratio", ratio, "x", note=note)
    yield Row("decode.circuit.official.seconds_per_sample", official.seconds_per_sample, "s", note=f"batch 1, {how}")
    yield _agreement("decode.circuit.official.equal_answers", bench, answer, ours.run.outputs[0])
    yield from _figures("decode.circuit", bench, ours)
    added = ours.parts.share(parts.CIRCUIT, parts.COUPLING)
    yield Row("decode.circuit.overhead", 100 * added / (100 - added), "%", note="circuit and coupling over all else")
    yield _reached(parts.CIRCUIT, ours, ceilings)


def approximate_modes(bench: Bench) -> Iterator[Row]:
    """Caches and thresholds against exact mode on the same weights, by answer tokens a second."""
    modes = [(name, settings, None) for name, settings in _MODES.items()]
    if bench.circuit is not None:
        modes.append(("dual_threshold_circuit", _MODES["dual_threshold"], bench.circuit))
    workload = bench.workload
    make_sure(workload.backbone, bench.config.seed)
    # Several batches one after the other, so that rows are at blocks of their own, as in a long run.
    prompts = [prompt for _ in range(bench.rounds_of_modes) for prompt in workload.prompts]
    say(f"exact mode on weights that are surer, {len(prompts)} requests")
    exact = workload.decode(bench.config, prompts=prompts)
    yield Row(
        "decode.modes.exact.tokens_per_second", _tokens_per_second(exact), "tokens/s", note=f"{len(prompts)} requests"
    )
    for name, settings, circuit in modes:
        config = replace(bench.config, **settings)
        say(f"mode {name}, {len(prompts)} requests")
        _warm_up(bench, config, circuit)
        run = workload.decode(config, circuit, prompts=prompts)
        workload.check_ends(run.outputs)
        ratio = _tokens_per_second(run) / _tokens_per_second(exact)
        note = "as sure as the random weights are made" if "threshold" in settings else ""
        yield Row(f"decode.modes.{name}.tokens_per_second_ratio", ratio, "x", note="against exact mode, no circuit")
        yield Row(f"decode.modes.{name}.tokens_per_forward", _tokens_per_forward(run), note=note)


def changed_by_batching(bench: Bench) -> Row:
    """Percent of the answers to prompts of mixed lengths that differ between batch 1 and the benchmark's batch."""
    workload, config = bench.workload, bench.config
    backbone = workload.backbone
    if backbone.device.type == "cpu":
        num_blocks = min(2, config.num_blocks)
        num_steps = num_blocks * config.num_steps // config.num_blocks
        config = replace(config, gen_length=num_blocks * config.block_length, num_steps=num_steps)
    longest = len(workload.prompts[0])
    lengths = [max(1, longest - longest * index // 16) for index in range(len(workload.prompts))]
    prompts = random_prompts(backbone, lengths, seed=1)
    say(f"answers of {config.gen_length} tokens to prompts of {lengths[-1]} to {lengths[0]}, batched and alone")
    batched = workload.decode(config, prompts=prompts).outputs
    alone = workload.decode(config, prompts=prompts, batch_size=1).outputs
    changed = sum(one.tokens != other.tokens for one, other in zip(batched, alone, strict=True))
    is_exact = backbone.dtype == torch.float32
    note = f"answers of {config.gen_length} tokens, batch {workload.batch_size} against 1, prompts of mixed lengths"
    return Row(
        f"decode.changed_by_batching.{str(backbone.dtype).removeprefix('torch.')}",
        100 * changed / len(prompts),
        "%",
        goal="= 0" if is_exact else "",
        note=note if is_exact else f"{note}; random weights are less sure of themselves than trained ones",
    )


def _warm_up(bench: Bench, config: DecodingConfig, circuit: HMM | None) -> None:
    """What a process does once, before anything is timed; on a GPU, kernels are compiled for batches of any size."""
    workload = bench.workload
    if workload.backbone.device.type != "cuda":
        workload.decode(config, circuit, num_forward=1)
        return
    for number in {workload.batch_size, min(3, workload.batch_size), 1}:
        num_forward = config.num_steps // config.num_blocks
        workload.decode(config, circuit, num_forward=num_forward, prompts=workload.prompts[:number])


def _official(bench: Bench, circuit: HMM | None, *, num_steps: int) -> tuple[Run, list[int]]:
    """The official loop on the first request, scaled to all steps, and the answer so far."""
    prompt, config, backbone = bench.workload.prompts[0], bench.config, bench.workload.backbone
    num_steps = min(num_steps, config.num_steps)
    keys = row_keys(config.seed, [prompt], [0], backbone.device)

    def draws(number: int, columns: torch.Tensor) -> torch.Tensor:
        """Those that the project's loop draws this prompt's latents with."""
        return uniforms(keys, Stream.LATENT, torch.tensor([number], device=backbone.device), columns[None])[0]

    seconds, answer = timed(
        backbone.device, lambda: reference_decode(backbone, prompt, config, circuit, draws, num_steps=num_steps)
    )
    return Run(seconds * config.num_steps / num_steps, 1, None), answer


def _measured(bench: Bench, decode: Callable[[], Run]) -> Measured:
    """Timed, with its parts and on a GPU its memory."""
    backbone = bench.workload.backbone
    on_gpu = backbone.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(backbone.device)
    with watched(backbone, bench.shape) as found:
        run = decode()
    return Measured(run, found, torch.cuda.max_memory_allocated(backbone.device) if on_gpu else None)


def _figures(name: str, bench: Bench, measured: Measured) -> Iterator[Row]:
    run, found = measured.run, measured.parts
    yield Row(f"{name}.seconds_per_sample", run.seconds_per_sample, "s", note=f"batch {bench.workload.batch_size}")
    yield Row(f"{name}.tokens_per_second", _tokens_per_second(run), "tokens/s", note="of the answers, up to their ends")
    yield Row(f"{name}.nfe", _num_forward(run) / run.num_requests)
    yield Row(f"{name}.tokens_per_forward", _tokens_per_forward(run))
    for part in (*parts.MODELS, parts.COUPLING, parts.SAMPLING, parts.PYTHON):
        if part in found.seconds:
            yield Row(f"{name}.share.{part}", found.share(part), "%")
    yield Row(f"{name}.outside_models", found.outside_models(), "%", note="outside backbone, lm_head and circuit")
    if measured.peak is not None:
        yield Row(f"{name}.peak_memory", measured.peak / 1e6, "MB", note="allocated, with weights")


def _reached(part: str, measured: Measured, ceilings: Ceilings) -> Row:
    note = "of what its bytes and operations allow"
    return Row(f"decode.roofline.{part}", measured.parts.reached(part, ceilings), "%", note=note)


def _agreement(name: str, bench: Bench, answer: list[int], output: Generation) -> Row:
    """Whether the official loop decided what the project's did, at all that it had decided up to the end."""
    mask = bench.workload.backbone.mask_id
    pairs = zip(answer[: output.num_answer_tokens + 1], output.tokens, strict=False)
    equal = [theirs == ours for theirs, ours in pairs if theirs != mask]
    goal = "= 100" if bench.workload.backbone.dtype == torch.float32 else ""
    note = f"of the {len(equal)} tokens compared, one request{'' if goal else '; the loops round differently'}"
    return Row(name, 100 * sum(equal) / len(equal), "%", goal=goal, note=note)


def _num_forward(run: Run) -> int:
    return sum(output.num_forward for output in run.outputs)


def _tokens_per_forward(run: Run) -> float:
    return sum(output.num_answer_tokens for output in run.outputs) / _num_forward(run)


def _tokens_per_second(run: Run) -> float:
    return sum(output.num_answer_tokens for output in run.outputs) / run.seconds
