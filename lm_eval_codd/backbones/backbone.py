"""A loaded checkpoint as decoding sees it: logits of the asked positions, and a few facts."""

from __future__ import annotations

from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, ClassVar, Concatenate, ParamSpec

import torch
from torch import nn

from lm_eval_codd.backbones.encoder_pass import EncoderPass
from lm_eval_codd.backbones.experts.routing import choose_routing, experts_of, no_experts_with_blocks
from lm_eval_codd.backbones.experts.tally import Tally
from lm_eval_codd.backbones.forward import Trunk, real_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_eval_codd.backbones.experts.routing import Routing
    from lm_eval_codd.backbones.experts.tally import RoutingTotals
    from lm_eval_codd.backbones.key_values import KeyValues
    from lm_eval_codd.backbones.layout import Layout
    from lm_eval_codd.backbones.token_ids import TokenIds
    from lm_eval_codd.settings import RouterSettings


Given = ParamSpec("Given")


def _no_grad_unless_learning(
    method: Callable[Concatenate[Backbone, Given], Tensor],
) -> Callable[Concatenate[Backbone, Given], Tensor]:
    @wraps(method)
    def with_gradients_if_any(self: Backbone, *args: Given.args, **kwargs: Given.kwargs) -> Tensor:
        # Not inference_mode: callers may write into the logits or train a circuit on them.
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            return method(self, *args, **kwargs)

    return with_gradients_if_any


class Backbone:
    """A masked diffusion language model. Built by `load_backbone`.

    Attributes:
        family: whose rules of decoding apply, such as `llada` or `dream`.
        recognised_by: why it was taken for one of that layout.
        layout: the family whose files these are; LLaDA-MoE's are its own, and it is decoded as LLaDA.
        decodes: whether a decoder here follows the family's rules, and its attention; else only `logits` is of use.
        block_length: of block-causal attention, where a position sees its own block and those before it; None where
            every position sees every other one.
        mask_id, eos_id, eot_id: special tokens; `eot_id` is None where the checkpoint has none.
        mask_source: where the mask's id comes from.
        vocab_size: number of logit columns, which may exceed the tokenizer's vocabulary.
        max_length: the longest sequence the checkpoint was made for, prompt included.
        num_parameters: of the checkpoint itself, without an adapter.
        dtype: of weights and logits.
        device: where `logits` takes its tokens and leaves its result.
        source: the folder or hub id it was loaded from.
        identity: commit on the hub or hash of the files, with the adapter's after a `+`.
        model: the transformers model.
        learns: whether `logits` has gradients of the model's parameters, to train them; False when loaded.
        scored_by_previous: whether hidden state p-1 scores the token at position p, or hidden state p does.
        experts: of a mixture of experts, what it was trained with; None for others.
        is_encoder: whether its class computes it as a whole (ModernBERT); then there are no caches.
        own_routing: how its tokens and experts are paired, where that is not the class's way.
        splits: of the class: whether `logits` is `head` of `hidden_at`, so that each may be asked for alone.
    """

    splits: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """A subclass with other `logits` is asked for these, unless it has a trunk or a head to go with them."""
        own = vars(cls)
        if "logits" in own and "splits" not in own:
            cls.splits = "hidden_at" in own or "head" in own

    def __init__(
        self,
        model: PreTrainedModel,
        layout: Layout,
        token_ids: TokenIds,
        *,
        num_parameters: int,
        source: str,
        identity: str,
        block_length: int | None = None,
        recognised_by: str = "",
        own_routing: Routing | None = None,
    ) -> None:
        self.model = model
        self.family = layout.decoding or layout.family
        self.layout = layout.family
        self.recognised_by = recognised_by
        self.decodes = layout.decodes(block_length)
        self.block_length = block_length
        self._blocks_from_the_end = layout.blocks_from_the_end
        self.mask_id = token_ids.mask_id
        self.eos_id = token_ids.eos_id
        self.eot_id = token_ids.eot_id
        self.mask_source = token_ids.mask_source
        self.vocab_size = model.config.vocab_size
        self.max_length = model.config.max_position_embeddings
        self.num_parameters = num_parameters
        self.dtype = model.dtype
        self.is_encoder = layout.is_encoder
        self._trunk: Trunk = (
            EncoderPass(model) if layout.is_encoder else Trunk(model, float32_rotary=layout.float32_rotary)
        )
        self.device = self._trunk.device
        self.source = source
        self.identity = identity
        self.learns = False
        self.scored_by_previous = layout.scored_by_previous
        self.experts = experts_of(model.config, layout.expert_gates, own_routing)
        self.own_routing = own_routing
        self._tally = Tally()
        if own_routing is not None:
            self._trunk = self._trunk.routed(own_routing, self.mask_id, self._tally)

    def routed_by(self, settings: RouterSettings, mask_id: int | None = None) -> Backbone:
        """This backbone with the experts that the settings ask for, sharing its weights; itself where it is trained so.

        Args:
            settings: a `DecodingConfig` or `LikelihoodConfig`.
            mask_id: of the token by whose share a schedule goes; None: the backbone's own.

        Raises:
            ValueError: one line: it has no experts, or not those, or was not trained for `router=tc`; or its attention
                is block-causal, and no `ec_scope` says that later blocks change earlier ones.
        """
        routing = choose_routing(settings, self.experts, self.own_routing, self.source)
        if routing is None and mask_id not in (None, self.mask_id):
            routing = self.own_routing  # whose schedule goes by another token then
        if routing is not None and self.block_length is not None and settings.ec_scope is None:
            raise ValueError(no_experts_with_blocks(self.source))
        return self if routing is None else self.with_routing(routing, mask_id)

    def with_routing(self, routing: Routing, mask_id: int | None = None) -> Backbone:
        """This backbone with its tokens and experts paired in another way, sharing its weights.

        Args:
            routing: how.
            mask_id: as for `routed_by`.
        """
        backbone = copy(self)
        backbone._trunk = self._trunk.routed(routing, self.mask_id if mask_id is None else mask_id, self._tally)
        return backbone

    def take_routing(self) -> RoutingTotals:
        """What `router=ec` did since this was last asked, whichever settings it was of. Waits for the device."""
        return self._tally.take()

    @_no_grad_unless_learning
    def logits(self, tokens: Tensor, attention_mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Logits of the token AT each asked position, in the backbone's own dtype.

        A row's logits do not depend on its padding or on the other rows (up to the rounding of another kernel). The
        language-model head is applied to the asked positions only.

        Args:
            tokens: [B, L] int64.
            attention_mask: [B, L] bool, False at padding; None when nothing is padded. Padding may be on either side.
                Or [B, 1, L, L] bool: which columns (last) each one (third) sees, in place of the family's attention;
                padding is seen by nobody, itself included.
            positions: [B, P] int64 columns of `tokens`; None asks for all.

        Returns:
            [B, P, V]. Rows asked for at padding hold no meaning.
        """
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
            if attention_mask.all():
                attention_mask = None
        return self.head(self.hidden_at(tokens, attention_mask, positions))

    @_no_grad_unless_learning
    def hidden_at(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        *,
        cache: KeyValues | None = None,
        slots: Tensor | None = None,
        start: Tensor | None = None,
        width: int | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """What `head` reads to score the token AT each asked position. Never waits for the device.

        Without a cache, every column passes through the network. With one, so it does, and leaves its keys and values
        there. With a cache and `start`, only a span of each row passes through, sees the rest of the canvas as the
        cache has it, and overwrites its own columns there: from the block's start to the end of the canvas this is
        Fast-dLLM's prefix cache, over the block alone its dual cache.

        Args:
            tokens: [B, L] int64.
            attention_mask: as for `logits`. None is faster. With a span, [B, 1, width, L] says which columns each of
                its own sees, and [B, 1, 1, L] which all of them see.
            positions: [B, P] int64 columns of `tokens`, of the span where there is one; None asks for all of it.
            cache: of `new_cache`, of at least L columns.
            slots: [B] int64: the row of the cache that each row of `tokens` has; None for the first B in order.
            start: [B] int64: the first column of each row's span.
            width: columns in a span. One that passes the end of the canvas is filled with the last column.
            places: [B, L] int64: where in the text each column stands, for its rotary embedding, so that several may
                stand at one place; None: behind so many tokens that are real.

        Returns:
            [B, P, D]. Where position p is scored by output p-1 (Dream), the first of a span is scored by itself.

        Raises:
            ValueError: `start` without `cache` and `width`.
        """
        columns = None
        if start is not None:
            if cache is None or width is None:
                raise ValueError("`start` says which span of a cache to compute; give `cache=` and `width=` too")
            columns = (start[:, None] + torch.arange(width, device=start.device)).clamp(max=tokens.shape[1] - 1)
        if self.block_length is not None and (attention_mask is None or attention_mask.ndim == 2):
            attention_mask = _block_causal(
                tokens, attention_mask, self.block_length, columns, from_the_end=self._blocks_from_the_end
            )
        if self.scored_by_previous:
            real = real_tokens(attention_mask, of_span=start is not None)
            positions = _scoring_positions(tokens, real, positions, columns)
        if start is not None and positions is not None:
            positions = positions - start[:, None]
        return self._trunk(tokens, attention_mask, positions, cache, slots, columns, places)

    @_no_grad_unless_learning
    def head(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits of what `hidden_at` gave, in the backbone's own dtype.

        Args:
            hidden: [..., D].
            out: [at least N, V], room for the logits of hidden states [N, D] on a CPU, where fresh memory costs a
                fifth of the product itself. It is taken where the head is a plain product.

        Returns:
            [..., V], a new tensor or a part of `out`.
        """
        head = self._trunk.head
        if out is None or not _is_plain_product(head) or hidden.dtype != out.dtype:
            return head(hidden).to(hidden.device)
        return torch.mm(hidden, head.weight.T, out=out[: len(hidden)])

    @property
    def attention(self) -> str:
        """`full`, or `block` where a position sees its own block and those before it."""
        return "full" if self.block_length is None else "block"

    def new_cache(self, num_slots: int, length: int) -> KeyValues:
        """Keys and values of `num_slots` rows of `length` columns, for `hidden_at`; a full pass fills them."""
        return self._trunk.new_cache(num_slots, length)

    def __repr__(self) -> str:
        return f"Backbone({self.source!r}, family={self.family!r}, dtype={self.dtype}, device={str(self.device)!r})"


def _is_plain_product(head: nn.Module) -> bool:
    """Whether calling the head does nothing but multiply with its weight: no adapter, no hook, no bias."""
    hooked = head._forward_hooks or head._forward_pre_hooks
    # Offloaded weights are brought by a `forward` of the instance; until then they are empty.
    return type(head) is nn.Linear and head.bias is None and not hooked and "forward" not in vars(head)


def _block_causal(
    tokens: Tensor, attention_mask: Tensor | None, block_length: int, columns: Tensor | None, *, from_the_end: bool
) -> Tensor:
    """[B, 1, L, L] bool, or [B, 1, W, L] of some columns [B, W]: each sees its own block and those before it.

    Blocks are counted from a row's first token, or from its last one backwards.
    """
    real = torch.ones_like(tokens, dtype=torch.bool) if attention_mask is None else attention_mask
    place = (real.long().cumsum(-1) - 1).clamp(min=0)
    if from_the_end:
        place = place - real.sum(dim=-1, keepdim=True)
    blocks = place.div(block_length, rounding_mode="floor")
    asking, are_real = (blocks, real) if columns is None else (blocks.gather(1, columns), real.gather(1, columns))
    return ((asking[:, :, None] >= blocks[:, None, :]) & real[:, None, :] & are_real[:, :, None])[:, None]


def _scoring_positions(
    tokens: Tensor, attention_mask: Tensor | None, positions: Tensor | None, columns: Tensor | None
) -> Tensor:
    """[B, P]: the position before each asked one, or itself where a row or a span starts.

    The official code duplicates row 0 for the first column, and Fast-dLLM that of a span. A left-padded row starts
    later, and its first token must be scored as it is without the padding.
    """
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        positions = positions if columns is None else columns
    previous = (positions - 1).clamp(min=0)
    if columns is not None:
        previous = torch.maximum(previous, columns[:, :1])
    if attention_mask is None:
        return previous
    return torch.where(attention_mask.gather(1, previous), previous, positions)
