"""What files of Coupling Models hold: which layout, by their keys, and its sizes, by shapes and configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.latent.networks.cross_attention import CrossAttentionTransformer
from lm_eval_codd.latent.networks.flow import StageA
from lm_eval_codd.latent.networks.sizes import GeneratorSizes, StageASizes
from lm_eval_codd.latent.networks.transformer import Transformer

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """One way to write a model down.

    Attributes:
        name: as results call it.
        sizes: from the file's name, weights and configuration; raises `CheckpointError`, one line.
        build: the network of such sizes.
    """

    name: str
    sizes: Callable[[str, Mapping[str, Tensor], Mapping[str, Any]], Any]
    build: Callable[[Any], nn.Module]


def layout_of(weights: Mapping[str, Tensor], is_stage_a: bool) -> Layout:
    """By the keys: the configuration's `arch` is `transformer` in two of them."""
    if is_stage_a:
        return STAGE_A
    if "token_embed.weight" in weights:
        return LATENT_MDM
    return LM1B if "blocks.0.cross_attn.in_proj_weight" in weights else V3


def _generator_sizes(inner: str) -> Callable[[str, Mapping[str, Tensor], Mapping[str, Any]], GeneratorSizes]:
    """Sizes of a generator whose first block has its MLP's inner width at the key `inner`."""

    def read(source: str, weights: Mapping[str, Tensor], said: Mapping[str, Any]) -> GeneratorSizes:
        length, width = _shape(source, weights, "position_bias", 2)
        _, latent_dim = _shape(source, weights, "z_proj.weight", 2)
        vocab_size, _ = _shape(source, weights, "out_proj.weight", 2)
        ffn_dim, _ = _shape(source, weights, inner, 2)
        depth = _number_of_blocks(weights, "blocks.")
        config = _section(source, said, "generator")
        num_heads = _field(source, config, "generator", "num_heads")
        for name, found in (("width", width), ("depth", depth), ("ffn_dim", ffn_dim)):
            if config.get(name, found) != found:
                raise CheckpointError(
                    f"`{source}`: its config says generator.{name} {config[name]}, and its weights {found}"
                )
        if width % num_heads:
            raise CheckpointError(f"`{source}`: generator.num_heads {num_heads} does not divide its width {width}")
        return GeneratorSizes(length, latent_dim, vocab_size, width, depth, num_heads, ffn_dim)

    return read


def _stage_a_sizes(source: str, weights: Mapping[str, Tensor], said: Mapping[str, Any]) -> StageASizes:
    vocab_size, embed_dim = _shape(source, weights, "encoder.embed.weight", 2)
    latent_dim, _ = _shape(source, weights, "encoder.proj.weight", 2)
    length, channels = _shape(source, weights, "flow.blocks.0.pos_embed", 2)
    inner, _ = _shape(source, weights, "flow.blocks.0.blocks.0.mlp.fc1.weight", 2)
    config, model = _section(source, said, "flow"), _section(source, said, "model")
    head_dim = _field(source, config, "flow", "head_dim")
    num_blocks = _number_of_blocks(weights, "flow.blocks.")
    layers = _number_of_blocks(weights, "flow.blocks.0.blocks.")
    said_and_found = (
        (config, "flow", "num_blocks", num_blocks),
        (config, "flow", "layers_per_block", layers),
        (config, "flow", "channels", channels),
        (config, "flow", "expansion", inner // channels),
        (model, "model", "d", latent_dim),
        (model, "model", "embed_dim", embed_dim),
        (model, "model", "seq_len", length),
    )
    for section, label, name, found in said_and_found:
        if section.get(name, found) != found:
            raise CheckpointError(
                f"`{source}`: its config says {label}.{name} {section[name]}, and its weights {found}"
            )
    if channels % head_dim or inner % channels:
        raise CheckpointError(f"`{source}`: flow.head_dim {head_dim} does not divide its {channels} channels")
    return StageASizes(
        length, latent_dim, vocab_size, embed_dim, num_blocks, layers, channels, head_dim, inner // channels
    )


def _shape(source: str, weights: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    found = weights.get(name)
    if found is None or found.dim() != dimensions or not found.numel():
        what = "is missing" if found is None else f"has shape {list(found.shape)}"
        raise CheckpointError(f"`{source}` is no checkpoint of Coupling Models' training code: {name} {what}")
    return tuple(found.shape)


def _number_of_blocks(weights: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def _section(source: str, said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = said.get(name)
    if not isinstance(section, Mapping):
        raise CheckpointError(
            f"`{source}` has no config.{name}, which says what shapes do not; save it with its config"
        )
    return section


def _field(source: str, section: Mapping[str, Any], label: str, name: str) -> int:
    value = section.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"`{source}`: its config has {value!r} for {label}.{name}; it must be a number above 0")
    return value


V3: Final = Layout("v3", _generator_sizes("blocks.0.ffn.gate_proj.weight"), lambda sizes: Transformer(sizes, False))
LATENT_MDM: Final = Layout("latent_mdm", V3.sizes, lambda sizes: Transformer(sizes, True))
LM1B: Final = Layout("lm1b", _generator_sizes("blocks.0.ffn.0.weight"), CrossAttentionTransformer)
STAGE_A: Final = Layout("stage_a", _stage_a_sizes, StageA)
