"""Checkpoint -> transformers model -> logits at the asked positions. Knows no decoding."""

from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.backbones.loading import load_backbone
from lm_eval_codd.backbones.outline import check_routing, own_router, plan_backbone, read_outline
from lm_eval_codd.backbones.tokenizer import load_tokenizer

__all__ = [
    "Backbone",
    "CheckpointError",
    "check_routing",
    "load_backbone",
    "load_tokenizer",
    "own_router",
    "plan_backbone",
    "read_outline",
]
