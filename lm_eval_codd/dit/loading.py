"""`load_dit`: a folder, a hub id or a Lightning checkpoint becomes a `DiT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, Checkpoint, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.placement import default_dtype, find_device, parse_dtype
from lm_eval_codd.dit.config import DiTConfig, read_config
from lm_eval_codd.dit.lightning import is_lightning, read_lightning
from lm_eval_codd.dit.model import DiT
from lm_eval_codd.dit.network import Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

PREFIX = "backbone."


def load_dit(
    path_or_hub_id: str | Path,
    algo: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    ema: bool = True,
    mask_id: int | None = None,
) -> DiT:
    """Load a DUO, MDLM, SEDD, D3PM or autoregressive model of the DiT family. No code of the checkpoint is run.

    Args:
        path_or_hub_id: a folder or hub id with config.json and safetensors, or a Lightning checkpoint (.ckpt).
        algo: duo, mdlm, sedd, d3pm or ar, where the checkpoint does not say it; the layouts are equal, so what is said
            here is believed.
        dtype: of weights and logits. None or `auto`: what config.json says, else what is stored.
        device: such as `cuda:1`; None takes a GPU when there is one, else the CPU.
        revision: branch, tag or commit on the hub.
        ema: of a .ckpt, the averaged weights, of which all published numbers are; False takes the last ones.
        mask_id: of the mask token, where it is neither the tokenizer's of published checkpoints nor the last id.

    Raises:
        CheckpointError: one line that says what does not fit. A `ValueError`.
    """
    chosen = parse_dtype(dtype)
    where = find_device(device)
    if is_lightning(path_or_hub_id):
        if revision is not None:
            raise CheckpointError(f"`revision={revision}` is for hub ids; `{path_or_hub_id}` is a file, leave it out")
        file = read_lightning(path_or_hub_id, ema, algo)
        stored = parse_dtype(file.fields["torch_dtype"])
        config = file.config(algo, mask_id)
        return build(config, file.weights, file.source, file.identity, chosen or stored or torch.float32, where)
    if not ema:
        raise CheckpointError(f"`ema=False` is for .ckpt files; `{path_or_hub_id}` holds one set of weights")
    checkpoint = find_checkpoint(path_or_hub_id, revision)
    config = read_config(checkpoint.source, checkpoint.config, algo, mask_id)
    checkpoint.refuse_unusable_weights()
    weights = _read(checkpoint)
    return build(config, weights, checkpoint.source, checkpoint.identity, chosen or default_dtype(checkpoint), where)


def read_dit_config(
    path_or_hub_id: str | Path,
    algo: str | None = None,
    revision: str | None = None,
    ema: bool = True,
    mask_id: int | None = None,
) -> DiTConfig:
    """What a checkpoint says of itself, of a folder or hub id without its weights; arguments as for `load_dit`.

    Raises:
        CheckpointError: one line that says what does not fit.
    """
    if is_lightning(path_or_hub_id):
        return read_lightning(path_or_hub_id, ema, algo).config(algo, mask_id)
    checkpoint = find_checkpoint(path_or_hub_id, revision, files=CONFIG_FILES)
    return read_config(checkpoint.source, checkpoint.config, algo, mask_id)


def build(
    config: DiTConfig,
    weights: Mapping[str, Tensor],
    source: str,
    identity: str,
    dtype: torch.dtype,
    device: torch.device,
) -> DiT:
    """A model for inference from its weights, by the names of `Network`.

    Raises:
        CheckpointError: one line: names or shapes are not the config's.
    """
    expected = check_weights(source, config, weights)
    with torch.device("meta"):
        network = Network(config)
    network.load_state_dict({name: weights[name].to(device, dtype) for name in expected}, assign=True)
    network.rotary_emb.inv_freq = weights["rotary_emb.inv_freq"].to(device, torch.promote_types(dtype, torch.float32))
    network.eval().requires_grad_(False)
    return DiT(network, config, source, identity)


def _read(checkpoint: Checkpoint) -> dict[str, Tensor]:
    try:
        stored = {name: tensor for path in checkpoint.weight_files for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights of `{checkpoint.source}` cannot be read ({str(error).splitlines()[0]}); fetch them again"
        ) from error
    return {name.removeprefix(PREFIX): tensor for name, tensor in stored.items()}


def check_weights(source: str, config: DiTConfig, weights: Mapping[str, Tensor]) -> list[str]:
    """The names of a network's weights.

    Raises:
        CheckpointError: one line: names or shapes of `weights` are not the config's.
    """
    with torch.device("meta"):
        expected = Network(config).state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    conditions = "output_layer.adaLN_modulation.weight"
    if config.causal and conditions in weights:
        raise CheckpointError(
            f"checkpoint `{source}` is causal by its config.json, and its weights are told a noise level "
            f"({conditions}): they are of a diffusion model; correct `causal` in config.json"
        )
    if not config.causal and conditions in missing and "output_layer.linear.weight" in weights:
        raise CheckpointError(
            f"checkpoint `{source}` has causal weights (there is no {conditions}) under a config.json that does not "
            "say so; add `causal: true` there"
        )
    misshapen = [name for name in expected if name in weights and weights[name].shape != expected[name].shape]
    problems = [
        f"{len(names)} {kind} ({names[0]})" for kind, names in (("missing", missing), ("unknown", unknown)) if names
    ]
    if misshapen:
        name = misshapen[0]
        problems.append(
            f"{len(misshapen)} misshapen ({name} is {list(weights[name].shape)}, by config.json "
            f"{list(expected[name].shape)})"
        )
    if problems:
        raise CheckpointError(f"weights of `{source}` do not fit its config.json: {', '.join(problems)}")
    return list(expected)
