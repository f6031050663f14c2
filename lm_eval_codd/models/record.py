"""What a result says about how its answers were made, and what that cost."""

from __future__ import annotations

import dataclasses
import logging
import math
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
import transformers

import lm_eval_codd
from lm_eval_codd.backbones.experts.tally import RoutingTotals
from lm_eval_codd.backbones.routed import ALL_MASKS
from lm_eval_codd.code_version import code_version
from lm_eval_codd.models.likelihood_record import LikelihoodTotals
from lm_eval_codd.older_records import DECODING_VERSION
from lm_eval_codd.settings import DecodingConfig, LikelihoodConfig, departures_of, extensions_of

if TYPE_CHECKING:
    from lm_eval_codd.backbones.backbone import Backbone
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.journal import Kept

eval_logger = logging.getLogger("lm_eval.codd")

_TOKEN_IDS: Final = ("mask_id", "eos_id", "eot_id")


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
        self.answer_tokens += generation.num_answer_tokens

    def add_journalled(self, answer: Kept[Generation]) -> None:
        """Count one answer that an earlier process made, with what it cost there."""
        self.add(answer)
        self.journalled_answers += 1
        self.journalled_elsewhere += answer.made_elsewhere

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


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a model decodes with.

    Attributes:
        config: the settings of the evaluation.
        backbone: the network.
        circuit: couples its predictions, or None.
        planner: scores what is decided, or None.
        max_length: tokens of prompt and answer together.
        world_size: processes that share the requests.
        likelihoods: the settings of the evaluation's log-likelihoods.
        lacks_template: whether the tokenizer has a chat template that the prompts did not go through.
    """

    config: DecodingConfig
    backbone: Backbone
    circuit: HMM | None
    planner: Backbone | None = None
    max_length: int
    world_size: int
    lacks_template: bool
    likelihoods: LikelihoodConfig = dataclasses.field(default_factory=LikelihoodConfig)

    def fingerprint(self) -> dict[str, Any]:
        """Everything but the prompt's text that an answer depends on, for `--use_cache`."""
        return {
            "lm_eval_codd": lm_eval_codd.__version__,
            "max_length": self.max_length,
            **made_by(self.config, self.backbone, self.circuit, self.planner),
            **{f"{name} of likelihoods": value for name, value in _not_defaults(self.likelihoods).items()},
            "code of likelihoods": code_version("likelihood"),
        }


class Record:
    """Gathers, while a model runs, what its result has to say.

    Args:
        made_from: the arguments that name checkpoint, adapter and circuit, and the checkpoint's own defaults.

    Attributes:
        totals: this rank's counts.
        totals_of_ranks: every rank's, once they have been exchanged.
        likelihoods, likelihoods_of_ranks: the same of log-likelihoods.
        routing, routing_of_ranks: the same of experts that choose tokens, over this run's own passes of the network.
    """

    def __init__(self, **made_from: Any) -> None:
        self.made_from = made_from
        self.totals = Totals()
        self.totals_of_ranks: list[Totals] | None = None
        self.likelihoods = LikelihoodTotals()
        self.likelihoods_of_ranks: list[LikelihoodTotals] | None = None
        self.routing = RoutingTotals()
        self.routing_of_ranks: list[RoutingTotals] | None = None
        self._logged: set[str] = set()
        self._settings_of_tasks: dict[str, dict[str, Any]] = {}
        self._approximations_of_tasks: dict[str, list[str]] = {}

    def log_warnings(self, setup: Setup) -> None:
        """Say in the log what the result will warn about; each only once."""
        for message in _warnings(setup, self.totals, self.likelihoods, self.routing):
            if message not in self._logged:
                self._logged.add(message)
                eval_logger.warning(message)

    def add_routing(self, setup: Setup) -> None:
        """Count what experts that choose tokens did since this was last asked."""
        if setup.config.router == "ec":
            self.routing = RoutingTotals.added([self.routing, setup.backbone.take_routing()])

    def note_settings_of_task(self, task: str, config: DecodingConfig, usual: DecodingConfig) -> None:
        """Keep for the result that a task is decoded with other settings than the rest."""
        values = dataclasses.asdict(usual)
        self._settings_of_tasks[task] = {n: v for n, v in dataclasses.asdict(config).items() if v != values[n]}
        self._approximations_of_tasks[task] = list(config.approximations)

    def as_result(self, setup: Setup) -> dict[str, Any]:
        """For lm-eval's results file: settings, what the answers were made from and on, counts, warnings."""
        totals = Totals.over_ranks(self.totals_of_ranks or [self.totals])
        likelihoods = LikelihoodTotals.over_ranks(self.likelihoods_of_ranks or [self.likelihoods])
        routing = RoutingTotals.added(self.routing_of_ranks or [self.routing])
        config, backbone = setup.config, setup.backbone
        settings, coupled = dataclasses.asdict(config), setup.circuit is not None
        return {
            "family": backbone.family,
            "recognised_by": backbone.recognised_by,
            "attention": backbone.attention,
            "settings": settings,
            "settings_of_tasks": self._settings_of_tasks,
            # Empty for answers of an exact decode; what it holds is in the settings too.
            "approximations": list(config.approximations),
            "approximations_of_tasks": self._approximations_of_tasks,
            # Empty for what somebody else's code can be held against.
            "extensions": list(extensions_of(settings, coupled=coupled)),
            "extensions_of_tasks": {
                task: list(extensions_of({**settings, **given}, coupled=coupled))
                for task, given in self._settings_of_tasks.items()
            },
            "departures": list(departures_of(settings)),
            "departures_of_tasks": {
                task: list(departures_of({**settings, **given})) for task, given in self._settings_of_tasks.items()
            },
            **self.made_from,
            "token_ids": {name: getattr(backbone, name) for name in _TOKEN_IDS},
            "checkpoint_identity": backbone.identity,
            "circuit_identity": _circuit_identity(setup.circuit),
            "planner_identity": None if setup.planner is None else setup.planner.identity,
            **_as_stock(backbone, self.made_from),
            "model_num_parameters": backbone.num_parameters,
            "model_max_length": setup.max_length,
            "device_name": _device_name(backbone.device),
            "world_size": setup.world_size,
            "versions": _versions(),
            "decoding_version": DECODING_VERSION,
            **{name: value for name, value in dataclasses.asdict(totals).items() if name != "squared_seconds"},
            "decoding_seconds": round(totals.decoding_seconds, 3),
            "seconds_deviation": round(totals.seconds_deviation(setup.world_size), 4),
            "mean_nfe": totals.mean("nfe"),
            "mean_circuit_calls": totals.mean("circuit_calls"),
            "mean_planner_calls": totals.mean("planner_calls"),
            "mean_answer_tokens": totals.mean("answer_tokens"),
            **(
                {"likelihoods": likelihoods.as_result(setup.likelihoods, coupled=coupled)}
                if likelihoods.likelihoods
                else {}
            ),
            **({"routing": routing.as_result()} if config.router == "ec" else {}),
            "warnings": _warnings(setup, totals, likelihoods, routing),
        }


def _as_stock(backbone: Backbone, made_from: dict[str, Any]) -> dict[str, Any]:
    """What lm-eval's own models write of a checkpoint, under the same names; a sha only of what came from the hub."""
    checkpoint, _, adapter = backbone.identity.partition("+")
    shas = {"model_sha": checkpoint, "peft_sha": adapter} if adapter else {"model_sha": checkpoint}
    return {
        "model_dtype": str(backbone.dtype),
        "model_revision": made_from["revision"] or "main",
        **{name: "" if identity.startswith("sha256:") else identity for name, identity in shas.items()},
    }


def made_by(
    config: DecodingConfig, backbone: Backbone, circuit: HMM | None, planner: Backbone | None = None
) -> dict[str, Any]:
    """Everything but a prompt's tokens and its repeat index that an answer depends on, as plain data.

    Of the settings, those that are not `DecodingConfig`'s own defaults: one that is new changes no key.
    Hardware is not in it: it moves bfloat16 answers, but so does the batch, and a sweep may end on another machine than
    it began on. The journal notes it beside the answers.
    """
    settings = _not_defaults(config)
    settings.pop("tokens_per_step", None)  # another way to say num_steps
    if config.steps_follow_confidence:
        settings.pop("num_steps", None)  # not read
    return {
        **settings,
        **_parts(backbone, circuit, "decoding"),
        **({} if planner is None else {"planner": planner.identity, "planner_dtype": _dtype(planner)}),
    }


def _parts(backbone: Backbone, circuit: HMM | None, room: str) -> dict[str, Any]:
    """Checkpoint, circuit, and the code of a room."""
    return {
        **{name: getattr(backbone, name) for name in _TOKEN_IDS},
        "family": backbone.family,
        "checkpoint": backbone.identity,
        "dtype": _dtype(backbone),
        "circuit": _circuit_identity(circuit),
        # A circuit's identity is that of its full-precision tables.
        "circuit_dtype": None if circuit is None else str(circuit.emission.dtype),
        "code": code_version(room),
    }


def scored_by(config: LikelihoodConfig, backbone: Backbone, circuit: HMM | None) -> dict[str, Any]:
    """`made_by` of a log-likelihood: everything but a pair's tokens that it depends on."""
    return {"request": "likelihood", **_not_defaults(config), **_parts(backbone, circuit, "likelihood")}


def _not_defaults(config: DecodingConfig | LikelihoodConfig) -> dict[str, Any]:
    defaults = vars(type(config)())
    return {name: value for name, value in vars(config).items() if value != defaults[name]}


def surroundings(device: torch.device) -> dict[str, Any]:
    """Where answers are made, beside what they depend on by design."""
    return {"device_name": _device_name(device), "versions": _versions()}


def _warnings(setup: Setup, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> list[str]:
    config, circuit = setup.config, setup.circuit
    warnings = list(likelihoods.warnings(setup.likelihoods, coupled=circuit is not None))
    if setup.lacks_template:
        warnings.append(
            "the tokenizer has a chat template, but the prompts were made without it; an instruct model needs "
            "--apply_chat_template"
        )
    if totals.truncated_prompts:
        warnings.append(
            f"{totals.truncated_prompts} prompts lost their left end: with `gen_length={config.gen_length}` an "
            f"answer leaves them {setup.max_length - config.gen_length} of `max_length={setup.max_length}` tokens"
        )
    if circuit is not None and totals.requests and not totals.circuit_calls:
        warnings.append(
            f"the circuit never acted: no block or window had its share of masks "
            f"{'above' if config.reverse_frac else 'below'} `pc_frac={config.pc_frac:g}` at "
            f"{_steps(config)}; the answers are the backbone's own"
        )
    if totals.journalled_elsewhere:
        warnings.append(
            f"{totals.journalled_elsewhere} of {totals.requests} answers come out of a journal and were made on other "
            "hardware or with other versions of torch or transformers; its files say which"
        )
    if circuit is not None and circuit.vocab_size > setup.backbone.vocab_size:
        warnings.append(
            f"the circuit knows {circuit.vocab_size} tokens and the backbone {setup.backbone.vocab_size}: was it made "
            "for a model with this tokenizer?"
        )
    if totals.impossible_evidence:
        warnings.append(
            f"in {totals.impossible_evidence} of {totals.circuit_calls} evaluations the circuit ruled out everything "
            "that the backbone allowed, and the backbone decided alone"
        )
    if config.router == "ec" and setup.backbone.own_routing is None:
        warnings.append(
            "`router=ec` exchanges how experts and tokens are paired without the fine-tuning that EC-DLM does for it: "
            "these scores say little of the checkpoint, and nothing of EC-DLM"
        )
    if routing.rows_of_masks:
        warnings.append(f"{ALL_MASKS} ({routing.rows_of_masks} of {routing.rows} rows in passes of the network)")
    if totals.nonfinite_answers:
        warnings.append(
            f"in {totals.nonfinite_answers} of {totals.requests} answers the backbone's logits held NaN or +inf, or "
            f"ruled out every token ({totals.nonfinite_steps} of {totals.nfe} evaluations); these answers mean little: "
            "check the checkpoint, or try `dtype=float32`"
        )
    return warnings


def _steps(config: DecodingConfig) -> str:
    """What decides how many tokens a step commits."""
    rules = [f"`{name}={value:g}`" for name in ("threshold", "factor") if (value := getattr(config, name)) is not None]
    return rules[0] if rules else f"`num_steps={config.num_steps}`"


def _circuit_identity(circuit: HMM | None) -> str | None:
    return None if circuit is None else circuit.identity


def _versions() -> dict[str, str]:
    return {
        "lm_eval_codd": lm_eval_codd.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _dtype(backbone: Backbone) -> str:
    return str(backbone.dtype).removeprefix("torch.")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
