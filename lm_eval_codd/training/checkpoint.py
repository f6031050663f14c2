"""Where a killed run goes on: one file, replaced whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.circuits import HMM
from lm_eval_codd.tensors.saving import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

NAME = "checkpoint.safetensors"
_TABLES = ("initial", "transition", "emission")


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write tensors, and what JSON can say with them, into `folder`, or leave the checkpoint there as it is.

    Args:
        folder: of the run.
        tensors: by name.
        said: with `key`, everything that must be the same for the run to go on.
    """
    save_tensors(folder / NAME, tensors, {"run": json.dumps(said)})


def read_checkpoint(folder: Path, key: Mapping[str, Any], device: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` was given.

    Raises:
        ValueError: it belongs to a run with another `key`, or cannot be read; one line.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / NAME
    try:
        with safe_open(path, framework="pt", device=device) as file:
            said = json.loads((file.metadata() or {})["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        had = dict(said["key"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from None
    for name, value in key.items():
        if had.get(name) != value:
            raise ValueError(
                f"`{name}={value}` differs from the run in {folder}, which had {name}={had.get(name)}; "
                "resume with the same settings and data, or give another `output`"
            )
    return tensors, said


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with `prefix` and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


@dataclass
class Checkpoint:
    """A moment of a circuit's run. Batches and noise are functions of the seed and the step: there is no other state.

    Attributes:
        circuit: as it was.
        optimizer: tensors of the stage's `state`.
        stage: number of the stage under way.
        step: updates done in it.
        history: figures so far.
        seconds: spent so far.
        key: everything that must be the same for the run to go on.
    """

    circuit: HMM
    stage: int = 0
    step: int = 0
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    key: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it into `folder`, or leave the one there as it is."""
        tensors = {f"circuit.{name}": getattr(self.circuit, name) for name in _TABLES}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.items()}
        said = {name: getattr(self, name) for name in ("stage", "step", "history", "seconds", "key")}
        write_checkpoint(folder, tensors, {**said, "num_positions": self.circuit.num_positions})

    @classmethod
    def load(cls, folder: Path, key: dict[str, Any], device: str) -> Checkpoint:
        """Read the one in `folder`.

        Raises:
            ValueError: it belongs to a run with other settings or data, or cannot be read; one line.
        """
        tensors, said = read_checkpoint(folder, key, device)
        try:
            initial, transition, emission = (tensors[f"circuit.{name}"] for name in _TABLES)
            circuit = HMM(initial, transition, emission, said.pop("num_positions"))
        except KeyError as error:
            raise _unreadable(folder / NAME, error) from None
        return cls(circuit=circuit, optimizer=under("optimizer", tensors), **said)


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}); start again with another `output`")
