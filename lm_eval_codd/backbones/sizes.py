"""Sizes that config.json may name: memory is taken by them before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError

_SIZE: Final = (1, 1 << 24)
_HEADS: Final = (1, 1 << 16)
_LENGTH: Final = (1, 1 << 31)
_LAYERS: Final = (1, 10_000)
# Fields that are counts, in the spelling of any layout: the least and the most that one can be.
COUNTS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(("vocab_size", "embedding_size", "d_model", "hidden_size", "head_dim"), _SIZE),
    **dict.fromkeys(("mlp_hidden_size", "intermediate_size", "dense_intermediate_size"), _SIZE),
    **dict.fromkeys(("expert_intermediate_size", "moe_intermediate_size"), _SIZE),
    **dict.fromkeys(("n_heads", "n_kv_heads", "num_attention_heads", "num_key_value_heads"), _HEADS),
    **dict.fromkeys(("num_experts", "num_experts_per_tok", "n_group", "topk_group"), _HEADS),
    **dict.fromkeys(("kv_channels", "moe_ffn_hidden_size"), _SIZE),
    **dict.fromkeys(("num_query_groups", "num_moe_experts", "moe_router_topk"), _HEADS),
    **dict.fromkeys(("moe_router_dynamic_topk_min", "moe_router_dynamic_topk_max"), _HEADS),
    **dict.fromkeys(("max_sequence_length", "max_position_embeddings"), _LENGTH),
    **dict.fromkeys(("n_layers", "num_hidden_layers", "num_layers", "decoder_sparse_step"), _LAYERS),
    **dict.fromkeys(("first_k_dense_replace", "num_shared_experts"), (0, 10_000)),
    "moe_shared_expert_intermediate_size": (0, _SIZE[1]),
}
POSITIVE: Final = (
    *("rms_norm_eps", "rope_theta", "mlp_ratio", "partial_rotary_factor", "routed_scaling_factor"),
    *("norm_epsilon", "rotary_base"),
)


def refuse_beyond_weights(checkpoint: Checkpoint, config: Any) -> None:
    """Raise `CheckpointError` for sizes of which a single matrix would be more than all that is stored.

    Memory is taken by what config.json says; what does not fit beyond that is said once the weights are loaded.
    """
    stored = sum(tensor.size for tensor in checkpoint.stored.values())
    if config.num_hidden_layers > len(checkpoint.stored):
        raise _beyond(checkpoint, [config.num_hidden_layers], f"{len(checkpoint.stored)} tensors")
    experts = [getattr(config, name, None) for name in ("num_experts", "n_routed_experts")]
    of_expert = [size for size in experts if size is not None] + [getattr(config, "moe_intermediate_size", 1)]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for sizes in (
        [config.vocab_size],
        [config.intermediate_size],
        of_expert,
        [config.num_attention_heads, head],
        [getattr(config, "num_key_value_heads", 1), head],
    ):
        if prod(sizes) * config.hidden_size > stored:
            raise _beyond(checkpoint, [*sizes, config.hidden_size], f"{stored} numbers")


def refuse_impossible_experts(checkpoint: Checkpoint, config: Any) -> None:
    """Raise `CheckpointError` for numbers of experts and groups of which no token could choose its own."""
    number = getattr(config, "num_experts", None) or getattr(config, "n_routed_experts", None)
    if number is None:
        return
    of_token, groups = config.num_experts_per_tok, getattr(config, "n_group", None) or 1
    chosen = getattr(config, "topk_group", None) or 1
    if groups > 1 and (number % groups or number // groups < 2):  # a group's score is that of its two best
        wrong = f"`n_group={groups}` groups of two or more do not make `num_experts={number}`"
    elif chosen > groups:
        wrong = f"`topk_group={chosen}` is more than `n_group={groups}`"
    elif of_token > number // groups * chosen:
        beside = f" in `topk_group={chosen}` of `n_group={groups}` groups" if groups > 1 else ""
        wrong = f"`num_experts_per_tok={of_token}` is more than a token may choose of `num_experts={number}`{beside}"
    else:
        return
    raise CheckpointError(
        f"checkpoint `{checkpoint.source}`: config.json says that {wrong}; fetch the file again, or correct that field"
    )


def _beyond(checkpoint: Checkpoint, sizes: list[int], stored: str) -> CheckpointError:
    said = [f"{name}={value}" for name, value in checkpoint.config.items() if type(value) is int and value in sizes]
    return CheckpointError(
        f"checkpoint `{checkpoint.source}`: config.json says {', '.join(said)}, and its weights hold only {stored}; "
        "fetch the file again, or the rest of the weights"
    )
