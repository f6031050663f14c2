"""A loaded checkpoint as decoding sees it: logits of the asked positions, and a few facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_eval_codd.backbones.layout import Layout
    from lm_eval_codd.backbones.token_ids import TokenIds


class Backbone:
    """A masked diffusion language model. Built by `load_backbone`.

    Attributes:
        family: `llada` or `dream`: whose rules of decoding apply.
        mask_id, eos_id, eot_id: special tokens; `eot_id` is None where the checkpoint has none.
        vocab_size: number of logit columns, which may exceed the tokenizer's vocabulary.
        max_length: the longest sequence the checkpoint was made for, prompt included.
        num_parameters: of the checkpoint itself, without an adapter.
        dtype: of weights and logits.
        device: where `logits` takes its tokens and leaves its result.
        source: the folder or hub id it was loaded from.
        identity: commit on the hub or hash of the files, with the adapter's after a `+`.
        model: the transformers model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        layout: Layout,
        token_ids: TokenIds,
        *,
        num_parameters: int,
        source: str,
        identity: str,
    ) -> None:
        self.model = model
        self.family = layout.family
        self.mask_id = token_ids.mask_id
        self.eos_id = token_ids.eos_id
        self.eot_id = token_ids.eot_id
        self.vocab_size = model.config.vocab_size
        self.max_length = model.config.max_position_embeddings
        self.num_parameters = num_parameters
        self.dtype = model.dtype
        self.device = _input_device(model)
        self.source = source
        self.identity = identity
        self._scored_by_previous = layout.scored_by_previous

    @torch.no_grad()  # not inference_mode: callers may write into the logits or train a circuit on them
    def logits(self, tokens: Tensor, attention_mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Logits of the token AT each asked position, in the backbone's own dtype.

        Every position sees every other one. A row's logits do not depend on its padding or on the other rows (up to
        the rounding of another kernel). The language-model head is applied to the asked positions only.

        Args:
            tokens: [B, L] int64.
            attention_mask: [B, L] bool, False at padding; None when nothing is padded. Padding may be on either side.
            positions: [B, P] int64 columns of `tokens`; None asks for all.

        Returns:
            [B, P, V]. Rows asked for at padding hold no meaning.
        """
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
            # Without a mask, attention can take its fastest kernels.
            if attention_mask.all():
                attention_mask = None
        hidden = self.hidden_states(tokens, attention_mask)
        if self._scored_by_previous:
            positions = _scoring_positions(tokens, attention_mask, positions)
        if positions is not None:
            index = positions.to(hidden.device)[..., None].expand(-1, -1, hidden.shape[-1])
            hidden = hidden.gather(1, index)
        return self.model.lm_head(hidden).to(tokens.device)

    @torch.no_grad()
    def hidden_states(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[B, L, D]: what the language-model head reads, at every position and without Dream's shift."""
        if attention_mask is None:
            return self.model.model(input_ids=tokens, use_cache=False).last_hidden_state
        # Rotary phases count real tokens, so that a row is rotated alike wherever it starts.
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        return self.model.model(
            input_ids=tokens,
            attention_mask=attention_mask[:, None, None, :],  # [B, 1, 1, L]: padding is a key for nobody
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state

    def __repr__(self) -> str:
        return f"Backbone({self.source!r}, family={self.family!r}, dtype={self.dtype}, device={str(self.device)!r})"


def _scoring_positions(tokens: Tensor, attention_mask: Tensor | None, positions: Tensor | None) -> Tensor:
    """[B, P]: the position before each asked one, or itself where a row starts.

    The official code duplicates row 0 for the first column. A left-padded row starts later, and its first token must
    be scored as it is without the padding.
    """
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape[0], -1)
    previous = (positions - 1).clamp(min=0)
    if attention_mask is None:
        return previous
    return torch.where(attention_mask.gather(1, previous), previous, positions)


def _input_device(model: PreTrainedModel) -> torch.device:
    embedding = model.get_input_embeddings()
    # With weights offloaded by accelerate, the embedding is computed elsewhere than it is stored.
    hook = getattr(embedding, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return embedding.weight.device if device is None else torch.device(device)
