"""One pass through a transformers decoder's own modules that computes what a diffusion model's attention forces.

Every layer needs the keys and values of every column. Of the last one nothing else is read but the asked positions, so
its queries, its MLP and the final norm are computed only there.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final, cast

import torch
from torch.nn.functional import scaled_dot_product_attention

from lm_eval_codd.backbones.elementwise import normed, normed_sum, rotate
from lm_eval_codd.backbones.experts.router import Router, has_experts
from lm_eval_codd.backbones.key_values import KeyValues

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from lm_eval_codd.backbones.experts.router import Routed
    from lm_eval_codd.backbones.experts.routing import Routing
    from lm_eval_codd.backbones.experts.tally import Tally

# Columns of a batch up to which a pass takes longer to launch than to run.
_MOST_LAUNCHED: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class _Context:
    """What every layer of a pass reads beside the hidden states.

    Attributes:
        cos, sin: [B, W, 1, D], the rotary embedding of the W columns that pass through.
        mask: [B, 1, 1, L] bool, False at padding, or [B, 1, W, L], which columns each one sees; None: all see all.
        picked: [B, P] which of the W columns are asked for; None for all.
        slots: [B] rows of the cache; None for the first B.
        columns: [B, W] where the W columns are on the canvas; None when they are the whole canvas.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    picked: Tensor | None
    slots: Tensor | None
    columns: Tensor | None

    def to(self, device: torch.device) -> _Context:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in values.items() if value is not None})


class Trunk:
    """A language model without its head.

    Modules are always called, never read: an adapter may stand in the place of a projection, and with weights
    offloaded by accelerate they are elsewhere until the call.

    Args:
        model: of transformers, with a language-model head, whose layers are those of Llama (pre-norm; q, k, v and o
            projections; rotary positions), with or without Qwen3's norms of queries and keys, experts in place of the
            MLP, or a rotary embedding of a part of each head. `check_trunk` finds whatever else a class does.
        float32_rotary: rotate queries and keys in float32 whatever the model's dtype.
    """

    def __init__(self, model: PreTrainedModel, *, float32_rotary: bool) -> None:
        self._model = model.model
        self._dtype = model.dtype
        self._rotary_dtype = torch.float32 if float32_rotary and model.dtype.itemsize < 4 else model.dtype
        self._devices = [device_of(layer.input_layernorm) for layer in self._model.layers]
        self._cache_shape = (model.config.num_key_value_heads, self._model.layers[0].self_attn.head_dim)
        self.head = model.lm_head
        self._router: Router | None = None
        # Experts wait for the device to say which tokens they have, and hooks bring weights from elsewhere.
        hooked = any(hasattr(module, "_hf_hook") for module in model.modules())
        experts = any(has_experts(layer.mlp) for layer in self._model.layers)
        on_one_gpu = len(set(self._devices)) == 1 and self._devices[0].type == "cuda"
        self._is_captured = on_one_gpu and not hooked and not experts

    def routed(self, routing: Routing, mask_id: int, tally: Tally | None = None) -> Trunk:
        """The same model with its tokens and experts paired in another way.

        Such a pass computes all of the last layer too, since tokens compete along the row, and keeps no cache.
        """
        trunk = copy(self)
        trunk._router = Router(list(self._model.layers), self._devices, routing, mask_id, tally)
        return trunk

    @property
    def device(self) -> torch.device:
        """Where tokens are looked up."""
        return device_of(self._model.embed_tokens)

    def new_cache(self, num_slots: int, length: int) -> KeyValues:
        """Empty keys and values, each layer's on its own device."""
        shape = (num_slots, length, *self._cache_shape)
        keys, values = (
            [torch.zeros(shape, dtype=self._dtype, device=device) for device in self._devices] for _ in range(2)
        )
        return KeyValues(keys, values)

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None,
        picked: Tensor | None,
        cache: KeyValues | None = None,
        slots: Tensor | None = None,
        columns: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Normalised hidden states of the last layer.

        Args:
            tokens: [B, L] int64.
            attention_mask: [B, L] bool, False at padding, or [B, 1, L, L] bool, which columns each one sees ([B, 1,
                W, L], each of those that pass through); None when all see all.
            picked: [B, P] int64: which of the columns that pass through are asked for; None for all.
            cache: takes the keys and values of the columns that pass through, and gives those of the others.
            slots: [B] int64 rows of the cache; None for the first B.
            columns: [B, W] int64: which columns pass through; None for all.
            places: [B, L] int64: where in the text each column stands; None: behind so many tokens that are real.

        Returns:
            [B, P, D], on the device of the tokens.

        Raises:
            ValueError: a cache, where experts choose tokens.
        """
        real = real_tokens(attention_mask, of_span=columns is not None)
        if self._router is not None:
            if cache is not None:
                raise ValueError("`cache` does not go with `router=ec`: a later token changes what an earlier one is")
            hidden = self._pass(tokens, attention_mask, real, places=places, routed=self._router.start(tokens, real))
            return hidden if picked is None else picked_of(hidden, picked)
        # Masks of blocks come with canvases that grow block by block, whose graphs would hardly be used again.
        repeats = attention_mask is None or attention_mask.ndim == 2
        num_columns = (tokens if columns is None else columns).numel()
        if cache is not None and self._is_captured and repeats and num_columns <= _MOST_LAUNCHED:
            # The asked positions are picked afterwards, so that their number makes no graph of its own.
            hidden = cache.graphs.replay(
                lambda tokens, mask, real, slots, columns, places: self._pass(
                    tokens, mask, real, cache=cache, slots=slots, columns=columns, places=places
                ),
                *(tokens, attention_mask, real, slots, columns, places),
                fills=slots is not None,
            )
            return hidden if picked is None else picked_of(hidden, picked)
        return self._pass(tokens, attention_mask, real, picked, cache, slots, columns, places)

    def _pass(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None,
        real: Tensor | None,
        picked: Tensor | None = None,
        cache: KeyValues | None = None,
        slots: Tensor | None = None,
        columns: Tensor | None = None,
        places: Tensor | None = None,
        routed: Routed | None = None,
    ) -> Tensor:
        num_rows, length = tokens.shape
        hidden = self._model.embed_tokens(tokens if columns is None else tokens.gather(1, columns))
        hidden = hidden.to(self._devices[0])
        phases = positions_of(length, real, tokens.device, columns) if places is None else _picked(places, columns)
        cos, sin = self._rotary(hidden, phases)
        context = _Context(cos, sin, _seen(attention_mask, columns), picked, slots, columns).to(hidden.device)
        layers, last = self._model.layers, len(self._devices) - 1
        normed_hidden = normed(layers[0].input_layernorm, hidden)
        for index, layer in enumerate(layers):
            attention, states = layer.self_attn, normed_hidden
            cos, sin, mask = context.cos, context.sin, context.mask
            keys = rotate(cos, sin, _normed(attention, "k_norm", _split(attention.k_proj(states), attention)))
            values = _split(attention.v_proj(states), attention)
            if cache is not None:
                cache.write(index, keys, values, context.slots, context.columns)
                if columns is not None:
                    keys, values = cache.read(index, num_rows, length, context.slots)
            if index == last and context.picked is not None:
                hidden, states, cos, sin = (picked_of(each, context.picked) for each in (hidden, states, cos, sin))
                if mask is not None and mask.shape[2] > 1:
                    mask = picked_of(mask[:, 0], context.picked)[:, None]
            queries = rotate(cos, sin, _normed(attention, "q_norm", _split(attention.q_proj(states), attention)))
            attended = attention.o_proj(_attend(queries, keys, values, mask, attention.scaling))
            hidden, states = normed_sum(layer.post_attention_layernorm, attended, hidden)
            update = layer.mlp(states) if routed is None else routed(index, layer.mlp, states)
            if index < last and hidden.device != self._devices[index + 1]:
                device = self._devices[index + 1]
                hidden, update, context = hidden.to(device), update.to(device), context.to(device)
            norm = self._model.norm if index == last else layers[index + 1].input_layernorm
            hidden, normed_hidden = normed_sum(norm, update, hidden)
        return normed_hidden.to(tokens.device)

    def _rotary(self, hidden: Tensor, phases: Tensor) -> tuple[Tensor, Tensor]:
        # Of the hidden states the rotary module reads only dtype and device.
        cos, sin = self._model.rotary_emb(hidden.new_empty(0, dtype=self._rotary_dtype), phases)
        # One shape for padded batches and others: each one is compiled for by itself.
        shape = (len(hidden), *cos.shape[1:])
        return cos.expand(shape).contiguous()[:, :, None], sin.expand(shape).contiguous()[:, :, None]


def device_of(module: nn.Module) -> torch.device:
    """Where a module with a weight computes."""
    # With weights offloaded by accelerate, that is not where they are stored.
    hook = getattr(module, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return cast("Tensor", module.weight).device if device is None else torch.device(device)


def real_tokens(attention_mask: Tensor | None, *, of_span: bool = False) -> Tensor | None:
    """[B, L] bool, False at padding, of a mask in either form: a token sees itself, padding is seen by nobody.

    Where a mask is `of_span`, [B, 1, W, L], what none of the span sees counts as padding.
    """
    if attention_mask is None or attention_mask.ndim == 2:
        return attention_mask
    if of_span:
        return attention_mask[:, 0].any(dim=1)
    return attention_mask[:, 0].diagonal(dim1=1, dim2=2)


def _seen(attention_mask: Tensor | None, columns: Tensor | None) -> Tensor | None:
    """What attention takes: [B, 1, 1, L] where all see the same, [B, 1, W, L] else; None gets the fastest kernels."""
    if attention_mask is None or attention_mask.ndim == 2:
        return None if attention_mask is None else attention_mask[:, None, None, :]
    if columns is not None:
        return attention_mask
    # Padding sees itself: a row of weights over nothing is not a number, and would spread.
    length = attention_mask.shape[-1]
    return attention_mask | torch.eye(length, dtype=torch.bool, device=attention_mask.device)


def positions_of(
    length: int, attention_mask: Tensor | None, device: torch.device, columns: Tensor | None = None
) -> Tensor:
    """[B or 1, W]: how many real tokens stand before each, so that a row is rotated alike wherever it starts."""
    if attention_mask is None:
        return torch.arange(length, device=device)[None] if columns is None else columns
    return _picked((attention_mask.long().cumsum(-1) - 1).clamp(min=0), columns)


def _picked(phases: Tensor, columns: Tensor | None) -> Tensor:
    return phases if columns is None else phases.gather(1, columns)


def _split(states: Tensor, attention: nn.Module) -> Tensor:
    """[B, W, H * D] -> [B, W, H, D]."""
    return states.unflatten(-1, (-1, attention.head_dim))


def _normed(attention: nn.Module, name: str, states: Tensor) -> Tensor:
    """[B, W, H, D], each head normalised where the class does so (Qwen3's `q_norm` and `k_norm`)."""
    norm = getattr(attention, name, None)
    return states if norm is None else norm(states)


def picked_of(states: Tensor, picked: Tensor) -> Tensor:
    """[B, W, ...] at [B, P] -> [B, P, ...]."""
    rows = torch.arange(len(picked), device=picked.device)[:, None]
    return states[rows, picked]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """[B, P, H, D] over [B, L, K, D], where H / K heads share keys and values -> [B, P, H * D]."""
    num_heads = keys.shape[2]
    # All heads are masked alike, so those that share keys can be queries of one head.
    folded = queries.unflatten(2, (num_heads, -1)).permute(0, 2, 3, 1, 4)  # [B, K, H / K, P, D]
    if mask is not None and mask.shape[2] > 1:
        mask = mask.repeat(1, 1, folded.shape[2], 1)
    attended = scaled_dot_product_attention(
        folded.flatten(2, 3), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask, scale=scale
    )
    return attended.unflatten(2, folded.shape[2:4]).permute(0, 3, 1, 2, 4).flatten(2)
