"""REPR-ALIGN: hidden states stay near those of the autoregressive model that the backbone was converted from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import torch
from torch.nn.functional import cross_entropy, normalize

from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.training.objectives.token_losses import NO_LABEL, mean_or_zero

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig
    from lm_eval_codd.training.objectives.batch import Batch


# Of the alignment, beside the mean loss of the masked tokens.
WEIGHT: Final = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class ReprAlign:
    """Mean cross entropy of the masked tokens + 10 times `repr_align_loss` of the states that score them.

    The original packs one row into a sequence; here a batch is padded, and padding is seen by nobody.

    Attributes:
        teacher: autoregressive and frozen; it sees the rows without noise.
    """

    teacher: PreTrainedModel
    trains_embeddings: ClassVar[bool] = False

    @classmethod
    def build(cls, config: FineTuningConfig, backbone: Backbone, tokenizer: PreTrainedTokenizerFast) -> ReprAlign:
        """See `OBJECTIVES`."""
        if not backbone.scored_by_previous:
            raise ValueError(
                f"`objective=repr_align` aligns states that score the same token, and in `{config.model}` state i "
                "scores token i, in an autoregressive teacher token i+1; give a model that was converted from one "
                "and kept its shift"
            )
        assert config.teacher is not None  # the settings have asked for it
        teacher = _load_teacher(config.teacher, backbone)
        largest = max(token for token in tokenizer.get_vocab().values() if token != backbone.mask_id)
        if teacher.config.vocab_size <= largest:
            raise ValueError(
                f"`teacher={config.teacher}` knows {teacher.config.vocab_size} tokens and the model's tokenizer makes "
                f"{largest}; give the one that it comes from"
            )
        return cls(teacher)

    def loss(self, backbone: Backbone, batch: Batch, step: int, total: int) -> Tensor:
        """See `Objective`."""
        masked, _ = batch.masks()
        noisy = batch.with_answers(batch.answers.masked_fill(masked, backbone.mask_id))
        device = backbone.device
        real, labels = batch.real.to(device), batch.labels(masked).to(device)
        # An answer without a prompt has nothing before its first token, which is scored by itself.
        scoring = (batch.columns - 1).clamp(min=0).to(device)
        with torch.no_grad():
            causal = torch.ones(real.shape[1], real.shape[1], dtype=torch.bool, device=device).tril()
            teacher = _states(self.teacher, batch.tokens.to(device), real, causal)
        student = _states(backbone.model, noisy.to(device), real)
        at = labels != NO_LABEL
        rows = torch.arange(len(real), device=device)[:, None].expand(at.shape)[at]
        student, teacher = (states[rows, scoring[at]] for states in (student, teacher))
        losses = cross_entropy(backbone.model.lm_head(student[:, -1]).float(), labels[at], reduction="none")
        return mean_or_zero(losses) + WEIGHT * repr_align_loss(student.float(), teacher.float())


def repr_align_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - mean cosine of hidden states (Open-dLLM, `repr_align_loss_fn`), between 0 and 2.

    Args:
        student: [tokens, layers + 1, hidden], of the outputs that score the labelled tokens: the embeddings, each
            layer, the last one after the final norm.
        teacher: the same shape, without a gradient.
    """
    if not student.shape[0]:
        return student.sum()
    return 1 - (normalize(student, dim=-1, eps=1e-12) * normalize(teacher, dim=-1, eps=1e-12)).sum(-1).mean()


def _states(model: PreTrainedModel, tokens: Tensor, real: Tensor, seen: Tensor | None = None) -> Tensor:
    """[B, L, layers + 1, hidden], by the class's own pass.

    Args:
        model: of transformers, with a language-model head.
        tokens: [B, L] int64.
        real: [B, L] bool, False at padding.
        seen: [L, L] bool, which columns each one sees; None when all see all.
    """
    length = tokens.shape[1]
    mask = real[:, None, None, :].expand(-1, 1, length, -1)
    if seen is not None:
        mask = mask & seen
    # Padding sees itself: a row of weights over nothing is not a number.
    mask = mask | torch.eye(length, dtype=torch.bool, device=tokens.device)
    positions = (real.long().cumsum(-1) - 1).clamp(min=0)
    outputs = model.model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False, output_hidden_states=True
    )
    return torch.stack(outputs.hidden_states, dim=2)


def _load_teacher(source: str, backbone: Backbone) -> PreTrainedModel:
    """An autoregressive checkpoint in the model's own class, without code of its own or pickles.

    Raises:
        ValueError: it is another class, or has other shapes than the model.
    """
    import transformers

    checkpoint = find_checkpoint(source, kind="teacher")
    wanted = type(backbone.model)
    named = checkpoint.config.get("architectures") or [None]
    if named[0] != wanted.__name__:
        raise ValueError(
            f"`teacher={source}` is {named[0]}, and the model {wanted.__name__}; give the one that it comes from"
        )
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
    for name in ("num_hidden_layers", "hidden_size"):
        theirs, ours = getattr(config, name), getattr(backbone.model.config, name)
        if theirs != ours:
            raise ValueError(
                f"`teacher={source}` has {name} {theirs}, and the model {ours}; give the one that it comes from"
            )
    checkpoint.refuse_unusable_weights()
    model = wanted.from_pretrained(
        checkpoint.folder,
        config=config,
        dtype="float32",
        use_safetensors=True,
        device_map={"": backbone.device},
    )
    return model.eval().requires_grad_(False)
