"""How large a network is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratorSizes:
    """Sizes of a generator.

    Attributes:
        length: tokens of a sample, T.
        latent_dim: numbers of a position's latent, d.
        vocab_size: logit columns, V.
        width: of the states, W.
        depth: blocks.
        num_heads: of a block's attention.
        ffn_dim: inner width of a block's MLP.
    """

    length: int
    latent_dim: int
    vocab_size: int
    width: int
    depth: int
    num_heads: int
    ffn_dim: int


@dataclass(frozen=True)
class StageASizes:
    """Sizes of a Stage A.

    Attributes:
        length: tokens of a sample, T.
        latent_dim: numbers of a position's latent, d.
        vocab_size: logit columns, V.
        embed_dim: of a token's embedding.
        num_blocks: of the flow; every second one goes from the last position to the first.
        layers_per_block: of a block.
        channels: width of a layer.
        head_dim: width of an attention head.
        expansion: of a layer's MLP.
    """

    length: int
    latent_dim: int
    vocab_size: int
    embed_dim: int
    num_blocks: int
    layers_per_block: int
    channels: int
    head_dim: int
    expansion: int
