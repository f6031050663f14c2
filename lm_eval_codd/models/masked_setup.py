"""What a masked model answers with, and what results, keys and warnings say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lm_eval_codd
from lm_eval_codd.backbones.routed import ALL_MASKS
from lm_eval_codd.models.code_version import code_version
from lm_eval_codd.models.record import not_defaults
from lm_eval_codd.settings import LikelihoodConfig, departures_of, extensions_of
from lm_eval_codd.settings.older_records import DECODING_VERSION

if TYPE_CHECKING:
    import torch

    from lm_eval_codd.backbones.backbone import Backbone
    from lm_eval_codd.backbones.experts.tally import RoutingTotals
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.models.likelihood_record import LikelihoodTotals
    from lm_eval_codd.models.record import Totals
    from lm_eval_codd.settings import DecodingConfig

_TOKEN_IDS: Final = ("mask_id", "eos_id", "eot_id")


@dataclass(frozen=True, kw_only=True)
class MaskedSetup:
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

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backbone.device

    @property
    def mask_id(self) -> int:
        """See `Setup`."""
        return self.backbone.mask_id

    def fingerprint(self) -> dict[str, Any]:
        """Everything but the prompt's text that an answer depends on, for `--use_cache`."""
        return {
            "lm_eval_codd": lm_eval_codd.__version__,
            "max_length": self.max_length,
            **made_by(self.config, self.backbone, self.circuit, self.planner),
            **{f"{name} of likelihoods": value for name, value in not_defaults(self.likelihoods).items()},
            "code of likelihoods": code_version("likelihood"),
        }

    def as_result(
        self, made_from: Mapping[str, Any], settings_of_tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """See `Setup`."""
        backbone, settings, coupled = self.backbone, dataclasses.asdict(self.config), self.circuit is not None
        each = {task: {**settings, **given} for task, given in settings_of_tasks.items()}
        return {
            "family": backbone.family,
            "recognised_by": backbone.recognised_by,
            "attention": backbone.attention,
            # Empty for what somebody else's code can be held against.
            "extensions": list(extensions_of(settings, coupled=coupled)),
            "extensions_of_tasks": {task: list(extensions_of(one, coupled=coupled)) for task, one in each.items()},
            "departures": list(departures_of(settings)),
            "departures_of_tasks": {task: list(departures_of(one)) for task, one in each.items()},
            "token_ids": {name: getattr(backbone, name) for name in _TOKEN_IDS},
            "checkpoint_identity": backbone.identity,
            "circuit_identity": _circuit_identity(self.circuit),
            "planner_identity": None if self.planner is None else self.planner.identity,
            **_as_stock(backbone, made_from),
            "model_num_parameters": backbone.num_parameters,
            "decoding_version": DECODING_VERSION,
        }

    def likelihoods_as_result(self, likelihoods: LikelihoodTotals) -> dict[str, Any]:
        """See `Setup`."""
        what = self.likelihoods.meaning(coupled=self.circuit is not None)
        return likelihoods.as_result(what, dataclasses.asdict(self.likelihoods))

    @property
    def is_routed(self) -> bool:
        """See `Setup`."""
        return self.config.router == "ec"

    def take_routing(self) -> RoutingTotals:
        """See `Setup`."""
        return self.backbone.take_routing()

    def warnings(self, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> list[str]:
        """See `Setup`."""
        return _warnings(self, totals, likelihoods, routing)


def _as_stock(backbone: Backbone, made_from: Mapping[str, Any]) -> dict[str, Any]:
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
    settings = not_defaults(config)
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
    return {"request": "likelihood", **not_defaults(config), **_parts(backbone, circuit, "likelihood")}


def _warnings(setup: MaskedSetup, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> list[str]:
    config, circuit = setup.config, setup.circuit
    warnings = list(likelihoods.warnings(None if circuit is None else setup.likelihoods, setup.mask_id))
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
    warnings += totals.of_journal("answers")
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
    if setup.is_routed and setup.backbone.own_routing is None:
        warnings.append(
            "`router=ec` exchanges how experts and tokens are paired without the fine-tuning that EC-DLM does for it: "
            "these scores say little of the checkpoint, and nothing of EC-DLM"
        )
    if routing.rows_of_masks:
        warnings.append(f"{ALL_MASKS} ({routing.rows_of_masks} of {routing.rows} rows in passes of the network)")
    if totals.capped_answers:
        warnings.append(
            f"in {totals.capped_answers} of {totals.requests} answers {totals.capped_blocks} blocks hold masks still: "
            "the model predicted the mask itself there until the forwards that a block may take were used up; their "
            "text lacks these tokens: check `mask_id`, the checkpoint and its `attention`"
        )
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


def _dtype(backbone: Backbone) -> str:
    return str(backbone.dtype).removeprefix("torch.")
