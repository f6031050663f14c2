"""What a model of the DiT family answers with, and what results, keys and warnings say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lm_eval_codd
from lm_eval_codd.models.code_version import code_version
from lm_eval_codd.models.lacking import Unrouted
from lm_eval_codd.models.record import Totals
from lm_eval_codd.settings import DiTSettings

if TYPE_CHECKING:
    import torch

    from lm_eval_codd.backbones.experts.tally import RoutingTotals
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.dit import DiT
    from lm_eval_codd.models.likelihood_record import LikelihoodTotals


@dataclass
class DiTTotals(Totals):
    """Counts over the samples of a run.

    Attributes:
        clamped_prompts: samples that had a prompt.
        tokens_without_text: ids of samples that the tokenizer does not have, which their text leaves out.
    """

    clamped_prompts: int = 0
    tokens_without_text: int = 0


@dataclass(frozen=True, kw_only=True)
class DiTSetup(Unrouted):
    """See `Setup`.

    Attributes:
        config: the settings of the evaluation.
        dit: the model.
        circuit: couples what leaves the mask in one step, or None.
        max_length: tokens of a row.
        world_size: processes that share the requests.
        has_tokenizer: whether there is one; without it ids alone are answered.
    """

    config: DiTSettings
    dit: DiT
    circuit: HMM | None
    max_length: int
    world_size: int
    has_tokenizer: bool

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.dit.device

    @property
    def mask_id(self) -> int | None:
        """See `Setup`. To duo that id is a token like any other."""
        return self.dit.mask_id

    def fingerprint(self) -> dict[str, Any]:
        """See `Setup`."""
        return {
            "lm_eval_codd": lm_eval_codd.__version__,
            "max_length": self.max_length,
            **sampled_by(self.config, self.dit, self.circuit),
            **scored_by(self.config, self.dit),
        }

    def as_result(
        self, made_from: Mapping[str, Any], settings_of_tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """See `Setup`."""
        dit, config, coupled = self.dit, self.config, self.circuit is not None
        each = {task: dataclasses.replace(config, **given) for task, given in settings_of_tasks.items()}
        return {
            "family": "dit",
            "algo": dit.algo,
            "bound": dit.algo != "ar",
            "precision": config.precision,
            "prompt": "clamped",
            "extensions": list(config.extensions(dit.algo, coupled=coupled)),
            "extensions_of_tasks": {
                task: list(one.extensions(dit.algo, coupled=coupled)) for task, one in each.items()
            },
            "token_ids": {"mask_id": dit.mask_id, "bos_id": dit.bos_id, "eos_id": dit.eos_id},
            "checkpoint_identity": dit.identity,
            "circuit_identity": None if self.circuit is None else self.circuit.identity,
            "model_num_parameters": dit.num_parameters,
            "model_dtype": str(dit.dtype),
            "model_revision": made_from["revision"] or "main",
            "model_sha": "" if dit.identity.startswith("sha256:") else dit.identity,
        }

    def likelihoods_as_result(self, likelihoods: LikelihoodTotals) -> dict[str, Any]:
        """See `Setup`."""
        algo = self.dit.algo
        return {
            **likelihoods.as_result(self.config.meaning(algo), self.config.of_bounds()),
            "bound": algo != "ar",
            # Of a text that carries its ids.
            "windows_of_ids": "suffix" if algo == "ar" else "joint",
            "greedy": {"ar": "token by token", "duo": "not defined"}.get(algo, "one_step"),
        }

    def warnings(self, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> Iterator[str]:
        """See `Setup`."""
        yield from likelihoods.warnings(None, self.mask_id)
        if likelihoods.likelihoods and self.circuit is not None:
            yield "the circuit takes no part in log-likelihoods: they are bounds of the model alone"
        if totals.requests and not self.config.use_float64:
            yield "samples were drawn as coarsely as float32 noise is, which lowers entropy and generative perplexity"
        if totals.truncated_prompts:
            yield (
                f"{totals.truncated_prompts} prompts lost their left end, so that they fit beside "
                f"`gen_length={self.config.gen_length}` into `max_length={self.max_length}`"
            )
        if self.circuit is not None and totals.requests and not totals.circuit_calls:
            yield (
                f"the circuit never acted: no window had its share of masks "
                f"{'above' if self.config.reverse_frac else 'below'} `pc_frac={self.config.pc_frac:g}`"
            )
        yield from totals.of_journal("samples")
        if isinstance(totals, DiTTotals):
            yield from self._warnings_of_texts(totals)

    def _warnings_of_texts(self, totals: DiTTotals) -> Iterator[str]:
        if totals.clamped_prompts:
            how = {
                "duo": "set again after every step, a heuristic for duo, which never saw clean tokens beside noise",
                "ar": "a given beginning",
            }.get(self.dit.algo, "it stays while the rest is unmasked")
            yield (
                f"{totals.clamped_prompts} samples had a prompt ({how}); these models were never trained on prompts, "
                "so a benchmark score of them is a curiosity"
            )
        if totals.tokens_without_text:
            yield (
                f"{totals.tokens_without_text} ids of samples are not in the tokenizer, and the texts leave them out; "
                "entropies are of all ids"
            )


def sampled_by(config: DiTSettings, dit: DiT, circuit: HMM | None) -> dict[str, Any]:
    """Everything but a prompt's tokens and its index that a sample depends on, as plain data."""
    return {
        "request": "sample",
        **_not_defaults(config.of_samples()),
        **_model(dit),
        "circuit": None if circuit is None else circuit.identity,
        "circuit_dtype": None if circuit is None else str(circuit.emission.dtype),
    }


def scored_by(config: DiTSettings, dit: DiT) -> dict[str, Any]:
    """The same of a bound: everything but a pair's tokens."""
    return {"request": "bound", **_not_defaults(config.of_bounds()), **_model(dit)}


def _model(dit: DiT) -> dict[str, Any]:
    return {
        "algo": dit.algo,
        "mask_id": dit.mask_id,
        "bos_id": dit.bos_id,
        "eos_id": dit.eos_id,
        "checkpoint": dit.identity,
        "dtype": str(dit.dtype).removeprefix("torch."),
        "code": code_version("dit"),
    }


def _not_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """One that is new changes no key."""
    usual = vars(DiTSettings())
    return {name: value for name, value in settings.items() if value != usual[name]}
