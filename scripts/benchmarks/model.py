"""A LLaDA of any shape with random weights, made on its device: what a decode costs does not depend on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import nn
from transformers import LlamaForCausalLM

from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.families.llada import LLADA
from lm_eval_codd.backbones.layout import ConfigReader
from lm_eval_codd.backbones.token_ids import TokenIds

# Of the masked positions of a fresh block, the share that `make_sure` makes surer than 0.9 of its token. With half of
# them, `threshold=0.9` commits about three tokens a step, as Fast-dLLM (arXiv 2505.22618) has it with LLaDA-8B.
SURE_SHARE = 0.5
# Deviation of a position's logits, about a trained model's.
LOGIT_DEVIATION = 3.0
# Queries and keys this much larger than the rest: with flat attention all masked positions would look the same.
ATTENTION_GAIN = 2.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a backbone: layers, width, attention heads, inner width of the MLP, logit columns."""

    layers: int
    width: int
    heads: int
    mlp: int
    vocab_size: int

    def __str__(self) -> str:
        return f"{self.layers} layers, d {self.width}, {self.heads} heads, mlp {self.mlp}, V {self.vocab_size}"


def random_backbone(shape: Shape, dtype: torch.dtype, device: torch.device, *, max_length: int, seed: int) -> Backbone:
    """A backbone of LLaDA's layout.

    Special tokens stand as far from the end of the vocabulary as LLaDA's do.
    """
    raw = {
        "n_layers": shape.layers,
        "d_model": shape.width,
        "n_heads": shape.heads,
        "mlp_hidden_size": shape.mlp,
        "vocab_size": shape.vocab_size,
        "max_sequence_length": max_length,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    }
    config = LLADA.build_config(ConfigReader(SimpleNamespace(config=raw, source="random weights")))
    config.is_causal = False
    with device:
        model = LlamaForCausalLM._from_config(config, dtype=dtype)
    model.eval().requires_grad_(False)
    _draw_weights(model, torch.Generator(device).manual_seed(seed))
    last = shape.vocab_size - 1
    backbone = Backbone(
        model,
        LLADA,
        TokenIds(mask_id=last - 127, eos_id=last - 382, eot_id=last - 115),
        num_parameters=model.num_parameters(),
        source="random weights",
        identity=f"random weights, seed {seed}",
    )
    _reserve_specials(backbone)
    return backbone


def random_prompts(backbone: Backbone, lengths: list[int], seed: int) -> list[list[int]]:
    """Prompts of ordinary tokens."""
    generator = torch.Generator().manual_seed(seed)
    ordinary = backbone.eos_id
    return [torch.randint(ordinary, (length,), generator=generator).tolist() for length in lengths]


def make_sure(backbone: Backbone, seed: int) -> None:
    """Scale the head, and with it all logits, until `SURE_SHARE` is reached. Which token is likeliest stays.

    So peaked a softmax of so many tokens costs a CPU more than a trained model's.
    """
    canvas = torch.full((2, 128), backbone.mask_id, device=backbone.device)
    canvas[:, :96] = torch.tensor(random_prompts(backbone, [96, 96], seed), device=backbone.device)
    positions = torch.arange(96, 128, device=backbone.device).expand(2, -1)
    logits = backbone.logits(canvas, None, positions).float()
    low, high = 1.0, 64.0
    for _ in range(12):
        scale = (low * high) ** 0.5
        share = ((scale * logits).softmax(dim=-1).amax(dim=-1) >= 0.9).float().mean()
        low, high = (low, scale) if share >= SURE_SHARE else (scale, high)
    backbone.model.lm_head.weight.mul_(high)


def _draw_weights(model: LlamaForCausalLM, generator: torch.Generator) -> None:
    """Keep the size of what passes through: a deviation of one over the root of the inputs."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_(generator=generator)
        elif isinstance(module, nn.Linear):
            gain = ATTENTION_GAIN if name.endswith(("q_proj", "k_proj")) else 1.0
            gain = LOGIT_DEVIATION if name == "lm_head" else gain
            module.weight.normal_(std=gain / module.in_features**0.5, generator=generator)


def _reserve_specials(backbone: Backbone) -> None:
    """Keep mask and end tokens from being predicted, but for the end token where a state says so.

    Nothing that the trunk gives has anything in its first dimension, and the head reads only the end token there.
    """
    head, norm = backbone.model.lm_head.weight, backbone.model.model.norm.weight
    norm[0] = 0
    head[:, 0] = 0
    head[[backbone.mask_id, backbone.eos_id, backbone.eot_id]] = 0
    head[backbone.eos_id, 0] = 1
