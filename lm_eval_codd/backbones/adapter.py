"""LoRA adapters: trained on the original module names, added to transformers' model in place.

The low-rank matrices stay beside the weights, as in training: merged into bfloat16 weights, updates smaller than half
a unit in the last place would vanish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError, find_checkpoint
from lm_eval_codd.terminal.clean_text import last_line, shortened

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_eval_codd.backbones.layout import Layout

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")

_PREFIX: Final = "base_model.model."
_KEY: Final = re.compile(rf"{re.escape(_PREFIX)}(?P<module>.+)\.(?P<part>lora_\w+)(\.weight)?")
# Only low-rank matrices beside weights that are the checkpoint's own; nothing else is loaded by halves.
_PLAIN: Final[dict[str, tuple[Any, ...]]] = {
    "peft_type": ("LORA",),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "init_lora_weights": (None, True, False, "gaussian"),
    "layer_replication": (None, []),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None,),
    "use_qalora": (None, False),
}
_MOST_RANKS: Final = 1 << 16
# A name, or the end of one, as regular expression: no other is matched, since one may take for ever.
_SIMPLE: Final = re.compile(r"\^?(\.\*\\?\.)?(\w|\\?\.|-){1,200}\$?")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA adapter, read and checked, for a model that is not loaded yet.

    Attributes:
        source: the folder or hub id, as it was given.
        identity: commit on the hub or hash of the files.
        settings: adapter_config.json.
        tensors: its matrices, by transformers' names of the modules.
        ranks: by module.
        alphas: by module.
    """

    source: str
    identity: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]


def find_adapter(path_or_hub_id: str | Path, revision: str | None, layout: Layout) -> Adapter:
    """The adapter of a checkpoint of this layout.

    Raises:
        CheckpointError: it cannot be found or read, peft is not installed, or it is not plain LoRA.
    """
    adapter = find_checkpoint(path_or_hub_id, revision, files=ADAPTER_FILES, kind="adapter")
    try:
        import peft  # noqa: F401
    except ImportError:
        raise CheckpointError(f"`peft={adapter.source}` needs peft; pip install 'lm-eval-codd[peft]'") from None
    settings = _read_settings(adapter)
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for key, tensor in _read_tensors(adapter).items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise CheckpointError(f"adapter `{adapter.source}` has `{key}`, which is no LoRA matrix")
        original = match["module"]
        module = layout.renamed(original)
        tensors[key.replace(original, module, 1)] = tensor
        alphas[module] = _alpha(original, settings)
        if match["part"] in ("lora_A", "lora_embedding_A"):
            if tensor.dim() != 2:
                raise CheckpointError(
                    f"adapter `{adapter.source}` has `{key}` of shape {list(tensor.shape)}, no matrix"
                )
            ranks[module] = tensor.shape[0]
    return Adapter(
        source=adapter.source,
        identity=adapter.identity,
        settings=settings,
        tensors=tensors,
        ranks=ranks,
        alphas=alphas,
    )


def add_adapter(model: PreTrainedModel, adapter: Adapter, layout: Layout) -> None:
    """Put a LoRA adapter's matrices beside the model's weights.

    Raises:
        CheckpointError: it was trained on another model.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    known = {name for name, _ in model.named_modules()}
    _check_names(adapter, layout, sorted(adapter.alphas.keys() - known))
    wrapped = get_peft_model(model, _lora_config(adapter))
    try:
        loaded: Any = set_peft_model_state_dict(wrapped, dict(adapter.tensors))
    except RuntimeError as error:
        raise CheckpointError(
            f"adapter `{adapter.source}` does not fit `{layout.family}`: {last_line(error)}"
        ) from None
    # Every key of the checkpoint itself is "missing" from an adapter; only LoRA's own must be there.
    _check_names(adapter, layout, [*loaded.unexpected_keys, *(k for k in loaded.missing_keys if ".lora_" in k)])


def _lora_config(adapter: Adapter) -> LoraConfig:
    """The adapter's own settings, with its modules spelt out: patterns of names would match the original ones."""
    from peft import LoraConfig

    settings = adapter.settings
    return LoraConfig(
        r=settings["r"],
        lora_alpha=settings["lora_alpha"],
        use_rslora=bool(settings.get("use_rslora")),
        use_dora=bool(settings.get("use_dora")),
        fan_in_fan_out=bool(settings.get("fan_in_fan_out")),
        target_modules=sorted(adapter.alphas),
        rank_pattern={re.escape(name): rank for name, rank in adapter.ranks.items()},
        alpha_pattern={re.escape(name): alpha for name, alpha in adapter.alphas.items()},
        inference_mode=True,
    )


def _read_settings(adapter: Checkpoint) -> dict[str, Any]:
    settings = adapter.read_json(ADAPTER_FILES[0])
    for name in ("r", "lora_alpha"):
        if name not in settings:
            raise CheckpointError(
                f"adapter `{adapter.source}`: {ADAPTER_FILES[0]} has no `{name}`; give a folder saved by peft"
            )
    alphas = settings.get("alpha_pattern") or {}
    if type(settings["r"]) is not int or not 0 < settings["r"] <= _MOST_RANKS:
        raise _unfit(adapter, "r", settings["r"], f"a whole number from 1 to {_MOST_RANKS}")
    if not _is_number(settings["lora_alpha"]):
        raise _unfit(adapter, "lora_alpha", settings["lora_alpha"], "a number")
    if not isinstance(alphas, dict) or not all(_is_number(alpha) for alpha in alphas.values()):
        raise _unfit(adapter, "alpha_pattern", alphas, "numbers by names of modules")
    for pattern in alphas:
        if not _SIMPLE.fullmatch(pattern):
            raise _unfit(adapter, "alpha_pattern", pattern, "names of modules, with at most `.*` before them")
    for name, allowed in _PLAIN.items():
        if settings.get(name, allowed[0]) not in allowed:
            raise CheckpointError(
                f"adapter `{adapter.source}` has `{name}={settings[name]}`, and only plain LoRA is supported; "
                "merge it into its checkpoint and give that"
            )
    return settings


def _read_tensors(adapter: Checkpoint) -> dict[str, Tensor]:
    path = adapter.folder / ADAPTER_FILES[1]
    if not path.is_file():
        raise CheckpointError(
            f"adapter `{adapter.source}` has no {path.name}, and pickle files are not read; save it with "
            "safe_serialization=True"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"adapter `{adapter.source}` has a damaged {path.name} ({error})") from error


def _alpha(module: str, settings: dict[str, Any]) -> float:
    for pattern, alpha in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):  # peft's own rule
            return alpha
    return settings["lora_alpha"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unfit(adapter: Checkpoint, name: str, value: object, wanted: str) -> CheckpointError:
    return CheckpointError(
        f"adapter `{adapter.source}`: {ADAPTER_FILES[0]} says `{name}={shortened(value)}`, and it must be {wanted}"
    )


def _check_names(adapter: Adapter, layout: Layout, names: list[str]) -> None:
    if names:
        raise CheckpointError(
            f"adapter `{adapter.source}` was trained on another model than this {layout.family} checkpoint: "
            f"{len(names)} of its names do not fit ({names[0]})"
        )
