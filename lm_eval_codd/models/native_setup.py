"""What DiffusionGemma answers with, and what results, keys and warnings say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lm_eval_codd
from lm_eval_codd.backbones.native import MODEL_TYPE
from lm_eval_codd.models.code_version import code_version
from lm_eval_codd.models.lacking import Unrouted, Unscored

if TYPE_CHECKING:
    import torch

    from lm_eval_codd.backbones.experts.tally import RoutingTotals
    from lm_eval_codd.backbones.native import Native
    from lm_eval_codd.models.likelihood_record import LikelihoodTotals
    from lm_eval_codd.models.record import Totals
    from lm_eval_codd.settings.native import NativeSettings

UNVERIFIED: Final = "published accuracies: no output of the published checkpoint was seen"


@dataclass(frozen=True, kw_only=True)
class NativeSetup(Unrouted, Unscored):
    """See `Setup`.

    Attributes:
        config: the settings of the evaluation.
        native: what answers.
        max_length: tokens of prompt and answer together.
        world_size: processes that share the requests.
        lacks_template: whether the tokenizer has a chat template that the prompts did not go through.
    """

    config: NativeSettings
    native: Native
    max_length: int
    world_size: int
    lacks_template: bool

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.native.device
        return device

    @property
    def mask_id(self) -> None:
        """See `Setup`. There is none."""
        return None

    def fingerprint(self) -> dict[str, Any]:
        """See `Setup`."""
        made = made_by(self.config, self.native)
        return {"lm_eval_codd": lm_eval_codd.__version__, "max_length": self.max_length, **made}

    def as_result(
        self, made_from: Mapping[str, Any], settings_of_tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """See `Setup`."""
        native = self.native
        is_hub = not native.identity.startswith("sha256:")
        return {
            "family": MODEL_TYPE,
            "generation": {**native.resolved(self.config), "canvas_length": native.canvas_length},
            "unverified": UNVERIFIED,
            "extensions": [],
            "extensions_of_tasks": {},
            "token_ids": {"mask_id": None, "eos_id": native.ends[0]},
            "checkpoint_identity": native.identity,
            "model_num_parameters": native.num_parameters,
            "model_dtype": str(native.dtype),
            "model_revision": made_from["revision"] or "main",
            "model_sha": native.identity if is_hub else "",
        }

    def warnings(self, totals: Totals, likelihoods: LikelihoodTotals, routing: RoutingTotals) -> Iterator[str]:
        """See `Setup`."""
        if self.lacks_template:
            yield (
                "the tokenizer has a chat template, but the prompts were made without it; an instruct model needs "
                "--apply_chat_template"
            )
        if totals.truncated_prompts:
            yield (
                f"{totals.truncated_prompts} prompts lost their left end, so that they fit beside the answer in "
                f"`max_length={self.max_length}` tokens"
            )
        yield from totals.of_journal("answers")


def made_by(config: NativeSettings, native: Native) -> dict[str, Any]:
    """Everything but its prompt and repeat that an answer depends on, as plain data."""
    import transformers

    return {
        "request": "native answer",
        **native.resolved(config),
        "ends": list(native.ends),
        "checkpoint": native.identity,
        "dtype": str(native.dtype).removeprefix("torch."),
        "transformers": transformers.__version__,  # whose `generate` it is
        "code": code_version("backbones.native"),
    }
