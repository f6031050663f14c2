"""The two generators of the current code: `v3`, from a latent to tokens, and `latent_mdm`, which sees tokens too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from lm_eval_codd.latent.networks.sizes import GeneratorSizes

# torch's own of the float32 that these models are trained in; in float64 it would be another.
_EPS: Final = torch.finfo(torch.float32).eps


class Transformer(nn.Module):
    """Latents [B, T, d] to logits [B, T, V]: two-way attention, one vector of bias a position, no other sense of place.

    Args:
        sizes: of the checkpoint.
        sees_tokens: of `latent_mdm`: ids [B, T] are read too.
    """

    def __init__(self, sizes: GeneratorSizes, sees_tokens: bool) -> None:
        super().__init__()
        self.position_bias = nn.Parameter(torch.zeros(sizes.length, sizes.width))
        if sees_tokens:
            self.token_embed = nn.Embedding(sizes.vocab_size, sizes.width)
        self.z_proj = nn.Linear(sizes.latent_dim, sizes.width)
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.RMSNorm(sizes.width, eps=_EPS)
        self.out_proj = nn.Linear(sizes.width, sizes.vocab_size)
        self.sees_tokens = sees_tokens

    def forward(self, z: Tensor, tokens: Tensor | None = None) -> Tensor:
        """[B, T, V]."""
        states = self.z_proj(z)
        if tokens is not None:
            states = self.token_embed(tokens) + states
        states = states + self.position_bias
        for block in self.blocks:
            states = block(states)
        logits: Tensor = self.out_proj(self.norm(states))
        return logits


class _Block(nn.Module):
    def __init__(self, sizes: GeneratorSizes) -> None:
        super().__init__()
        self.num_heads = sizes.num_heads
        self.attn_norm = nn.RMSNorm(sizes.width, eps=_EPS)
        self.qkv_proj = nn.Linear(sizes.width, 3 * sizes.width)
        self.out_proj = nn.Linear(sizes.width, sizes.width)
        self.ffn_norm = nn.RMSNorm(sizes.width, eps=_EPS)
        self.ffn = _GatedMLP(sizes.width, sizes.ffn_dim)

    def forward(self, states: Tensor) -> Tensor:
        parts = self.qkv_proj(self.attn_norm(states)).unflatten(-1, (3, self.num_heads, -1))
        seen = functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        states = states + self.out_proj(seen.transpose(1, 2).flatten(2))
        mixed: Tensor = states + self.ffn(self.ffn_norm(states))
        return mixed


class _GatedMLP(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, states: Tensor) -> Tensor:
        mixed: Tensor = self.down_proj(functional.silu(self.gate_proj(states)) * self.up_proj(states))
        return mixed
