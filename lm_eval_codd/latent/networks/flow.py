"""Stage A: an autoencoder of token embeddings and the flow (TarFlow) that makes its latents Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from lm_eval_codd.latent.networks.sizes import StageASizes

# Of the log scales, in the current code's forward direction alone.
LARGEST_LOG_SCALE: Final = 5.0


class StageA(nn.Module):
    """Gaussian latents [B, T, d] to logits [B, T, V]: the flow backwards, then a linear head."""

    def __init__(self, sizes: StageASizes) -> None:
        super().__init__()
        self.encoder = _Encoder(sizes)
        self.decoder = _Decoder(sizes)
        self.flow = Flow(sizes)

    def forward(self, z: Tensor) -> Tensor:
        """[B, T, V]."""
        return self.decode(self.flow.inverse(z))

    def encode(self, tokens: Tensor) -> Tensor:
        """Ids [B, T] to latents [B, T, d], as the flow takes them."""
        latents: Tensor = self.encoder.proj(self.encoder.embed(tokens))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, T, d], as the flow gives them back, to logits [B, T, V]."""
        logits: Tensor = self.decoder.out_proj(latents)
        return logits


class _Encoder(nn.Module):
    def __init__(self, sizes: StageASizes) -> None:
        super().__init__()
        self.embed = nn.Embedding(sizes.vocab_size, sizes.embed_dim)
        self.proj = nn.Linear(sizes.embed_dim, sizes.latent_dim)


class _Decoder(nn.Module):
    def __init__(self, sizes: StageASizes) -> None:
        super().__init__()
        self.out_proj = nn.Linear(sizes.latent_dim, sizes.vocab_size)


class Flow(nn.Module):
    """An autoregressive flow of blocks that go in turns from left to right and from right to left."""

    def __init__(self, sizes: StageASizes) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(sizes, number % 2 == 1) for number in range(sizes.num_blocks))

    def forward(self, latents: Tensor, clamped: bool = True) -> tuple[Tensor, Tensor]:
        """Latents [B, T, d] to Gaussian ones, and log |det| [B], a mean over their numbers.

        Args:
            latents: of `StageA.encode`.
            clamped: bound the log scales, as the current training code does and the paper's does not. Where one is
                beyond, `inverse` does not lead back.
        """
        logdet = latents.new_zeros(len(latents))
        for block in self.blocks:
            latents, part = block(latents, clamped)
            logdet = logdet + part
        return latents, logdet

    def inverse(self, z: Tensor) -> Tensor:
        """Gaussian latents [B, T, d] to those of the autoencoder, a position after the other."""
        for block in reversed(self.blocks):
            z = block.inverse(z)  # type: ignore[operator]
        return z


def flow_nll(z: Tensor, logdet: Tensor) -> Tensor:
    """Training's loss: -log p a number, without the Gaussian's constant, of what `Flow.forward` gives."""
    return z.square().mean() / 2 - logdet.mean()


class _Block(nn.Module):
    causal_mask: Tensor

    def __init__(self, sizes: StageASizes, goes_back: bool) -> None:
        super().__init__()
        self.proj_in = nn.Linear(sizes.latent_dim, sizes.channels)
        self.pos_embed = nn.Parameter(torch.zeros(sizes.length, sizes.channels))
        self.blocks = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers_per_block))
        self.proj_out = nn.Linear(sizes.channels, 2 * sizes.latent_dim)
        # Part of the files, and not read: attention is causal.
        self.register_buffer("causal_mask", torch.ones(sizes.length, sizes.length, dtype=torch.bool).tril())
        self.goes_back = goes_back

    def forward(self, latents: Tensor, clamped: bool) -> tuple[Tensor, Tensor]:
        ordered, places = self._ordered(latents), self._ordered(self.pos_embed)
        states = self.proj_in(ordered) + places
        for layer in self.blocks:
            states = layer(states)
        # A position is moved by those before it, the first one not at all.
        log_scale, shift = functional.pad(self.proj_out(states)[:, :-1], (0, 0, 1, 0)).chunk(2, dim=-1)
        if clamped:
            log_scale = log_scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)
        return self._ordered((ordered - shift) * (-log_scale).exp()), -log_scale.mean(dim=(1, 2))

    def inverse(self, z: Tensor) -> Tensor:
        """[B, T, d]; keys and values of earlier positions are kept."""
        z, places = self._ordered(z), self._ordered(self.pos_embed)
        found = [z[:, :1]]
        kept: list[list[Tensor]] = [[] for _ in self.blocks]
        for position in range(1, z.shape[1]):
            states = self.proj_in(found[-1]) + places[position - 1]
            for layer, before in zip(self.blocks, kept, strict=True):
                states = layer(states, before)
            log_scale, shift = self.proj_out(states).chunk(2, dim=-1)
            found.append(z[:, position : position + 1] * log_scale.exp() + shift)
        return self._ordered(torch.cat(found, dim=1))

    def _ordered(self, values: Tensor) -> Tensor:
        """[..., T, n] in the order in which the block goes."""
        return values.flip(-2) if self.goes_back else values


class _Layer(nn.Module):
    def __init__(self, sizes: StageASizes) -> None:
        super().__init__()
        self.attn = _Attention(sizes.channels, sizes.channels // sizes.head_dim)
        self.mlp = _MLP(sizes.channels, sizes.expansion)

    def forward(self, states: Tensor, before: list[Tensor] | None = None) -> Tensor:
        states = states + self.attn(states, before)
        mixed: Tensor = states + self.mlp(states)
        return mixed


class _Attention(nn.Module):
    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.num_heads = num_heads

    def forward(self, states: Tensor, before: list[Tensor] | None) -> Tensor:
        """Of all positions, or of one, whose keys and values are appended to those before it, [2, B, h, 1, n] each."""
        parts = self.qkv(self.norm(states)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        queries, seen = parts[0], parts[1:]
        if before is not None:
            before.append(seen)
            seen = torch.cat(before, dim=3)
        mixed = functional.scaled_dot_product_attention(queries, seen[0], seen[1], is_causal=before is None)
        looked: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return looked


class _MLP(nn.Module):
    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, expansion * channels)
        self.fc2 = nn.Linear(expansion * channels, channels)

    def forward(self, states: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(states))))
        return mixed
