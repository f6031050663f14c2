"""A `Routing` at work in a pass of the network: each layer's experts compute the positions that it pairs them with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from lm_eval_codd.backbones.experts.choice import capacity, expert_choice, token_choice
from lm_eval_codd.backbones.experts.schedules import scheduled_k
from lm_eval_codd.settings import STATIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from lm_eval_codd.backbones.experts.choice import Choice, Picks
    from lm_eval_codd.backbones.experts.routing import Routing
    from lm_eval_codd.backbones.experts.tally import Tally


class Router:
    """Pairs the tokens of a model's passes with its experts.

    Args:
        layers: of a transformers model; one with experts has them as `mlp.experts`, its router as `mlp.gate`, and a
            shared expert, if any, as `mlp.shared_experts`.
        devices: where each layer computes.
        routing: how.
        mask_id: of the token by whose share a schedule goes.
        tally: counts what it does; None: nobody asks.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        devices: Sequence[torch.device],
        routing: Routing,
        mask_id: int,
        tally: Tally | None = None,
    ) -> None:
        self._routing, self._mask_id, self._tally = routing, mask_id, tally
        self._gates = {
            index: _Gate(layer.mlp.gate, device, routing.factors)
            for index, (layer, device) in enumerate(zip(layers, devices, strict=True))
            if has_experts(layer.mlp)
        }

    def start(self, tokens: Tensor, real: Tensor | None) -> Routed:
        """Begin a pass over `tokens` [B, L]; `real` [B, L] is False at padding, None where there is none."""
        valid = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
        num_masked, num_valid = ((tokens == self._mask_id) & valid).sum(dim=1), valid.sum(dim=1)
        routing, k = self._routing, torch.full_like(num_valid, self._routing.k_max)
        if routing.schedule != STATIC:
            length = torch.full_like(num_valid, tokens.shape[1]) if routing.over_width else num_valid
            ratio = num_masked.float() / length.clamp(min=1).float()
            k = scheduled_k(routing.schedule, ratio, routing.k_min, routing.k_max, routing.sigma)
        if self._tally is not None and routing.chooser == "ec":
            competing, of_each = (num_valid, k) if routing.scope == "sequence" else (num_valid.sum()[None], k.max())
            self._tally.add_rows(num_masked, num_valid, k, capacity(competing, of_each, routing.num_experts))
        return Routed(self, valid, k)

    def mix(self, index: int, mlp: nn.Module, hidden: Tensor, valid: Tensor, k: Tensor) -> Tensor:
        """What a layer's experts make of its hidden states [B, L, H]."""
        if index not in self._gates:
            return mlp(hidden)
        by = self._by_experts if self._routing.chooser == "ec" else self._by_tokens
        mixed = by(index, mlp, hidden, valid, k)
        shared = getattr(mlp, "shared_experts", None)
        return mixed if shared is None else mixed + shared(hidden)

    def _by_experts(self, index: int, mlp: Any, hidden: Tensor, valid: Tensor, k: Tensor) -> Tensor:
        routing, gate = self._routing, self._gates[index]
        choice, picks = expert_choice(
            gate.logits(hidden),
            k,
            gates=routing.gates,
            valid=valid,
            scope=routing.scope,
            scale=routing.scale,
            factors=gate.factors,
            most_k=routing.k_max,
        )
        if self._tally is not None:
            self._tally.add_tokens(index, choice.map, choice.gates, valid)
        return _computed_by_experts(mlp.experts, hidden, choice, picks, gate.dtype)

    def _by_tokens(self, index: int, mlp: Any, hidden: Tensor, valid: Tensor, k: Tensor) -> Tensor:
        gate = self._gates[index]
        logits, most = gate.logits(hidden).flatten(0, 1), self._routing.k_max
        choice, _ = token_choice(logits, most, gates=self._routing.gates, factor=self._routing.scale)
        gates, experts = choice.gates.topk(most, dim=-1)
        return mlp.experts(hidden.flatten(0, 1), experts, gates.to(gate.dtype)).view_as(hidden)


class Routed:
    """A `Router` in one pass."""

    def __init__(self, router: Router, valid: Tensor, k: Tensor) -> None:
        self._router, self._valid, self._k = router, valid, k

    def __call__(self, index: int, mlp: nn.Module, hidden: Tensor) -> Tensor:
        """What layer `index` adds to its hidden states, of their norm [B, L, H]."""
        return self._router.mix(index, mlp, hidden, self._valid.to(hidden.device), self._k.to(hidden.device))


def has_experts(mlp: Any) -> bool:
    """Whether a layer's MLP is a router with experts."""
    return hasattr(mlp, "experts") and hasattr(mlp, "gate")


class _Gate:
    """A layer's router as a matrix, of whose own scores only the dtype is kept, and the factors of its gates.

    The module is asked for the logits of the identity, since it may lie elsewhere until it is called, or carry an
    adapter; products with 0 and 1 are exact. They are taken from its product: what it returns is the logits alone in
    some versions of transformers, and in others has probabilities in their place.
    """

    def __init__(self, gate: Any, device: torch.device, factors: Sequence[float] | None) -> None:
        with torch.no_grad(), _LastProduct() as product:
            given = gate(torch.eye(gate.weight.shape[-1], dtype=gate.weight.dtype, device=device))
        self.factors = None if factors is None else torch.tensor(factors, device=device)
        self._weight = product.result.float().T.contiguous()
        self.dtype = given.dtype if isinstance(given, torch.Tensor) else given[1].dtype

    def logits(self, hidden: Tensor) -> Tensor:
        """[B, L, E] float32; float64 of hidden states in float64."""
        kind = torch.promote_types(hidden.dtype, torch.float32)
        return linear(hidden.to(kind), self._weight.to(hidden.device, kind))


class _LastProduct(TorchFunctionMode):
    """Keeps what the last `linear` that is called in it gives."""

    result: Tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if func is linear:
            self.result = given
        return given


def _computed_by_experts(experts: Any, hidden: Tensor, choice: Choice, picks: Picks, dtype: torch.dtype) -> Tensor:
    """The experts' outputs by their gates, added up at each position.

    Every pair of a position and an expert is a row with one expert, so that the class's own kernels do the work: as
    many rows as token choice has, and nothing waits for the device.
    """
    num_rows, most, num_experts = picks.positions.shape
    flat, gates = hidden.flatten(0, 1), choice.gates.flatten(0, 1)
    first = torch.arange(num_rows, device=hidden.device)[:, None, None] * (len(flat) // num_rows)
    rows = (first + picks.positions).flatten()
    numbers = torch.arange(num_experts, device=hidden.device).expand(num_rows, most, -1).reshape(-1, 1)
    # Where an expert takes fewer than the largest capacity, the gate of what fills it up is 0.
    computed = experts(flat[rows], numbers, gates[rows[:, None], numbers].to(dtype))
    total = torch.zeros(flat.shape, dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
    if total.is_cuda:  # there, `index_add_` adds in an order that changes from run to run, and this one does not
        total.index_put_((rows,), computed.to(total.dtype), accumulate=True)
    else:
        total.index_add_(0, rows, computed.to(total.dtype))
    return total.to(hidden.dtype).view_as(hidden)
