"""`load_backbone`: a folder or hub id becomes a `Backbone`, checked before it is handed over."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from lm_eval_codd.backbones.adapter import ADAPTER_FILES, add_adapter
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.layout import ConfigReader, Layout
from lm_eval_codd.backbones.registry import find_layout
from lm_eval_codd.backbones.token_ids import find_token_ids
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

    from lm_eval_codd.settings import Family

_DTYPES: Final = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32", "float64")}


def load_backbone(
    path_or_hub_id: str | Path,
    family: Family | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    peft: str | Path | None = None,
    *,
    device_map: str | dict[str, Any] | None = None,
    mask_id: int | None = None,
    eos_id: int | None = None,
    eot_id: int | None = None,
) -> Backbone:
    """Load a LLaDA or Dream checkpoint for inference, through transformers' own Llama or Qwen2.

    No code of the checkpoint is run and no pickle is read. Attention is proven bidirectional on the loaded weights.

    Args:
        path_or_hub_id: a folder, a hub id (`owner/name`), or `demo` for the checkpoint that comes with this package.
        family: `llada` or `dream`, for a checkpoint of that layout under another `model_type`. None reads it.
        dtype: of weights and logits, such as `bfloat16`. None or `auto`: what config.json says, else what is stored.
        device: such as `cuda:1`; None takes a GPU when there is one, else the CPU.
        revision: branch, tag or commit on the hub.
        peft: folder or hub id of a LoRA adapter, trained on the original module names or on transformers'.
        device_map: spreads the layers over devices, as in transformers (`auto`, or module name -> device).
        mask_id: overrides the checkpoint's mask token.
        eos_id: overrides its end-of-text token.
        eot_id: overrides its end-of-turn token.

    Raises:
        CheckpointError: one line that says what does not fit. A `ValueError`.
    """
    dtype = _parse_dtype(dtype)
    placement = _place(device, device_map)
    checkpoint = find_checkpoint(path_or_hub_id, revision)
    layout = find_layout(checkpoint, family)
    config = layout.build_config(ConfigReader(checkpoint))
    token_ids = find_token_ids(checkpoint, layout, config.vocab_size, mask_id=mask_id, eos_id=eos_id, eot_id=eot_id)
    config.is_causal = False  # for whoever calls `Backbone.model` itself; `forward` masks nothing but padding
    model = _load_model(checkpoint, layout, config, dtype or _default_dtype(checkpoint), placement)
    num_parameters = model.num_parameters()
    identity = checkpoint.identity
    if peft is not None:
        adapter = find_checkpoint(peft, files=ADAPTER_FILES)
        add_adapter(model, adapter, layout)
        identity = f"{identity}+{adapter.identity}"
    model.eval().requires_grad_(False)
    backbone = Backbone(
        model, layout, token_ids, num_parameters=num_parameters, source=checkpoint.source, identity=identity
    )
    check_bidirectional(backbone)
    return backbone


def check_bidirectional(backbone: Backbone) -> None:
    """Prove on four tokens, on the path that decoding takes, that an early position sees a later one.

    Raises:
        CheckpointError: none does, or the weights overflow in this dtype.
    """
    mask, eos = backbone.mask_id, backbone.eos_id
    rows = torch.tensor([[mask, eos, eos, mask], [mask, eos, eos, eos]], device=backbone.device)
    positions = torch.tensor([[1, 2], [1, 2]], device=backbone.device)
    first, second = backbone.hidden_at(rows, positions=positions)
    if not torch.isfinite(first).all():
        raise CheckpointError(
            f"checkpoint `{backbone.source}` gives numbers that are not finite in {_name(backbone.dtype)}; "
            "use dtype=bfloat16 or dtype=float32"
        )
    if torch.equal(first, second):
        raise CheckpointError(
            f"in `{backbone.source}` no position sees a later one under torch {torch.__version__}, and a diffusion "
            "model needs bidirectional attention; fetch the weights again, or install another torch"
        )


def _load_model(
    checkpoint: Checkpoint,
    layout: Layout,
    config: transformers.PreTrainedConfig,
    dtype: torch.dtype,
    placement: str | dict[str, Any] | None,
) -> PreTrainedModel:
    _ = checkpoint.weight_files  # refuses pickles and missing shards in one line, before anything is loaded
    try:
        with _quiet():
            model, report = getattr(transformers, layout.architecture).from_pretrained(
                checkpoint.folder,
                config=config,
                key_mapping=dict(layout.key_mapping),
                dtype=dtype,
                device_map=placement,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, in one line with the rest
                output_loading_info=True,
            )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights of `{checkpoint.source}` cannot be read ({str(error).splitlines()[0]}); fetch them again"
        ) from error
    problems = [
        f"{len(report[kind])} {kind.replace('_keys', '')} ({min(map(str, report[kind]))})"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report[kind]
    ]
    if problems:
        raise CheckpointError(
            f"weights of `{checkpoint.source}` do not fit its config.json in the {layout.family} layout: "
            f"{', '.join(problems)}"
        )
    return model


def _default_dtype(checkpoint: Checkpoint) -> torch.dtype:
    configured = checkpoint.config.get("torch_dtype") or checkpoint.config.get("dtype")
    return _parse_dtype(configured) or _DTYPES[checkpoint.stored_dtype]


def _parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype in (None, "auto"):
        return None
    name = _name(dtype)
    if name not in _DTYPES:
        raise CheckpointError(unknown_value("dtype", name, ["auto", *_DTYPES]))
    return _DTYPES[name]


def _place(device: str | torch.device | None, device_map: str | dict[str, Any] | None) -> str | dict[str, Any]:
    if device_map is not None:
        if device is not None:
            raise CheckpointError(f"`device={device}` and `device_map={device_map}` exclude each other; give one")
        return device_map
    try:
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise CheckpointError(unknown_value("device", device, ["cpu", "cuda", "cuda:0", "cuda:1"])) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise CheckpointError(
            f"`device={device}` does not exist: {torch.cuda.device_count()} GPU(s) are visible; device=cpu always works"
        )
    # Weights then go straight to their device, with no copy of the model in main memory first.
    return {"": device}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and its table of keys: what matters of it is raised as one line."""
    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()


def _name(dtype: str | torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
