"""`load_backbone`: a folder or hub id becomes a `Backbone`, checked before it is handed over."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from lm_eval_codd.backbones.adapter import add_adapter, find_adapter
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError
from lm_eval_codd.backbones.outline import Attention, plan_backbone
from lm_eval_codd.backbones.placement import default_dtype, parse_dtype, place
from lm_eval_codd.backbones.registry import recognised_by
from lm_eval_codd.backbones.self_test import check_bidirectional, check_trunk
from lm_eval_codd.terminal.clean_text import last_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_eval_codd.backbones.layout import Layout


def load_backbone(
    path_or_hub_id: str | Path,
    family: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    peft: str | Path | None = None,
    *,
    peft_revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    attention: Attention | None = None,
    block_length: int | None = None,
    mask_id: int | None = None,
    eos_id: int | None = None,
    eot_id: int | None = None,
) -> Backbone:
    """Load a checkpoint of a diffusion language model for inference, through transformers' own classes.

    No code of the checkpoint is run and no pickle is read. On the loaded weights attention is proven to see both ways,
    and the pass that decoding makes to compute what the class itself does.

    Args:
        path_or_hub_id: a folder, a hub id (`owner/name`), or `demo` for the checkpoint that comes with this package.
        family: such as `llada` or `a2d`, for a checkpoint of that layout under another `model_type`. None reads it, and
            refuses the autoregressive models whose `model_type` some diffusion models have too.
        dtype: of weights and logits, such as `bfloat16`. None or `auto`: what config.json says, else what is stored.
        device: such as `cuda:1`; None takes a GPU when there is one, else the CPU.
        revision: branch, tag or commit on the hub.
        peft: folder or hub id of a LoRA adapter, trained on the original module names or on transformers'.
        peft_revision: branch, tag or commit of the adapter on the hub.
        device_map: spreads the layers over devices, as in transformers (`auto`, or module name -> device).
        attention: `full`, or `block` for block-causal attention: a position sees its own block and those before it,
            counted from its row's first token (A2D: from its last one backwards, which is where blocks are counted from
            the prompt's end, of an answer of whole blocks). None: as the checkpoint's family has it; of A2D, `block`
            where `bd3lm` is in the name, which the log says.
        block_length: of block-causal attention; None: as config.json or the family says.
        mask_id: overrides the checkpoint's mask token.
        eos_id: overrides its end-of-text token.
        eot_id: overrides its end-of-turn token.

    Raises:
        CheckpointError: one line that says what does not fit. A `ValueError`.
    """
    dtype = parse_dtype(dtype)
    placement = place(device, device_map)
    plan = plan_backbone(
        path_or_hub_id,
        family,
        revision,
        attention=attention,
        block_length=block_length,
        mask_id=mask_id,
        eos_id=eos_id,
        eot_id=eot_id,
    )
    checkpoint, layout, config = plan.checkpoint, plan.layout, plan.config
    adapter = None if peft is None else find_adapter(peft, peft_revision, layout)
    config.is_causal = False  # for whoever calls `Backbone.model` itself; `forward` masks only what it is told to
    model = _load_model(checkpoint, layout, config, dtype or default_dtype(checkpoint), placement)
    num_parameters = model.num_parameters()
    identity = checkpoint.identity
    if adapter is not None:
        add_adapter(model, adapter, layout)
        identity = f"{identity}+{adapter.identity}"
    model.eval().requires_grad_(False)
    backbone = Backbone(
        model,
        layout,
        plan.token_ids,
        num_parameters=num_parameters,
        source=checkpoint.source,
        identity=identity,
        block_length=plan.block_length,
        recognised_by=recognised_by(checkpoint, layout, family),
        own_routing=plan.own_routing,
    )
    check_bidirectional(backbone)
    check_trunk(backbone)
    return backbone


def _load_model(
    checkpoint: Checkpoint,
    layout: Layout,
    config: transformers.PreTrainedConfig,
    dtype: torch.dtype,
    placement: str | dict[str, Any] | None,
) -> PreTrainedModel:
    try:
        with quietly():
            model, report = getattr(transformers, layout.architecture).from_pretrained(
                None if layout.convert else checkpoint.folder,
                state_dict=layout.convert(_stored(checkpoint), config) if layout.convert else None,
                config=config,
                key_mapping=dict(layout.key_mapping),
                dtype=dtype,
                device_map=placement,
                experts_implementation=_experts_implementation(dtype, placement),
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, in one line with the rest
                output_loading_info=True,
            )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights of `{checkpoint.source}` cannot be read ({last_line(error)}); fetch them again"
        ) from error
    except (TypeError, LookupError, AttributeError, RecursionError, ValueError, ArithmeticError) as error:
        # Of numbers that its class divides by, a file that it reads besides, such as generation_config.json, or of
        # where weights are to go.
        is_spread = isinstance(placement, str) or (placement is not None and placement.keys() != {""})
        remedy = "fetch its JSON files again" + (", or give another device_map, without disk" if is_spread else "")
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}` cannot be loaded ({type(error).__name__}: {last_line(error)}); {remedy}"
        ) from error
    if len(report["unexpected_keys"]) == len(checkpoint.stored):
        raise CheckpointError(
            f"weights of `{checkpoint.source}` are not in the {layout.family} layout: none of their "
            f"{len(checkpoint.stored)} names is known there ({min(checkpoint.stored)}); was the checkpoint saved by "
            "other code, or is it of another family?"
        )
    problems = [
        f"{len(report[kind])} {kind.replace('_keys', '')} ({_shown(min(report[kind]))})"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report[kind]
    ]
    if problems:
        raise CheckpointError(
            f"weights of `{checkpoint.source}` do not fit its config.json in the {layout.family} layout: "
            f"{', '.join(problems)}"
        )
    return model


def _experts_implementation(dtype: torch.dtype, placement: str | dict[str, Any] | None) -> str | None:
    """How transformers computes experts; None: by its default, a grouped product.

    That has no float64. Up to torch 2.10 it takes on a CPU only weights at addresses that 16 divides, and those mapped
    from a file lie anywhere; newer releases of transformers know, 5.2 does not.
    """
    places = placement.values() if isinstance(placement, dict) else [placement]
    on_cpu = not torch.cuda.is_available() or "cpu" in map(str, places)
    return "eager" if dtype == torch.float64 or (on_cpu and torch.__version__ < "2.11") else None


def _shown(key: str | tuple) -> str:
    """A tensor's name, or (name, stored shape, shape by config.json) where the two differ."""
    if isinstance(key, str):
        return key
    name, stored, configured = key
    return f"{name} is {list(stored)}, by config.json {list(configured)}"


def _stored(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of the checkpoint, mapped from its file: memory is taken when it is read."""
    return {name: tensor for path in checkpoint.weight_files for name, tensor in load_file(path).items()}


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bar and its table of keys: what matters of it is raised as one line."""
    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Of a shared expert of no width (EC-DLM's layout without one).
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
