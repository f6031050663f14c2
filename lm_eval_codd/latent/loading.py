"""`load_coupling`: a `.pt` of the training code becomes a `CouplingModel`. Weights and plain values alone are read."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from lm_eval_codd.backbones.checkpoint import CheckpointError, identity_of_file
from lm_eval_codd.backbones.placement import find_device, parse_dtype
from lm_eval_codd.latent.layouts import Layout, layout_of
from lm_eval_codd.latent.model import CouplingModel

SUFFIX: Final = ".pt"
_AVERAGED, _LAST, _STAGE_A = "ema_state_dict", "generator_state_dict", "model_state_dict"


def load_coupling(
    path: str | Path,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    ema: bool = True,
    mask_id: int | None = None,
) -> CouplingModel:
    """Load a generator of Coupling Models (v3, latent_mdm or the paper's lm1b), or a Stage A. No code of it is run.

    Args:
        path: the `.pt` that the training code wrote. Which layout it has, its keys say, not its `arch`.
        dtype: of weights and logits. None or `auto`: as stored.
        device: such as `cuda:1`; None takes a GPU when there is one, else the CPU.
        ema: take the averaged weights where the file has any; False takes the last ones.
        mask_id: of a latent_mdm, where the file does not say it.

    Raises:
        CheckpointError: one line that says what does not fit. A `ValueError`.
    """
    chosen, where = parse_dtype(dtype), find_device(device)
    source, path = str(path), Path(path).expanduser()
    if not is_coupling(path):
        raise CheckpointError(
            f"`{source}` is no {SUFFIX} file; Coupling Models are files of their training code, none is published"
        )
    content = _read(source, path)
    key = _chosen(source, content, ema)
    weights = _weights(source, key, content[key])
    layout = layout_of(weights, key == _STAGE_A)
    said = content.get("config")
    said = said if isinstance(said, Mapping) else {}
    sizes = layout.sizes(source, weights, said)
    network = _build(source, layout, weights, sizes)
    if mask_id is not None and layout.name != "latent_mdm":
        raise CheckpointError(f"`mask_id={mask_id}` is of latent_mdm; `{source}` is {layout.name}, leave it out")
    mask = _mask_id(source, said, sizes.vocab_size, mask_id) if layout.name == "latent_mdm" else None
    return CouplingModel(
        network.to(where, chosen).eval().requires_grad_(False),
        layout.name,
        sizes,
        mask_id=mask,
        source=source,
        identity=identity_of_file(path) + ("+last" if _AVERAGED in content and key == _LAST else ""),
        is_averaged=key == _AVERAGED,
    )


def is_coupling(path: str | Path) -> bool:
    """Whether a source is a file that `load_coupling` reads, by its name."""
    path = Path(path).expanduser()
    return path.suffix == SUFFIX and path.is_file()


def _read(source: str, path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except pickle.UnpicklingError:
        # What torch says then is how to read the file without this protection.
        raise CheckpointError(f"`{source}` is refused: it is more than weights and plain values") from None
    except Exception as error:  # of the archive, and whatever a damaged file makes of it
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"`{source}` cannot be read ({reason}); copy the file again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"`{source}` holds no dict; give a checkpoint of the training code")
    return content


def _chosen(source: str, content: Mapping[str, Any], ema: bool) -> str:
    for key in (_AVERAGED, _LAST, _STAGE_A) if ema else (_LAST, _STAGE_A):
        if content.get(key) is not None:
            return key
    raise CheckpointError(
        f"`{source}` has no {_LAST} and no {_STAGE_A}: it is no checkpoint of Coupling Models' training code"
    )


def _weights(source: str, key: str, stored: object) -> dict[str, Tensor]:
    if not isinstance(stored, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()
    ):
        raise CheckpointError(f"`{source}`: its {key} is no dict of tensors; give a checkpoint of the training code")
    return dict(stored)


def _build(source: str, layout: Layout, weights: Mapping[str, Tensor], sizes: Any) -> nn.Module:
    """The network with its weights; every key and shape is checked."""
    with torch.device("meta"):
        network = layout.build(sizes)
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    misshapen = [name for name in expected if name in weights and weights[name].shape != expected[name].shape]
    strange = [
        name
        for name, weight in expected.items()
        if name in weights and weights[name].is_floating_point() != weight.is_floating_point()
    ]
    kinds = (("missing", missing), ("unknown", unknown), ("of another kind of number", strange))
    problems = [f"{len(names)} {kind} ({names[0]})" for kind, names in kinds if names]
    if misshapen:
        name = misshapen[0]
        shapes = f"{list(weights[name].shape)}, by its config {list(expected[name].shape)}"
        problems.append(f"{len(misshapen)} misshapen ({name} is {shapes})")
    if problems:
        raise CheckpointError(f"weights of `{source}` are not those of a {layout.name}: {', '.join(problems)}")
    network.load_state_dict({name: weights[name] for name in expected}, assign=True)
    return network


def _mask_id(source: str, said: Mapping[str, Any], vocab_size: int, given: int | None) -> int:
    training = said.get("training")
    mask = training.get("mask_token_id") if given is None and isinstance(training, Mapping) else given
    if not isinstance(mask, int) or isinstance(mask, bool) or not 0 <= mask < vocab_size:
        raise CheckpointError(
            f"`{source}` has mask_token_id {mask}, and a latent_mdm starts from masks; give mask_id= below {vocab_size}"
        )
    return mask
