"""What a family of checkpoints looks like on disk, and which transformers class computes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError
from lm_eval_codd.backbones.sizes import COUNTS, POSITIVE
from lm_eval_codd.terminal.clean_text import shortened

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

    from lm_eval_codd.backbones.experts.routing import Routing
    from lm_eval_codd.settings import Family


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How checkpoints of one `model_type` become one of transformers' own models.

    Attributes:
        model_type: as config.json says it.
        examples: published checkpoints, for people.
        family: its name here, for `family=`; several layouts may share it.
        decoding: the family by whose rules it is decoded; None where no decoder here follows its rules yet. A layout
            is one thing, decoding rules are another: several layouts may be decoded by the rules of one family.
        architecture: name of the transformers class that computes it.
        build_config: config.json's content -> that class's configuration.
        foreign_weights: parts of names of weights that other models under this `model_type` have, and what is to be
            said of those; they are refused.
        key_mapping: regular expressions from the checkpoint's module names to the class's. At most one
            back-reference each: transformers substitutes only the first.
        convert: the stored tensors, by name -> those that `key_mapping` and the class know, where renaming alone does
            not do; None where it does.
        float32_rotary: whether queries and keys are rotated in float32 whatever the model's dtype.
        is_encoder: whether it is an encoder, which its class computes as a whole, and no layers of Llama's kind.
        is_plain: whether ordinary autoregressive checkpoints have this `model_type` too: then a mask token in the
            tokenizer's files is the mark of this layout, and another one of the same class may be named instead.
        needs_family: whether that mark does not do, since such checkpoints may be shifted or not: `family=` says it.
        also_marked: another `model_type` of such checkpoints, and the fields of config.json that tell them there.
        never_has: the field of config.json with which one that is `also_marked` is not of this layout all the same.
        scored_by_previous: whether hidden state p-1 scores the token at position p (as in the autoregressive model
            it was trained from), or hidden state p does.
        block_length: field of config.json with the length of the blocks of block-causal attention, and its value where
            the file does not say; None for a family whose positions see all others.
        blocks_if_named: the part of a checkpoint's name that says that it is block-causal, for a family which has
            checkpoints of either kind; None where all are of one kind.
        blocks_from_the_end: whether blocks are counted from a row's last token backwards, not from its first.
        expert_gates: of mixtures of experts, the rule by which the checkpoint weighs a token's experts (`expert_choice`
            in `experts.choice`); None for a family without experts.
        own_routing: config.json's content -> how the checkpoint was trained to pair tokens and experts, where that is
            not the class's way; None where it is.
        rules_if_named: the block decoder's rules of checkpoints whose files tell nothing, by a part of their names.
        unseen_if_named: parts of the names of checkpoints that are published with settings of their own, which were not
            seen here.
        mask_tokens: token strings that may stand for a masked position, for configurations that do not say its id and
            tokenizers that do not declare one.
        mask_is_first_free: whether a tokenizer that has none of these gets one, with the first id that it leaves free.
        end_of_text: token string that ends a text, for tokenizers whose eos is the end of a turn.
        end_of_turn: token string that ends an answer beside eos.
        template_args: arguments of the chat template that the family's evaluation has.
        published: (logit columns, id of `end_of_turn`) of the published checkpoints, for folders without a tokenizer.
        tokenizer_class: transformers class for repositories that ship vocab.json and merges.txt, no tokenizer.json.
        goldens: which outputs of the authors' code this project's tests hold, on tiny random weights: `logits`,
            `decodes`.
        unverified: what else is not known of its checkpoints, for people.
    """

    model_type: str
    examples: str
    family: str
    decoding: Family | None
    architecture: str
    build_config: Callable[[ConfigReader], PreTrainedConfig]
    foreign_weights: Mapping[str, str] = field(default_factory=dict)
    key_mapping: Mapping[str, str] = field(default_factory=dict)
    convert: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] | None = None
    float32_rotary: bool = False
    is_encoder: bool = False
    is_plain: bool = False
    needs_family: bool = False
    also_marked: tuple[str, tuple[str, ...]] | None = None
    never_has: str | None = None
    scored_by_previous: bool = False
    block_length: tuple[str, int] | None = None
    blocks_if_named: str | None = None
    blocks_from_the_end: bool = False
    rules_if_named: Mapping[str, str] = field(default_factory=dict)
    unseen_if_named: tuple[str, ...] = ()
    expert_gates: str | None = None
    own_routing: Callable[[ConfigReader], Routing] | None = None
    mask_tokens: tuple[str, ...] = ()
    mask_is_first_free: bool = False
    end_of_text: str | None = None
    end_of_turn: str | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[int, int] | None = None
    tokenizer_class: str | None = None
    goldens: tuple[str, ...] = ()
    unverified: str | None = None

    @property
    def is_block_causal(self) -> bool:
        """Whether all checkpoints of this layout are."""
        return self.block_length is not None and self.blocks_if_named is None

    def decodes(self, block_length: int | None) -> bool:
        """Whether a decoder here follows its rules with blocks of this length, or where it is None, full attention."""
        return self.decoding is not None and (block_length is not None or not self.is_block_causal)

    def refuse_foreign_weights(self, checkpoint: Checkpoint) -> None:
        """Raise `CheckpointError` for weights of another model under this `model_type`."""
        for part, what in self.foreign_weights.items():
            name = next((name for name in checkpoint.stored if part in name), None)
            if name is not None:
                raise CheckpointError(f"checkpoint `{checkpoint.source}` has the weight {name}: {what}")

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
        """The field's value, None when it is absent. Raises `CheckpointError` for a size that is none."""
        value = self._config.get(name)
        if value is None:
            return None
        if name in COUNTS:
            least, most = COUNTS[name]
            if type(value) is not int or not least <= value <= most:
                raise self._unfit(name, value, f"a whole number from {least} to {most}")
        elif name in POSITIVE and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise self._unfit(name, value, "a number above 0")
        return value

    def _unfit(self, name: str, value: object, wanted: str) -> CheckpointError:
        return CheckpointError(
            f"checkpoint `{self._source}`: config.json says `{name}={shortened(value)}`, and it must be {wanted}; "
            "fetch the file again, or correct that field"
        )

    def need(self, name: str) -> Any:
        """The field's value. Raises `CheckpointError` when it is absent or null."""
        value = self.get(name)
        if value is None:
            raise CheckpointError(
                f"checkpoint `{self._source}`: config.json has no `{name}`, so it does not have this family's layout"
            )
        return value

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
