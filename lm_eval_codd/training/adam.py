"""AdamW on named parameters with clipped gradients, and what a resumed run needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from lm_eval_codd.training.checkpoint import under

_LARGEST_GRADIENT: Final = 1.0
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")


class Adam:
    """The optimizer.

    Args:
        parameters: by name.
        weight_decay: of matrices; nothing else decays.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], weight_decay: float = 0.0) -> None:
        self._parameters = dict(parameters)
        matrices = [p for p in self._parameters.values() if p.ndim > 1]
        others = [p for p in self._parameters.values() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups)

    def update(self, loss: Tensor, learning_rate: float) -> bool:
        """One step down the loss; whether it had a gradient."""
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(list(self._parameters.values()), _LARGEST_GRADIENT)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        return bool(norm)

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here, the parameters among it."""
        tensors = {f"model.{name}": parameter.detach() for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            tensors |= {f"{part}.{name}": tensor for part, tensor in self._adam.state[parameter].items()}
        return tensors

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        parts = {part: under(part, state) for part in ("model", *_MOMENTS)}
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(parts["model"][name])
                self._adam.state[parameter] = {
                    part: parts[part][name].cpu() if part == "step" else parts[part][name] for part in _MOMENTS
                }
