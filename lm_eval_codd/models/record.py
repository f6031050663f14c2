"""What a result says about how its answers were made, and what that cost."""

from __future__ import annotations

import dataclasses
import logging
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
import transformers

import lm_eval_codd
from lm_eval_codd.backbones.experts.tally import RoutingTotals
from lm_eval_codd.models.device_load import Watch
from lm_eval_codd.models.likelihood_record import LikelihoodTotals

if TYPE_CHECKING:
    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.journal import Kept
    from lm_eval_codd.settings import LikelihoodConfig

eval_logger = logging.getLogger("lm_eval.codd")


@dataclass
class Totals:
    """Counts over the answers of this run, decoded now or journalled before (not those out of `--use_cache`).

    Attributes:
        requests: answers.
        journalled_answers: those of them that were in the journal already.
        journalled_elsewhere: those of these that were made on other hardware or with other versions.
        truncated_prompts: prompts that were longer than `max_length` allows.
        nfe: network evaluations, counted a row: one whose answer is settled costs no more of them.
        circuit_calls: evaluations of the circuit, counted a row.
        planner_calls: evaluations of a planner, counted a row; they are not in `nfe`.
        impossible_evidence: those of the circuit's where it ruled out all evidence and the backbone decided alone.
        nonfinite_answers: answers with a step at which the backbone's logits held NaN or +inf, or nothing but -inf.
        nonfinite_steps: those steps, over all answers.
        capped_answers: answers with a block that was left with masks in it, of `decoder=block_diffusion`.
        capped_blocks: those blocks, over all answers.
        answer_tokens: tokens before the end of the answers.
        decoding_seconds: wall time inside of the decoding loop, shared by the answers under way; what ran out of memory
            is not in it.
        squared_seconds: the answers' shares of it, squared and added up.
    """

    requests: int = 0
    journalled_answers: int = 0
    journalled_elsewhere: int = 0
    truncated_prompts: int = 0
    nfe: int = 0
    circuit_calls: int = 0
    planner_calls: int = 0
    impossible_evidence: int = 0
    nonfinite_answers: int = 0
    nonfinite_steps: int = 0
    capped_answers: int = 0
    capped_blocks: int = 0
    answer_tokens: int = 0
    decoding_seconds: float = 0.0
    squared_seconds: float = 0.0

    def add(self, answer: Kept[Generation]) -> None:
        """Count one answer."""
        generation = answer.result
        self.requests += 1
        self.decoding_seconds += answer.seconds
        self.squared_seconds += answer.seconds**2
        self.nfe += generation.num_forward
        self.circuit_calls += generation.num_circuit
        self.planner_calls += generation.num_planner
        self.impossible_evidence += generation.num_impossible
        self.nonfinite_answers += generation.num_nonfinite > 0
        self.nonfinite_steps += generation.num_nonfinite
        self.capped_answers += generation.num_capped > 0
        self.capped_blocks += generation.num_capped
        self.answer_tokens += generation.num_answer_tokens

    def add_journalled(self, answer: Kept[Generation]) -> None:
        """Count one answer that an earlier process made, with what it cost there."""
        self.add(answer)
        self.journalled_answers += 1
        self.journalled_elsewhere += answer.made_elsewhere

    def of_journal(self, noun: str) -> list[str]:
        """A line where answers, which `noun` calls by their name, were made elsewhere."""
        if not self.journalled_elsewhere:
            return []
        return [
            f"{self.journalled_elsewhere} of {self.requests} {noun} come out of a journal and were made on other "
            "hardware or with other versions of torch or transformers; its files say which"
        ]

    def seconds_deviation(self, world_size: int) -> float:
        """Standard deviation of an answer's seconds, of totals over so many ranks that were about equally long."""
        mean = self.decoding_seconds * world_size / max(1, self.requests)
        return math.sqrt(max(0.0, self.squared_seconds / max(1, self.requests) - mean**2))

    @classmethod
    def over_ranks(cls, parts: Iterable[Totals]) -> Totals:
        """Every rank's counts, added up; the ranks work side by side, so the time is the slowest one's."""
        parts = list(parts)
        added = {field.name: sum(getattr(part, field.name) for part in parts) for field in dataclasses.fields(cls)}
        return cls(**{**added, "decoding_seconds": max(part.decoding_seconds for part in parts)})

    def mean(self, name: str) -> float:
        """A count per request."""
        return round(getattr(self, name) / max(1, self.requests), 3)


class Config(Protocol):
    """Resolved settings: a frozen dataclass whose fields all have defaults."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def approximations(self) -> tuple[str, ...]:
        """What sets the answers apart from an exact decode."""
        ...


class Setup(Protocol):
    """What a model answers with, as its kind of models has it; made for one evaluation."""

    @property
    def config(self) -> Config:
        """The settings of the evaluation."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    @property
    def world_size(self) -> int:
        """Processes that share the requests."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def mask_id(self) -> int | None:
        """The id that stands for noise; None where none does."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Everything but the prompt's text that an answer depends on, for `--use_cache`."""
        ...

    @property
    def is_routed(self) -> bool:
        """Whether experts of the network choose tokens."""
        ...

    def take_routing(self) -> RoutingTotals:
        """What these did since this was last asked."""
        ...

    def warnings(self, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> Iterable[str]:
        """What is to be known beside the figures, a line each."""
        ...

    def as_result(
        self, made_from: Mapping[str, Any], settings_of_tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """For lm-eval's results file, beside what every model has there.

        Args:
            made_from: as of `Record`.
            settings_of_tasks: those of each task that are other than the evaluation's.
        """
        ...

    def likelihoods_as_result(self, likelihoods: LikelihoodTotals) -> dict[str, Any]:
        """The same of log-likelihoods."""
        ...


class Record:
    """Gathers, while a model runs, what its result has to say.

    Args:
        totals: to count in.
        made_from: the arguments that name checkpoint, adapter and circuit, and the checkpoint's own defaults.

    Attributes:
        totals: this rank's counts.
        totals_of_ranks: every rank's, once they have been exchanged.
        likelihoods, likelihoods_of_ranks: the same of log-likelihoods.
        routing, routing_of_ranks: the same of experts that choose tokens, over this run's own passes of the network.
    """

    def __init__(self, totals: Totals | None = None, **made_from: Any) -> None:
        self.made_from = made_from
        self.totals = totals or Totals()
        self.totals_of_ranks: list[Totals] | None = None
        self.likelihoods = LikelihoodTotals()
        self.likelihoods_of_ranks: list[LikelihoodTotals] | None = None
        self.routing = RoutingTotals()
        self.routing_of_ranks: list[RoutingTotals] | None = None
        self._watch = Watch()
        self._logged: set[str] = set()
        self._settings_of_tasks: dict[str, dict[str, Any]] = {}
        self._approximations_of_tasks: dict[str, list[str]] = {}

    def log_warnings(self, setup: Setup) -> None:
        """Say in the log what the result will warn about; each only once."""
        for message in setup.warnings(self.totals, self.likelihoods, self.routing):
            if message not in self._logged:
                self._logged.add(message)
                eval_logger.warning(message)

    def add_routing(self, setup: Setup) -> None:
        """Count what experts that choose tokens did since this was last asked."""
        if setup.is_routed:
            self.routing = RoutingTotals.added([self.routing, setup.take_routing()])

    def note_settings_of_task(self, task: str, config: Config, usual: Config) -> None:
        """Keep for the result that a task is decoded with other settings than the rest."""
        values = dataclasses.asdict(usual)
        self._settings_of_tasks[task] = {n: v for n, v in dataclasses.asdict(config).items() if v != values[n]}
        self._approximations_of_tasks[task] = list(config.approximations)

    def as_result(self, setup: Setup) -> dict[str, Any]:
        """For lm-eval's results file: settings, what the answers were made from and on, counts, warnings."""
        totals = self.totals.over_ranks(self.totals_of_ranks or [self.totals])
        likelihoods = LikelihoodTotals.over_ranks(self.likelihoods_of_ranks or [self.likelihoods])
        routing = RoutingTotals.added(self.routing_of_ranks or [self.routing])
        return {
            "settings": dataclasses.asdict(setup.config),
            "settings_of_tasks": self._settings_of_tasks,
            # Empty for answers of an exact decode; what it holds is in the settings too.
            "approximations": list(setup.config.approximations),
            "approximations_of_tasks": self._approximations_of_tasks,
            **setup.as_result(self.made_from, self._settings_of_tasks),
            **self.made_from,
            "model_max_length": setup.max_length,
            "device_name": _device_name(setup.device),
            "world_size": setup.world_size,
            # Times of an earlier process are not of what was seen by this one.
            "alone_on_device": None if totals.journalled_answers else _is_alone(self._watch, setup),
            "versions": _versions(),
            **{name: value for name, value in dataclasses.asdict(totals).items() if name != "squared_seconds"},
            "decoding_seconds": round(totals.decoding_seconds, 3),
            "seconds_deviation": round(totals.seconds_deviation(setup.world_size), 4),
            "mean_nfe": totals.mean("nfe"),
            "mean_circuit_calls": totals.mean("circuit_calls"),
            "mean_planner_calls": totals.mean("planner_calls"),
            "mean_answer_tokens": totals.mean("answer_tokens"),
            **({"likelihoods": setup.likelihoods_as_result(likelihoods)} if likelihoods.likelihoods else {}),
            **({"routing": routing.as_result()} if setup.is_routed else {}),
            "warnings": list(setup.warnings(totals, likelihoods, routing)),
        }


def not_defaults(config: Config | LikelihoodConfig) -> dict[str, Any]:
    """The settings that are not their class's own defaults: one that is new changes no key."""
    defaults = vars(type(config)())
    return {name: value for name, value in vars(config).items() if value != defaults[name]}


def surroundings(device: torch.device) -> dict[str, Any]:
    """Where answers are made, beside what they depend on by design."""
    return {"device_name": _device_name(device), "versions": _versions()}


def _versions() -> dict[str, str]:
    return {
        "lm_eval_codd": lm_eval_codd.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _is_alone(watch: Watch, setup: Setup) -> bool | None:
    """Whether the process had its device for itself; with a checkpoint over several GPUs, all that it sees."""
    if setup.device.type == "cpu":
        return watch.cpu_is_own()
    if setup.device.type != "cuda":
        return None
    places = range(torch.cuda.device_count()) if setup.world_size == 1 else [setup.device.index or 0]
    return watch.gpus_are_own([str(getattr(torch.cuda.get_device_properties(place), "uuid", "")) for place in places])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
