"""The corrective objective (arXiv 2512.15596): to see which visible tokens are wrong, and what belongs there.

The text of the paper's equation 1 differs; its authors call their code authoritative, and this is the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import torch
from torch import Tensor

from lm_eval_codd.training.objectives.batch import Batch, masked_tokens
from lm_eval_codd.training.objectives.token_losses import NO_LABEL, mean_or_zero, token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig

# What the mean loss of replaced tokens weighs.
REPLACED_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Corrective:
    """See the module.

    Attributes:
        variant: of the loss.
        replaced: share of visible tokens that are replaced.
        ordinary: [C] tokens that replace them.
    """

    variant: str
    replaced: float
    ordinary: Tensor
    trains_embeddings: ClassVar[bool] = True

    @classmethod
    def build(cls, config: FineTuningConfig, backbone: Backbone, tokenizer: PreTrainedTokenizerFast) -> Corrective:
        """See `OBJECTIVES`."""
        assert config.variant is not None  # the settings have filled it in
        return cls(config.variant, config.replaced, _ordinary_tokens(tokenizer, backbone.vocab_size))

    def loss(self, backbone: Backbone, batch: Batch, step: int, total: int) -> Tensor:
        """See `Objective`."""
        drawn = [
            corrective_noise(answer, backbone.mask_id, self.ordinary, self.replaced, generator)
            for answer, generator in batch.rows()
        ]
        noisy = batch.stacked([tokens for tokens, _, _ in drawn])
        replaced = batch.stacked([wrong for _, wrong, _ in drawn])
        labels = batch.labels(noisy != batch.answers)
        ratios = torch.tensor([ratio for *_, ratio in drawn])[:, None].expand(labels.shape)
        device = backbone.device
        given = (labels.to(device), replaced.to(device), ratios.to(device))
        return corrective_loss(batch.logits(backbone, noisy), *given, self.variant, int(batch.in_answer.sum()))


def corrective_loss(
    logits: Tensor,
    labels: Tensor,
    replaced: Tensor,
    mask_ratio: Tensor,
    variant: str,
    num_tokens: int = 0,
) -> Tensor:
    """The masked tokens' loss, and the replaced ones' mean loss for the tokens that stood there.

    `open_dcoder`: mean_S l + mean_S p l / t + 0.1 mean_N l, with S masked or replaced, N replaced and p = exp(-l)
    without a gradient. `llada`: sum_masked l / (.999 t + .001) / num_tokens + 0.1 mean_N l.

    Args:
        logits: [..., V].
        labels: [...] int64, the true token where one was masked or replaced, else `NO_LABEL`.
        replaced: [...] bool.
        mask_ratio: [...], t of the sequence that a position belongs to.
        variant: `open_dcoder`, or `llada`, as the authors trained LLaDA-8B by LoRA.
        num_tokens: of the batch, masked or not, for `llada`; None takes the number of positions.
    """
    losses, labelled = token_losses(logits, labels), labels != NO_LABEL
    ratio, wrong = mask_ratio[labelled].to(losses.dtype), replaced[labelled]
    corrections = REPLACED_WEIGHT * mean_or_zero(losses[wrong])
    if variant == "llada":
        return (losses / (0.999 * ratio + 0.001))[~wrong].sum() / (num_tokens or labels.numel()) + corrections
    sure = (-losses.detach()).exp() * losses
    return mean_or_zero(losses) + mean_or_zero(sure / ratio) + corrections


def corrective_noise(
    tokens: Tensor,
    mask_id: int,
    ordinary: Tensor,
    replaced_share: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, float]:
    """Mask and replace tokens of a sequence.

    Args:
        tokens: [L] int64 on the CPU.
        mask_id: put in the place of each token with the probability t of `masked_tokens`.
        ordinary: [C] int64, ascending: the tokens that replace others, each with the same probability; a token is
            never replaced by itself. The authors take those of Qwen's vocabulary that are no special ones.
        replaced_share: probability that a token which is not masked is replaced.
        generator: on the CPU.

    Returns:
        The noisy tokens [L], which of them are replaced [L], and t.
    """
    masked, ratio = masked_tokens(len(tokens), generator)
    of_replacing, of_choosing = torch.rand(2, len(tokens), generator=generator)
    replaced = ~masked & (of_replacing < replaced_share)
    place = torch.searchsorted(ordinary, tokens).clamp(max=len(ordinary) - 1)
    is_ordinary = ordinary[place] == tokens
    choice = (of_choosing.double() * (len(ordinary) - is_ordinary.long())).long()
    others = ordinary[choice + (is_ordinary & (choice >= place))]
    return tokens.masked_fill(masked, mask_id).where(~replaced, others), replaced, ratio


def _ordinary_tokens(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> Tensor:
    """Ascending ids of the tokens that text is made of: no special ones, none that was added to the tokenizer."""
    known = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids) - set(tokenizer.added_tokens_decoder)
    return torch.tensor(sorted(token for token in known if token < vocab_size))
