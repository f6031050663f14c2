"""What tests of the block decoder share: quick settings, prompts, and a backbone that keeps nothing."""

import torch

import lm_eval_codd as codd
from lm_eval_codd.backbones import Backbone

# Those that have a family of their own; bd3lm is A2D's.
RULES = ("sdar", "llada2", "llada21", "fast_dllm_v2")
VOCAB, MASK = 113, 111

# Few steps and low thresholds, so that rows finish their blocks at different steps.
QUICK = {
    "sdar": {"block_length": 4, "threshold": 0.4},
    "sdar_greedy": {"block_length": 4, "threshold": 0.4},
    "llada2": {"block_length": 8, "threshold": 0.3},
    "llada21": {"block_length": 8, "threshold": 0.3, "editing_threshold": 0.3, "max_post_steps": 4},
    "fast_dllm_v2": {"block_length": 8, "threshold": 0.3, "small_block_length": 4},
    "bd3lm": {"block_length": 8, "num_steps": 4},
}
LENGTHS = (3, 8, 13, 5, 16, 11, 1)


class Recomputing:
    """A backbone without caches: everything is computed anew in every step."""

    def __init__(self, backbone: Backbone, favours_mask: float = 0.0) -> None:
        self._backbone, self._favours_mask = backbone, favours_mask
        self.family, self.mask_id, self.eos_id, self.eot_id = backbone.family, backbone.mask_id, backbone.eos_id, None
        self.vocab_size = backbone.vocab_size
        self.fed: list[torch.Tensor] = []

    def logits(self, tokens, attention_mask=None, positions=None):
        self.fed.append(tokens.clone())
        logits = self._backbone.logits(tokens, attention_mask, positions).clone()
        logits[..., MASK] += self._favours_mask
        return logits


def config_of(rule: str, **given) -> codd.DecodingConfig:
    return codd.DecodingConfig(**{"decoder": "block_diffusion", "rule": rule, "gen_length": 16, **QUICK[rule], **given})


def prompts(lengths=LENGTHS) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(6, MASK, (length,), generator=generator).tolist() for length in lengths]
