"""The generator of the paper's LM1B code (`lm1b`): gated blocks that look at the latent again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lm_eval_codd.latent.networks.sizes import GeneratorSizes


class CrossAttentionTransformer(nn.Module):
    """Latents [B, T, d] to logits [B, T, V]. Its head `z_recon`, which says the latent again, is of training alone."""

    def __init__(self, sizes: GeneratorSizes) -> None:
        super().__init__()
        self.position_bias = nn.Parameter(torch.zeros(sizes.length, sizes.width))
        self.z_proj = nn.Linear(sizes.latent_dim, sizes.width)
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width)
        self.out_proj = nn.Linear(sizes.width, sizes.vocab_size)
        self.z_recon = nn.Linear(sizes.width, sizes.latent_dim)

    def hidden(self, z: Tensor) -> Tensor:
        """[B, T, W], ready for `out_proj` and `z_recon`."""
        seen = self.z_proj(z)
        states = seen + self.position_bias
        for block in self.blocks:
            states = block(states, seen)
        normed: Tensor = self.norm(states)
        return normed

    def forward(self, z: Tensor) -> Tensor:
        """[B, T, V]."""
        logits: Tensor = self.out_proj(self.hidden(z))
        return logits


class _Block(nn.Module):
    def __init__(self, sizes: GeneratorSizes) -> None:
        super().__init__()
        width = sizes.width
        self.gate_sa, self.gate_ca, self.gate_ffn = (nn.Parameter(torch.zeros(width)) for _ in range(3))
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, sizes.num_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.kv_norm = nn.LayerNorm(width)
        self.cross_attn = nn.MultiheadAttention(width, sizes.num_heads, batch_first=True)
        self.norm3 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, sizes.ffn_dim), nn.GELU(), nn.Linear(sizes.ffn_dim, width))

    def forward(self, states: Tensor, latent: Tensor) -> Tensor:
        own = self.norm1(states)
        states = states + self.gate_sa.tanh() * self.self_attn(own, own, own, need_weights=False)[0]
        keys = self.kv_norm(latent)
        looked = self.cross_attn(self.norm2(states), keys, keys, need_weights=False)[0]
        states = states + self.gate_ca.tanh() * looked
        mixed: Tensor = states + self.gate_ffn.tanh() * self.ffn(self.norm3(states))
        return mixed
