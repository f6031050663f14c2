"""Where circuits are kept: .safetensors, .jpc, folders of either, repositories on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import torch

from lm_eval_codd.circuits.files.jpc import read_jpc, write_jpc
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.demo.packaged import CIRCUITS
from lm_eval_codd.files.hub_ids import is_hub_id
from lm_eval_codd.files.outputs import replacing
from lm_eval_codd.files.untrusted import num_positions
from lm_eval_codd.tensors.saving import save_tensors

SAFETENSORS_NAME: Final = "circuit.safetensors"
# Names of a circuit in a folder or repository, first match wins: ours, and the official code's for a unified
# repository (backbone and circuit together) and for a circuit alone.
UNIFIED_JPC_NAME: Final = "pc_model.jpc"
FILE_NAMES: Final = (SAFETENSORS_NAME, UNIFIED_JPC_NAME, "model.jpc")

_FORMAT: Final = "lm_eval_codd.hmm"
_DTYPES: Final = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def load_circuit(
    path_or_hub_id: str | os.PathLike[str],
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    revision: str | None = None,
) -> HMM:
    """Load a circuit from a file, a folder or the hub; nothing in it is executed.

    Args:
        path_or_hub_id: a .safetensors or .jpc file, a folder that holds one (`circuit.safetensors`, `pc_model.jpc` or
            `model.jpc`), a hub id such as `il18/llada-math-pc`, or a name of `packaged.CIRCUITS`. A
            local path goes before all else.
        dtype: float32, float64, or bfloat16 (the emission table only); None and `auto` keep the file's.
        device: where to put it; None is the CPU.
        revision: branch, tag or commit of a hub repository.

    Raises:
        ValueError: there is no such circuit, or its file is not one; one line.
    """
    dtype, device = _as_dtype(dtype), _as_device(device)
    path, source = _locate(os.fspath(path_or_hub_id), revision)
    circuit = _read(path)
    circuit.source = source
    return circuit if dtype is None and device is None else circuit.to(dtype, device)


def save_circuit(circuit: HMM, path: str | os.PathLike[str]) -> Path:
    """Write a circuit to a .safetensors or .jpc file, or as `circuit.safetensors` into a folder; its path.

    A .safetensors file keeps the dtype; a .jpc file holds float32.
    """
    path = Path(path)
    if path.suffix not in (".jpc", ".safetensors"):
        path = path / SAFETENSORS_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpc":
        with replacing(path) as partial:
            write_jpc(circuit, partial)
    else:
        _write_safetensors(circuit, path)
    return path


def _as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None or dtype == "auto":
        return None
    found = _DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise ValueError(f"`dtype={dtype}` is not for circuits; use {', '.join(_DTYPES)} or auto")
    return found


def _as_device(device: torch.device | str | None) -> torch.device | None:
    if device is None:
        return None
    try:
        found = torch.device(device)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"`device={device}` is not for circuits; use cpu, cuda or cuda:<id>")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"`device={device}` does not exist: {torch.cuda.device_count()} GPU(s) are visible; device=cpu always works"
        )
    return found


def _locate(name: str, revision: str | None) -> tuple[Path, str]:
    """The circuit's file, and what to call it in results."""
    if not name:
        raise ValueError("the circuit's name is empty; give a .jpc or .safetensors file, a folder, or a hub id")
    path = Path(name).expanduser()
    if path.exists():
        return _in_folder(path) if path.is_dir() else path, name
    if name in CIRCUITS:
        if not CIRCUITS[name].is_dir():
            raise ValueError(f"circuit `{name}` is not part of this installation; give a path or a hub id")
        return _in_folder(CIRCUITS[name]), name
    if path.suffix in (".jpc", ".safetensors") or not is_hub_id(name):
        raise ValueError(f"no circuit at `{name}`; give a .jpc or .safetensors file, a folder, or a hub id owner/name")
    return _from_hub(name, revision)


def _in_folder(folder: Path) -> Path:
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"no circuit in the folder {folder}; it must hold one of {', '.join(FILE_NAMES)}")


def _from_hub(repo: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    where = f"`{repo}`" + (f" at revision {revision}" if revision else "")
    unreachable = False
    for name in FILE_NAMES:
        try:
            path = Path(hf_hub_download(repo, name, revision=revision, local_files_only=unreachable))
        except LocalEntryNotFoundError:
            # Neither cached nor answered for; the other names are looked for in the cache alone.
            unreachable = True
        except EntryNotFoundError:
            continue
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"no circuit {where} here or on the hub ({reason[:200]})") from None
        else:
            # <cache>/snapshots/<commit>/<name>
            return path, f"{repo}@{path.parent.name}"
    if unreachable:
        raise ValueError(f"no circuit {where}: no such path, nothing in the cache, and the hub cannot be reached")
    raise ValueError(f"no circuit {where}: the repository has none of {', '.join(FILE_NAMES)}")


def _read(path: Path) -> HMM:
    if path.suffix == ".jpc":
        return read_jpc(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise ValueError(f"{path} is no circuit; its name must end in .jpc or .safetensors")


def _read_safetensors(path: Path) -> HMM:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError("it was not written by save_circuit")
            tables = {name: file.get_tensor(name) for name in ("initial", "transition", "emission")}
            # The identity is computed from the tables, not read: it must change when they do.
            circuit = HMM(**tables, num_positions=num_positions(metadata["num_positions"]), source=str(path))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a circuit ({' '.join(str(error).split())}); fetch the file again, or give another"
        ) from None
    for name, table in tables.items():
        sums = table.sum(-1, dtype=torch.float32)
        tolerance = 1e-2 if table.dtype == torch.bfloat16 else 1e-4
        if not bool(((sums - 1).abs() <= tolerance).all() and table.min() >= 0):
            raise ValueError(f"{path}: not a circuit (rows of the {name} table are no probabilities)")
    return circuit


def _write_safetensors(circuit: HMM, path: Path) -> None:
    tables = {name: getattr(circuit, name).cpu() for name in ("initial", "transition", "emission")}
    save_tensors(
        path,
        tables,
        {"format": _FORMAT, "num_positions": str(circuit.num_positions), "identity": circuit.identity},
    )
