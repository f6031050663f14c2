"""One pass through an encoder of transformers, computed by its own class: layers of it see a window, or everything.

The whole row is computed in each, so there is nothing to keep from step to step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from torch import nn

from lm_eval_codd.backbones.forward import Trunk, device_of, picked_of, positions_of, real_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_eval_codd.backbones.experts.routing import Routing
    from lm_eval_codd.backbones.experts.tally import Tally
    from lm_eval_codd.backbones.key_values import KeyValues


class EncoderPass(Trunk):
    """A trunk of ModernBERT's kind.

    Args:
        model: of transformers, a masked language model: `model`, and `head` and `decoder` on top of it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model: Any = model.model
        self._window = model.config.sliding_window
        self.head = nn.Sequential(cast("nn.Module", model.head), cast("nn.Module", model.decoder))

    @property
    def device(self) -> torch.device:
        """Where tokens are looked up."""
        return device_of(self._model.embeddings.tok_embeddings)

    def new_cache(self, num_slots: int, length: int) -> NoReturn:
        """Raise `ValueError`: nothing is kept."""
        raise ValueError(
            f"`cache` is not for {type(self._model).__name__}, which computes whole rows; leave it out (none)"
        )

    def routed(self, routing: Routing, mask_id: int, tally: Tally | None = None) -> NoReturn:
        """Raise `ValueError`: it has no experts."""
        raise ValueError(f"{type(self._model).__name__} has no experts to route tokens to; leave `router` out (tc)")

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None,
        picked: Tensor | None,
        cache: KeyValues | None = None,
        slots: Tensor | None = None,
        columns: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Normalised hidden states of the last layer; arguments and result as of `Trunk`, without a cache."""
        is_whole = attention_mask is None and places is None
        if places is None:
            places = positions_of(tokens.shape[1], real_tokens(attention_mask), tokens.device)
        masks = None if is_whole else self._masks(attention_mask, places)
        hidden: Tensor = self._model(input_ids=tokens, attention_mask=masks, position_ids=places).last_hidden_state.to(
            tokens.device
        )
        return hidden if picked is None else picked_of(hidden, picked)

    def _masks(self, attention_mask: Tensor | None, places: Tensor) -> dict[str, Tensor]:
        """[B, 1, L, L] bool, what each column sees, for layers of either kind; padding sees itself."""
        distance = (places[:, None, :, None] - places[:, None, None]).abs()
        seen = torch.ones_like(distance, dtype=torch.bool) if attention_mask is None else attention_mask
        seen = seen[:, None, None] if seen.ndim == 2 else seen
        seen = seen | torch.eye(seen.shape[-1], dtype=torch.bool, device=seen.device)
        return {"full_attention": seen, "sliding_attention": seen & (distance <= self._window)}
