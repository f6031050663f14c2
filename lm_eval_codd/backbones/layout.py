"""What a family of checkpoints looks like on disk, and which transformers class computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from lm_eval_codd.settings import Family


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How checkpoints of one `model_type` become one of transformers' own models.

    Attributes:
        model_type: as config.json says it.
        family: whose rules of decoding apply.
        architecture: name of the transformers class that computes it.
        build_config: config.json's content -> that class's configuration.
        key_mapping: regular expressions from the checkpoint's module names to the class's. At most one
            back-reference each: transformers substitutes only the first.
        float32_rotary: whether queries and keys are rotated in float32 whatever the model's dtype.
        scored_by_previous: whether hidden state p-1 scores the token at position p (as in the autoregressive model
            it was trained from), or hidden state p does.
        end_of_turn: token string that ends an answer beside eos.
        published: (logit columns, id of `end_of_turn`) of the published checkpoints, for folders without a tokenizer.
        tokenizer_class: transformers class for repositories that ship vocab.json and merges.txt, no tokenizer.json.
    """

    model_type: str
    family: Family
    architecture: str
    build_config: Callable[[ConfigReader], PreTrainedConfig]
    key_mapping: Mapping[str, str]
    float32_rotary: bool
    scored_by_previous: bool
    end_of_turn: str
    published: tuple[int, int]
    tokenizer_class: str | None = None


class ConfigReader:
    """A checkpoint's config.json; says in one line which of its fields a layout cannot use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config = checkpoint.config
        self._source = checkpoint.source

    def get(self, name: str) -> Any:
        """The field's value, None when it is absent."""
        return self._config.get(name)

    def need(self, name: str) -> Any:
        """The field's value. Raises `CheckpointError` when it is absent or null."""
        if self._config.get(name) is None:
            raise CheckpointError(
                f"checkpoint `{self._source}`: config.json has no `{name}`, so it does not have this family's layout"
            )
        return self._config[name]

    def refuse_unless(self, expected: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` for the first field that is there with another value than the expected one."""
        for name, value in expected.items():
            found = self._config.get(name)
            if found not in (None, value):
                raise CheckpointError(
                    f"checkpoint `{self._source}`: config.json says `{name}={found}`, and only {name}={value} is "
                    "supported for this family"
                )
