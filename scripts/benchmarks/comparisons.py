"""What `decode` measures, a function a question, each giving rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from benchmarks import parts
from benchmarks.memory import Peak, peak_memory
from benchmarks.model import make_sure, random_prompts
from benchmarks.parts import Parts, watched
from benchmarks.reference import reference_decode
from benchmarks.table import Row, say
from benchmarks.workload import Run, Workload, timed
from lm_eval_codd.decoding.noise import Stream, row_keys, uniforms

if TYPE_CHECKING:
    from benchmarks.model import Shape
    from benchmarks.reference import Draws
    from benchmarks.roofline import Ceilings
    from lm_eval_codd import DecodingConfig, Generation
    from lm_eval_codd.circuits import HMM

_MODES: Final = {
    "prefix": {"cache": "prefix"},
    "dual": {"cache": "dual"},
    "threshold": {"threshold": 0.9},
    "dual_threshold": {"cache": "dual", "threshold": 0.9},
}
_MEMORY_NOTE: Final = {
    "cpu": "growth of the process's resident set, without weights",
    "cuda": "allocated, with weights",
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
        baseline: bytes of the process with the weights in it, before anything was decoded.
    """

    workload: Workload
    shape: Shape
    config: DecodingConfig
    circuit: HMM | None
    timed_steps: int
    rounds: int
    baseline: int | None

    @property
    def without_end(self) -> DecodingConfig:
        """Exact mode, every answer decoded to its last position, as the official code does."""
        return replace(self.config, stop_at_eos=False)

    @property
    def scaled(self) -> str:
        """How decodes without early end were timed."""
        steps = self.config.num_steps
        if self.timed_steps >= steps:
            return f"all {steps} steps"
        return f"first {self.timed_steps} of {steps} steps, scaled"


@dataclass(frozen=True)
class Measured:
    """A decode of the project's loop, where its time went, and its peak of memory."""

    run: Run
    parts: Parts
    peak: Peak


def against_official(bench: Bench, ceilings: Ceilings) -> tuple[Run, list[Row]]:
    """Exact mode with and without early end against the official loop. Also gives the run with early end."""
    workload, config = bench.workload, bench.config
    workload.decode(config, num_forward=1)
    _official(bench, num_steps=1)
    official, exact, whole = [], [], []
    for _ in range(bench.rounds):
        say(f"the official loop, one request, {bench.scaled}")
        with peak_memory(workload.backbone.device, bench.baseline) as peak:
            official.append(_official(bench))
        say(f"exact mode, {len(workload.prompts)} requests")
        exact.append(_measured(bench, lambda: workload.decode(config)))
        say(f"exact mode without early end, {bench.scaled}")
        whole.append(workload.decode(bench.without_end, num_forward=bench.timed_steps))
    (reference, answer), ours = min(official, key=lambda run: run[0].seconds), min(exact, key=lambda m: m.run.seconds)
    workload.check_ends(ours.run.outputs)
    without_end = min(whole, key=lambda run: run.seconds).seconds_per_sample
    ratio = reference.seconds_per_sample / ours.run.seconds_per_sample
    rows = [
        Row("decode.samples_per_second_ratio", ratio, "x", note="exact mode against the official loop"),
        Row(
            "decode.samples_per_second_ratio_without_end",
            reference.seconds_per_sample / without_end,
            "x",
            note="the same, every answer decoded to its last position",
        ),
        Row("decode.official.seconds_per_sample", reference.seconds_per_sample, "s", note=f"batch 1, {bench.scaled}"),
        Row(
            "decode.official.tokens_per_second",
            workload.end_at / reference.seconds_per_sample,
            "tokens/s",
            note="of the answer, up to its end",
        ),
        Row("decode.official.nfe", config.num_steps),
        *_memory("decode.official", bench, peak),
        _agreement("decode.official.equal_answers", bench, answer, ours.run.outputs[0]),
        *_figures("decode.exact", bench, ours),
        Row("decode.exact_without_end.seconds_per_sample", without_end, "s", note=bench.scaled),
    ]
    for part in (parts.BACKBONE, parts.HEAD):
        rows.append(_reached(part, ours, ceilings))
    return ours.run, rows


def with_circuit(bench: Bench, ceilings: Ceilings) -> Iterator[Row]:
    """Exact mode with a circuit: against the official loop, and its share of the time."""
    workload = bench.workload
    block = bench.config.num_steps // bench.config.num_blocks
    num_steps = min(bench.timed_steps, block)
    how = f"first {num_steps} of {bench.config.num_steps} steps, scaled"
    say(f"the official loop with a circuit, one request, {how}")
    single = bench.circuit.to(torch.float32)  # the official tables are
    _official(bench, single, num_steps=1)
    official, answer = _official(bench, single, num_steps=num_steps)
    say(f"exact mode with a circuit, {len(workload.prompts)} requests")
    ours = _measured(bench, lambda: workload.decode(bench.config, bench.circuit))
    workload.check_ends(ours.run.outputs)
    yield Row("decode.circuit.official.seconds_per_sample", official.seconds_per_sample, "s", note=f"batch 1, {how}")
    yield Row(
        "decode.circuit.samples_per_second_ratio",
        official.seconds_per_sample / ours.run.seconds_per_sample,
        "x",
        note=f"{bench.circuit.num_latents} latents, pc_frac {bench.config.pc_frac:g}",
    )
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
    make_sure(bench.workload.backbone, bench.config.seed)
    say(f"exact mode on weights that are surer, {len(bench.workload.prompts)} requests")
    exact = bench.workload.decode(bench.config)
    yield Row("decode.modes.exact.tokens_per_second", _tokens_per_second(exact), "tokens/s")
    for name, settings, circuit in modes:
        try:
            config = replace(bench.config, **settings)
        except ValueError as error:
            yield Row(f"decode.modes.{name}", "refused", note=str(error))
            continue
        say(f"mode {name}, {len(bench.workload.prompts)} requests")
        run = bench.workload.decode(config, circuit)
        bench.workload.check_ends(run.outputs)
        ratio = _tokens_per_second(run) / _tokens_per_second(exact)
        yield Row(f"decode.modes.{name}.tokens_per_second_ratio", ratio, "x", note="against exact mode, no circuit")
        yield Row(f"decode.modes.{name}.tokens_per_second", _tokens_per_second(run), "tokens/s")
        yield Row(f"decode.modes.{name}.nfe", _nfe(run))
        yield Row(
            f"decode.modes.{name}.tokens_per_forward",
            _tokens_per_forward(run),
            note="as sure as the random weights are made" if config.threshold else "",
        )


def changed_by_batching(bench: Bench) -> Row:
    """Percent of the answers to prompts of mixed lengths that differ between batch 1 and the benchmark's batch."""
    workload, config = bench.workload, bench.config
    backbone = workload.backbone
    if backbone.device.type == "cpu":
        num_blocks = min(2, config.num_blocks)
        config = replace(
            config,
            gen_length=num_blocks * config.block_length,
            num_steps=num_blocks * config.num_steps // config.num_blocks,
        )
    longest = len(workload.prompts[0])
    lengths = [max(1, longest - longest * index // 16) for index in range(len(workload.prompts))]
    prompts = random_prompts(backbone, lengths, seed=1)
    say(f"answers of {config.gen_length} tokens to prompts of {lengths[-1]} to {lengths[0]}, batched and alone")
    batched = workload.decode(config, prompts=prompts).outputs
    alone = workload.decode(config, prompts=prompts, batch_size=1).outputs
    changed = sum(one.tokens != other.tokens for one, other in zip(batched, alone, strict=True))
    dtype = str(backbone.dtype).removeprefix("torch.")
    return Row(
        f"decode.changed_by_batching.{dtype}",
        100 * changed / len(prompts),
        "%",
        goal="= 0" if backbone.dtype == torch.float32 else "",
        note=f"answers of {config.gen_length} tokens, batch {workload.batch_size} against 1, prompts of mixed lengths"
        + ("" if backbone.dtype == torch.float32 else "; random weights are less sure of themselves than trained ones"),
    )


def _official(bench: Bench, circuit: HMM | None = None, *, num_steps: int | None = None) -> tuple[Run, list[int]]:
    """The official loop on the first request, scaled to all steps, and the answer so far."""
    prompt, config = bench.workload.prompts[0], bench.config
    num_steps = min(num_steps or bench.timed_steps, config.num_steps)
    draws = _draws(bench, prompt)
    seconds, answer = timed(
        bench.workload.backbone.device,
        lambda: reference_decode(bench.workload.backbone, prompt, config, circuit, draws, num_steps=num_steps),
    )
    return Run(seconds * config.num_steps / num_steps, 1, None), answer


def _draws(bench: Bench, prompt: Sequence[int]) -> Draws:
    """The uniform numbers that the project's loop draws this prompt's latents with."""
    device = bench.workload.backbone.device
    keys = row_keys(bench.config.seed, [prompt], [0], device)

    def draws(number: int, columns: torch.Tensor) -> torch.Tensor:
        return uniforms(keys, Stream.LATENT, torch.tensor([number], device=device), columns[None])[0]

    return draws


def _measured(bench: Bench, decode: Callable[[], Run]) -> Measured:
    """Timed, with its parts; on a GPU those come from a second run, because their boundaries cost time there."""
    backbone = bench.workload.backbone
    with peak_memory(backbone.device, bench.baseline) as peak:
        if backbone.device.type == "cpu":
            with watched(backbone, bench.shape) as found:
                run = decode()
        else:
            run = decode()
    if backbone.device.type != "cpu":
        with watched(backbone, bench.shape) as found:
            decode()
    return Measured(run, found, peak)


def _figures(name: str, bench: Bench, measured: Measured) -> Iterator[Row]:
    run, found = measured.run, measured.parts
    yield Row(f"{name}.seconds_per_sample", run.seconds_per_sample, "s", note=f"batch {bench.workload.batch_size}")
    yield Row(f"{name}.tokens_per_second", _tokens_per_second(run), "tokens/s", note="of the answers, up to their ends")
    yield Row(f"{name}.nfe", _nfe(run))
    yield Row(f"{name}.tokens_per_forward", _tokens_per_forward(run))
    for part in (*parts.MODELS, parts.COUPLING, parts.SAMPLING, parts.PYTHON):
        if part in found.seconds:
            yield Row(f"{name}.share.{part}", found.share(part), "%")
    yield Row(f"{name}.outside_models", found.outside_models(), "%", note="outside backbone, lm_head and circuit")
    yield from _memory(name, bench, measured.peak)


def _memory(name: str, bench: Bench, peak: Peak) -> Iterator[Row]:
    if peak.bytes is not None:
        note = _MEMORY_NOTE[bench.workload.backbone.device.type]
        yield Row(f"{name}.peak_memory", peak.bytes / 1e6, "MB", note=note)


def _reached(part: str, measured: Measured, ceilings: Ceilings) -> Row:
    note = "of what its bytes and operations allow"
    return Row(f"decode.roofline.{part}", measured.parts.reached(part, ceilings), "%", note=note)


def _agreement(name: str, bench: Bench, answer: list[int], output: Generation) -> Row:
    """Whether the official loop decided what the project's did, at all that it had decided up to the end."""
    mask = bench.workload.backbone.mask_id
    compared = [
        (theirs, ours)
        for theirs, ours in zip(answer[: output.num_answer_tokens + 1], output.tokens, strict=False)
        if theirs != mask
    ]
    equal = 100 * sum(theirs == ours for theirs, ours in compared) / len(compared)
    goal = "= 100" if bench.workload.backbone.dtype == torch.float32 else ""
    note = f"of the {len(compared)} tokens compared, one request{'' if goal else '; the loops round differently'}"
    return Row(name, equal, "%", goal=goal, note=note)


def _num_forward(run: Run) -> int:
    return sum(output.num_forward for output in run.outputs)


def _nfe(run: Run) -> float:
    return _num_forward(run) / run.num_requests


def _tokens_per_forward(run: Run) -> float:
    return sum(output.num_answer_tokens for output in run.outputs) / _num_forward(run)


def _tokens_per_second(run: Run) -> float:
    return sum(output.num_answer_tokens for output in run.outputs) / run.seconds
