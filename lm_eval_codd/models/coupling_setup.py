"""What a Coupling Model answers with, and what results, keys and warnings say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lm_eval_codd
from lm_eval_codd.models.code_version import code_version
from lm_eval_codd.models.lacking import Unrouted, Unscored
from lm_eval_codd.settings.coupling import CouplingSettings

if TYPE_CHECKING:
    import torch

    from lm_eval_codd.backbones.experts.tally import RoutingTotals
    from lm_eval_codd.latent import CouplingModel
    from lm_eval_codd.models.likelihood_record import LikelihoodTotals
    from lm_eval_codd.models.record import Totals


@dataclass(frozen=True, kw_only=True)
class CouplingSetup(Unrouted, Unscored):
    """See `Setup`.

    Attributes:
        config: the settings of the evaluation.
        model: what samples.
        max_length: tokens of a sample.
        world_size: processes that share the requests.
    """

    config: CouplingSettings
    model: CouplingModel
    max_length: int
    world_size: int

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def mask_id(self) -> int | None:
        """See `Setup`."""
        return self.model.mask_id

    def fingerprint(self) -> dict[str, Any]:
        """See `Setup`."""
        return {"lm_eval_codd": lm_eval_codd.__version__, **sampled_by(self.config, self.model)}

    def as_result(
        self, made_from: Mapping[str, Any], settings_of_tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """See `Setup`."""
        model = self.model
        return {
            "family": "coupling",
            "layout": model.kind,
            "is_averaged": model.is_averaged,
            "extensions": [],
            "extensions_of_tasks": {},
            "token_ids": {"mask_id": model.mask_id},
            "checkpoint_identity": model.identity,
            "model_num_parameters": model.num_parameters,
            "model_dtype": str(model.dtype),
            "model_revision": "main",
            "model_sha": "",
        }

    def warnings(self, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> Iterator[str]:
        """See `Setup`."""
        yield from totals.of_journal("samples")


def sampled_by(config: CouplingSettings, model: CouplingModel) -> dict[str, Any]:
    """Everything but its index that a sample depends on, as plain data."""
    usual = vars(CouplingSettings())
    settings = {name: value for name, value in config.of_samples(model.kind).items() if value != usual[name]}
    return {
        "request": "sample",
        **settings,
        "layout": model.kind,
        "mask_id": model.mask_id,
        "checkpoint": model.identity,
        "dtype": str(model.dtype).removeprefix("torch."),
        "code": code_version("latent"),
    }
