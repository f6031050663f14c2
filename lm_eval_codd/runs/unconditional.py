"""A run of a model without prompts: of the DiT family, or a Coupling Model. Its settings are those of its kind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lm_eval_codd.catalogue import COUPLING, DIT_MODELS, GEN_PPL, GEN_PPL_SAMPLES
from lm_eval_codd.demo import packaged
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.run import Run
from lm_eval_codd.settings import DiTSettings
from lm_eval_codd.settings.coupling import CouplingSettings
from lm_eval_codd.settings.dit import PREDICTORS_OF

# Of the published checkpoints of each, in float32.
_DIT_BYTES: Final = 7e8
_DIT_LENGTH: Final = 1024
_COUPLING_LENGTH: Final = 128
_GUESSED_CHOICES: Final = 4


class Kind(NamedTuple):
    """What tells models without prompts from each other.

    Attributes:
        settings: the class of their settings.
        unread: fields of a run that are no arguments of the model.
        flags: where a setting has another name than its flag, the setting by that.
    """

    settings: type[DiTSettings] | type[CouplingSettings]
    unread: tuple[str, ...] = ()
    flags: Mapping[str, str] = {}

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """Its settings, by the names of their flags."""
        flag_of = {setting: flag for flag, setting in self.flags.items()}
        return {flag_of.get(field.name, field.name): field for field in dataclasses.fields(self.settings)}

    @contextlib.contextmanager
    def in_flags(self) -> Iterator[None]:
        """What is wrong with a setting is said under the name of its flag."""
        try:
            yield
        except ValueError as error:
            message = str(error)
            for flag, name in self.flags.items():
                message = re.sub(rf"(?<=`){name}\b", flag, message)
            raise ValueError(message) from None


_DIT: Final = Kind(DiTSettings)
_COUPLING: Final = Kind(CouplingSettings, ("algo", "max_length", "circuit"), {"num_steps": "steps"})
ALL_KINDS: Final = (_DIT, _COUPLING)
# By their names in lm-eval, which are what --model_alias takes.
KINDS: Final[Mapping[str, Kind]] = {**dict.fromkeys(DIT_MODELS.values(), _DIT), COUPLING: _COUPLING}
ALGO_OF: Final[Mapping[str, str]] = {model: algo for algo, model in DIT_MODELS.items()}


@dataclass(frozen=True, kw_only=True)
class UnconditionalRun(Run):
    """See `Run`; `family` is the model's name in lm-eval, and what the others have for prompts is not set.

    `config` holds what is not the algorithm's usual setting. `algo`, `ema` and `mask_id` are arguments of the model.
    """

    family: str  # type: ignore[assignment]
    config: DiTSettings | CouplingSettings  # type: ignore[assignment]
    chat_template: bool | str = False
    algo: str | None = None
    ema: bool = True
    mask_id: int | None = None

    @property
    def kind(self) -> Kind:
        """What sort of model it is of."""
        return KINDS[self.family]

    @property
    def model(self) -> str:
        """See `Run`."""
        return self.family

    @property
    def rule(self) -> str:
        """See `Run`."""
        return self.named[0]

    @property
    def named(self) -> tuple[str, ...]:
        """See `Run`."""
        if self.decodes_nothing:
            return ("exact" if ALGO_OF.get(self.family) == "ar" else "bound",)
        steps = () if self.num_steps is None else (f"steps{self.num_steps}",)
        return (self._sampler, *steps)

    @property
    def num_steps(self) -> int | None:
        """See `Run`."""
        if self.decodes_nothing or ALGO_OF.get(self.family) == "ar":
            return None
        return self.config.steps if isinstance(self.config, CouplingSettings) else self.config.num_steps

    @property
    def unusual(self) -> dict[str, Any]:
        """See `Run`."""
        config = self.config
        settings = {
            field.name: value
            for field in dataclasses.fields(config)
            if (value := getattr(config, field.name)) != field.default
        }
        own = {"algo": self.algo, "ema": None if self.ema else False, "mask_id": self.mask_id}
        return {**{name: value for name, value in own.items() if value is not None}, **settings}

    def arguments(self) -> dict[str, Any]:
        """See `Run`."""
        given = {"dtype": self.dtype, "max_length": self.max_length}
        steps = {} if self.num_steps is None else {self.kind.flags.get("num_steps", "num_steps"): self.num_steps}
        return {**{name: value for name, value in given.items() if value is not None}, **self.unusual, **steps}

    @property
    def extensions(self) -> tuple[str, ...]:
        """See `Run`."""
        if isinstance(self.config, CouplingSettings) or self.decodes_nothing:
            return ()
        coupled = self.circuit is not None
        algo = ALGO_OF[self.family]
        return DiTSettings.for_algo(algo, coupled=coupled, **vars(self.config)).extensions(algo, coupled=coupled)

    @property
    def is_bound(self) -> bool:
        """See `Run`: MDLM does not look again at a row that did not change."""
        return bool(self.likelihoods_asked) or self.family == "mdlm"

    @property
    def metadata_of_task(self) -> str | None:
        """See `Run`: corpora are packed for the model and its tokenizer."""
        own = {} if self.metadata is None else json.loads(self.metadata)
        checkpoint, revision = checkpoints.split_revision(self.checkpoint)
        arguments = {
            "pretrained": checkpoint,
            "revision": revision,
            "tokenizer": self.tokenizer,
            "algo": self.algo,
            "max_length": self.max_length,
        }
        known = {name: value for name, value in arguments.items() if value is not None}
        return json.dumps({**known, **own}, sort_keys=True)

    @property
    def num_answers(self) -> int | None:
        """See `Run`."""
        return self.num_rows

    @property
    def num_documents(self) -> int | None:
        """See `Run`: samples are as many as are asked for."""
        if self.task != GEN_PPL:
            return super().num_documents
        asked = {} if self.metadata is None else json.loads(self.metadata)
        return int(asked.get("samples", GEN_PPL_SAMPLES))

    @property
    def num_forward(self) -> int:
        """See `Run`."""
        if isinstance(self.config, CouplingSettings):
            return self.config.steps or 1
        is_ar = ALGO_OF[self.family] == "ar"
        if asked := self.likelihoods_asked:
            draws = 1 if is_ar else self.config.num_samples
            return draws * (_GUESSED_CHOICES if "multiple_choice" in asked else 1)
        return self.length - 1 if is_ar else self.config.num_steps + (self.config.noise_removal != "none")

    @property
    def length(self) -> int:
        """Tokens of a row, as far as files here tell."""
        if isinstance(self.config, CouplingSettings):
            return _COUPLING_LENGTH
        folder = checkpoints.folder_of(self.checkpoint, packaged.CHECKPOINTS)
        said = None if folder is None else checkpoints.read_json(folder / "config.json").get("model_length")
        return self.config.gen_length or self.max_length or (said if isinstance(said, int) else _DIT_LENGTH)

    @property
    def cost(self) -> float:
        """See `Run`."""
        size = checkpoints.weight_bytes(self.checkpoint) or _DIT_BYTES
        return size * self.num_forward * (self.num_answers or GEN_PPL_SAMPLES) * self.length

    @property
    def _sampler(self) -> str:
        """How a row is made."""
        if isinstance(self.config, CouplingSettings):
            return "latent"
        usual = next(iter(PREDICTORS_OF[ALGO_OF[self.family]]), "left-to-right")
        return self.config.predictor or ("ancestral" if self.circuit is not None else usual)
