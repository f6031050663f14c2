"""How long runs will take: from runs that are in the output folder already, or from a stated figure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from lm_eval_codd.runs import record
from lm_eval_codd.runs.run import Run
from lm_eval_codd.settings import DECODERS, DecodingConfig, steps_follow_confidence

# What should be alike for one run's time to tell another's, beside the number of steps.
_ALIKE: Final = ("task", "peft", "dtype", "batch_size", "num_shot", "protocol")
_ALIKE_SETTINGS: Final = ("gen_length", "block_length", "paradigm", "alg", "pc_sampling", "pc_windows", "stop_at_eos")
_BY_CONFIDENCE: Final = [name for facts in DECODERS.values() if facts.by_confidence for name in facts.own]
# What decides how much a step computes and commits; past seconds count as they are only where all of it is alike.
_APPROXIMATIONS: Final = ("cache", "threshold", "factor", "decoder", *DECODERS["cad"].settings, *_BY_CONFIDENCE)


@dataclass(frozen=True)
class Past:
    """A finished run: what it was, and what a document took it.

    num_forward: of a document; as planned, or as counted where the confidences decided it.
    """

    name: str
    identity: dict[str, Any]
    device: str
    hardware: str
    num_forward: float
    seconds_per_row: float

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of its decode."""
        return self.identity.get("config") or {}


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run will take, and where the figure comes from.

    is_bound: it will take at most that; how much less, its confidences or its cache decide.
    """

    seconds: float
    source: str
    is_bound: bool = False


class Place(Protocol):
    """Where a run executes: its `--device`, and the name of the hardware behind it."""

    @property
    def device(self) -> str:
        """Such as `cuda:0`."""
        ...

    @property
    def hardware(self) -> str:
        """Such as `NVIDIA H200`; empty where it is not known."""
        ...


Estimator = Callable[[Run, Place], Estimate | None]


def stated(seconds_per_forward: float) -> Estimator:
    """An estimator from the seconds that a forward pass for one row takes; raises `ValueError` for none at all."""
    if not (seconds_per_forward > 0 and math.isfinite(seconds_per_forward)):
        raise ValueError(f"`--seconds_per_forward {seconds_per_forward:g}` must be above 0")

    def estimate(run: Run, place: Place) -> Estimate | None:
        if run.num_answers is None:
            return None
        return Estimate(
            seconds_per_forward * run.num_forward * run.num_answers,
            f"{seconds_per_forward:g} s a forward pass",
            run.is_bound,
        )

    return estimate


def from_past(past: Sequence[Past]) -> Estimator:
    """An estimator from the nearest past run of the checkpoint on the same kind of device, in proportion to NFE.

    How many steps confidences ask for is known only from a run with the same rule; from any other the estimate is an
    upper bound, of one step a token. A run without a cache is not estimated from one with a cache, whose steps are
    cheaper; the other way round is a bound too.
    """
    usual = vars(DecodingConfig())

    def estimate(run: Run, place: Place) -> Estimate | None:
        if run.num_answers is None:
            return None
        kind = place.device.partition(":")[0]
        comparable = [
            one
            for one in past
            if one.identity.get("checkpoint") == run.checkpoint
            and one.device.partition(":")[0] == kind
            and one.config.get("cache", usual["cache"]) in (usual["cache"], _setting(run, "cache"))
        ]
        if not comparable:
            return None
        nearest = min(comparable, key=lambda one: _distance(one, run, place))
        differs = any(nearest.config.get(n, usual[n]) != _setting(run, n) for n in _APPROXIMATIONS)
        if isinstance(run.config, DecodingConfig) and run.config.steps_follow_confidence and not differs:
            growth = run.config.gen_length / nearest.config.get("gen_length", run.config.gen_length)
        else:
            growth = run.num_forward / nearest.num_forward
        per_row = nearest.seconds_per_row * growth
        is_bound = differs and (run.is_bound or _setting(run, "cache") != nearest.config.get("cache"))
        is_bound = is_bound or bool(run.likelihoods_asked)
        return Estimate(per_row * run.num_answers, f"as {nearest.name}, {per_row:.3g} s a row", is_bound)

    return estimate


def read_past(output_dir: Path) -> list[Past]:
    """The finished runs of an output folder; whatever else is there is passed over."""
    folders = sorted(output_dir.iterdir()) if output_dir.is_dir() else []
    return [past for folder in folders if folder.is_dir() and (past := _read(folder)) is not None]


def _read(folder: Path) -> Past | None:
    try:
        run = record.read(folder)
        if run is None or run.get("status") != "finished":
            return None
        results = json.loads((folder / str(run["results"])).read_text(encoding="utf-8"))
        rows = results["n-samples"][run["task"]]["effective"]
        decoded = results["config"].get("decoding_seconds"), results["config"].get("requests")
        # Loading and scoring are left out where the model has counted its own time.
        seconds_per_row = decoded[0] / decoded[1] if all(decoded) else run["seconds"] / rows
        identity, num_forward = run["identity"], run["num_forward"]
        if steps_follow_confidence(identity["config"]):
            num_forward = results["config"]["mean_nfe"]
        if not (isinstance(identity, dict) and num_forward > 0 and seconds_per_row > 0):
            return None
        return Past(
            folder.name, identity, str(run["device"]), str(run.get("hardware")), num_forward, float(seconds_per_row)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None


def _setting(run: Run, name: str) -> Any:
    """Of its decode; what a model has no such setting for goes as by default."""
    return getattr(run.config, name, getattr(DecodingConfig, name))


def _distance(past: Past, run: Run, place: Place) -> tuple[int, float]:
    differences = [
        (past.identity.get("circuit") is None) != (run.circuit is None),
        past.hardware != place.hardware,
        *(past.identity.get(name) != getattr(run, name) for name in _ALIKE),
        *(past.config.get(name) != _setting(run, name) for name in (*_ALIKE_SETTINGS, *_APPROXIMATIONS)),
    ]
    return sum(differences), abs(math.log(past.num_forward / run.num_forward))
