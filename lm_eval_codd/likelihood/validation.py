"""EC-DLM's validation loss, which its training reports: one random mask a text, each token by the share masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from lm_eval_codd.likelihood.requirements import warn_of_masks

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.backbones.protocols import Backbone


class ValidationLoss(NamedTuple):
    """What a batch loses.

    masked: [B, L] bool.
    share: [B], of its tokens that a text has masked.
    loss: [B, L], cross entropy at masked tokens by their text's share, 0 elsewhere; its mean is a bound of the negative
        log-likelihood a token, in nats, but for texts of which nothing would have been masked.
    """

    masked: Tensor
    share: Tensor
    loss: Tensor


@torch.inference_mode()
def validation_loss(backbone: Backbone, tokens: Tensor, seed: int = 1234) -> ValidationLoss:
    """The loss of texts of equal length, all in one pass.

    Args:
        backbone: the masked diffusion model.
        tokens: [B, L] int64.
        seed: of the masks: each text's share is uniform, and a text that would have none gets one mask.
    """
    warn_of_masks(backbone, tokens)
    generator = torch.Generator().manual_seed(seed)
    num_rows, length = tokens.shape
    share = torch.rand(num_rows, generator=generator)
    masked = torch.rand(num_rows, length, generator=generator) < share[:, None]
    bare = ~masked.any(dim=1)
    masked[bare, torch.randint(0, length, (int(bare.sum()),), generator=generator)] = True
    share = masked.sum(dim=1) / length
    device = torch.device(getattr(backbone, "device", "cpu"))
    shown = tokens.cpu().masked_fill(masked, backbone.mask_id).to(device)
    logits = backbone.logits(shown).float()
    loss = cross_entropy(logits.flatten(0, 1), tokens.to(device).flatten(), reduction="none").view(num_rows, length)
    return ValidationLoss(masked, share, loss.cpu() * masked / share[:, None])
