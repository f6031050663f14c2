"""The network of the family: a transformer whose blocks are shifted, scaled and gated by the noise level (DiT).

Modules are named as the published checkpoints name their weights, and defined in the order of those parameters, which
is what a list of averaged weights without names goes by (`lightning.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from lm_eval_codd.dit.config import DiTConfig

_NUM_FREQUENCIES: Final = 128
_BASE: Final = 10_000.0
_EPS: Final = 1e-5


class Network(nn.Module):
    """Ids, or weights of all ids, to hidden states, and hidden states to logits.

    A new one is as training starts it: modulation and output layer are zero, so its logits are constant.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        conditions = None if config.causal else config.cond_dim
        self.vocab_embed = Embedding(config.vocab_size, config.hidden_dim)
        if conditions is not None:
            self.sigma_map = NoiseLevel(conditions)
        self.rotary_emb = Rotary(config.hidden_dim // config.n_heads)
        self.blocks = nn.ModuleList(
            Block(config.hidden_dim, config.n_heads, conditions) for _ in range(config.n_blocks)
        )
        self.output_layer = Output(config.hidden_dim, config.vocab_size, conditions)
        self.causal = config.causal

    def hidden(self, tokens: Tensor, level: Tensor | None, cache: Cache | None = None) -> Tensor:
        """[B, L, d], ready for `head`.

        Args:
            tokens: [B, L] ids; or [B, L, V] floats, whose softmax mixes the embeddings.
            level: [B], the conditioning value; None for a causal network, which has none.
            cache: of a causal network: what the positions before these left, and the place for what these leave.
        """
        states = self.vocab_embed(tokens)
        condition = None if level is None else functional.silu(self.sigma_map(level))
        start = 0 if cache is None else cache.length
        rotation = self.rotary_emb(start, states.shape[1], states.dtype)
        for number, block in enumerate(self.blocks):
            states = block(states, condition, rotation, self.causal, None if cache is None else (cache, number))
        if cache is not None:
            cache.length += states.shape[1]
        return self.output_layer.modulated(states, condition)

    def head(self, hidden: Tensor) -> Tensor:
        """[..., d] to logits [..., V]."""
        return self.output_layer.linear(hidden)


class Cache:
    """Keys and values of a causal network's positions so far."""

    def __init__(self, config: DiTConfig, num_rows: int, length: int, like: Tensor) -> None:
        shape = (num_rows, config.n_heads, length, config.hidden_dim // config.n_heads)
        self._kept = like.new_empty((config.n_blocks, 2, *shape))
        self.length = 0

    def extended(self, number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Those of block `number` up to the new positions, [B, h, n, d / h] each."""
        end = self.length + keys.shape[2]
        kept = self._kept[number]
        kept[0, :, :, self.length : end], kept[1, :, :, self.length : end] = keys, values
        return kept[0, :, :, :end], kept[1, :, :, :end]


class Embedding(nn.Module):
    """Vectors of ids, or their mixture under the softmax of weights [B, L, V]."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_size, width))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, d]."""
        if tokens.is_floating_point():
            return tokens.softmax(dim=-1).to(self.embedding.dtype) @ self.embedding
        return functional.embedding(tokens, self.embedding)


class NoiseLevel(nn.Module):
    """A conditioning value to a vector, through sines and cosines of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * _NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, level: Tensor) -> Tensor:
        """[B] to [B, c]."""
        dtype = next(self.parameters()).dtype
        steps = torch.arange(_NUM_FREQUENCIES, dtype=_wide(dtype), device=level.device)
        angles = level.to(_wide(dtype))[:, None] * torch.exp(-math.log(_BASE) / _NUM_FREQUENCIES * steps)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype))


class Rotary(nn.Module):
    """Rotations of the two halves of a head by position."""

    inv_freq: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", _BASE ** (-torch.arange(0, head_width, 2).double() / head_width).float())

    def forward(self, start: int, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [L, d / 2h] of the positions from `start` on."""
        positions = torch.arange(start, start + length, dtype=_wide(dtype), device=self.inv_freq.device)
        angles = positions[:, None] * self.inv_freq.to(_wide(dtype))
        return angles.cos().to(dtype), angles.sin().to(dtype)


class Norm(nn.Module):
    """Layer norm with a weight and no bias, in float32 or better."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, states: Tensor) -> Tensor:
        """Of the same shape and dtype."""
        wide = _wide(states.dtype)
        normed = functional.layer_norm(states.to(wide), self.weight.shape, self.weight.to(wide), eps=_EPS)
        return normed.to(states.dtype)


class Block(nn.Module):
    """Attention and MLP; without a condition, shifts and scales are 0 and gates 1."""

    def __init__(self, width: int, num_heads: int, conditions: int | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = Norm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = Norm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        if conditions is not None:
            self.adaLN_modulation = _zeros(conditions, 6 * width)

    def forward(
        self,
        states: Tensor,
        condition: Tensor | None,
        rotation: tuple[Tensor, Tensor],
        causal: bool,
        cache: tuple[Cache, int] | None,
    ) -> Tensor:
        """[B, L, d] to the same."""
        if condition is None:
            states = states + self._attention(self.norm1(states), rotation, causal, cache)
            return states + self.mlp(self.norm2(states))
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition)[:, None].chunk(6, dim=-1)
        seen = self.norm1(states) * (1 + scale1) + shift1
        states = states + gate1 * self._attention(seen, rotation, causal, cache)
        return states + gate2 * self.mlp(self.norm2(states) * (1 + scale2) + shift2)

    def _attention(
        self, states: Tensor, rotation: tuple[Tensor, Tensor], causal: bool, cache: tuple[Cache, int] | None
    ) -> Tensor:
        # [3, B, h, L, d / h]
        parts = self.attn_qkv(states).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        (queries, keys), values = _rotated(parts[:2], rotation), parts[2]
        if cache is not None:
            keys, values = cache[0].extended(cache[1], keys, values)
        # A cache is fed one position at a time, which sees all that is there.
        seen = functional.scaled_dot_product_attention(queries, keys, values, is_causal=causal and cache is None)
        return self.attn_out(seen.transpose(1, 2).flatten(2))


class Output(nn.Module):
    """The last norm, and the head."""

    def __init__(self, width: int, vocab_size: int, conditions: int | None) -> None:
        super().__init__()
        self.norm_final = Norm(width)
        self.linear = _zeros(width, vocab_size)
        if conditions is not None:
            self.adaLN_modulation = _zeros(conditions, 2 * width)

    def modulated(self, states: Tensor, condition: Tensor | None) -> Tensor:
        """[B, L, d] to the same, as `linear` takes it."""
        normed: Tensor = self.norm_final(states)
        if condition is None:
            return normed
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, dim=-1)
        return normed * (1 + scale) + shift


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _rotated(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """[..., L, d / h] with its halves rotated."""
    cos, sin = rotation
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype itself where it is float32 or float64, else float32."""
    return dtype if dtype == torch.float64 else torch.float32
