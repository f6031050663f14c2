"""What a family of checkpoints looks like on disk, and which transformers class computes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

    from lm_eval_codd.settings import Family


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How checkpoints of one `model_type` become one of transformers' own models.

    Attributes:
        model_type: as config.json says it.
        family: its name here, for `family=`; several layouts may share it.
        decoding: the family by whose rules it is decoded; None where no decoder here follows its rules yet. A layout
            is one thing, decoding rules are another: several layouts may be decoded by the rules of one family.
        architecture: name of the transformers class that computes it.
        build_config: config.json's content -> that class's configuration.
        key_mapping: regular expressions from the checkpoint's module names to the class's. At most one
            back-reference each: transformers substitutes only the first.
        convert: the stored tensors, by name -> those that `key_mapping` and the class know, where renaming alone does
            not do; None where it does.
        float32_rotary: whether queries and keys are rotated in float32 whatever the model's dtype.
        scored_by_previous: whether hidden state p-1 scores the token at position p (as in the autoregressive model
            it was trained from), or hidden state p does.
        block_length: field of config.json with the length of the blocks of block-causal attention, and its value where
            the file does not say; None for a family whose positions see all others.
        mask_token: token string that stands for a masked position, for configurations that do not say its id.
        end_of_turn: token string that ends an answer beside eos.
        published: (logit columns, id of `end_of_turn`) of the published checkpoints, for folders without a tokenizer.
        tokenizer_class: transformers class for repositories that ship vocab.json and merges.txt, no tokenizer.json.
    """

    model_type: str
    family: str
    decoding: Family | None
    architecture: str
    build_config: Callable[[ConfigReader], PreTrainedConfig]
    key_mapping: Mapping[str, str] = field(default_factory=dict)
    convert: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] | None = None
    float32_rotary: bool = False
    scored_by_previous: bool = False
    block_length: tuple[str, int] | None = None
    mask_token: str | None = None
    end_of_turn: str | None = None
    published: tuple[int, int] | None = None
    tokenizer_class: str | None = None

    def renamed(self, name: str) -> str:
        """The class's name of a checkpoint's module or tensor."""
        for pattern, replacement in self.key_mapping.items():
            name, changed = re.subn(pattern, replacement, name)
            if changed:
                break
        return name


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

    def refuse(self, unwanted: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` for the first field that has the value that it must not have."""
        for name, value in unwanted.items():
            if self._config.get(name) == value:
                raise CheckpointError(
                    f"checkpoint `{self._source}`: config.json says `{name}={value}`, which is not supported for this "
                    "family"
                )

    def refuse_unless(self, expected: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` for the first field that is there with another value than the expected one."""
        for name, value in expected.items():
            found = self._config.get(name)
            if found not in (None, value):
                raise CheckpointError(
                    f"checkpoint `{self._source}`: config.json says `{name}={found}`, and only {name}={value} is "
                    "supported for this family"
                )
