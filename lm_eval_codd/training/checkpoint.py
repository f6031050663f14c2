"""Where a killed run goes on: one file, replaced whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.circuits import HMM

if TYPE_CHECKING:
    from torch import Tensor

NAME = "checkpoint.safetensors"
_TABLES = ("initial", "transition", "emission")


@dataclass
class Checkpoint:
    """A moment of a run. Batches and noise are functions of the seed and the step, so there is no other state.

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
        from safetensors.torch import save_file

        tensors = {f"circuit.{name}": getattr(self.circuit, name) for name in _TABLES}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.items()}
        said = {name: getattr(self, name) for name in ("stage", "step", "history", "seconds", "key")}
        said["num_positions"] = self.circuit.num_positions
        partial = folder / f".{NAME}.partial"
        try:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"run": json.dumps(said)}
            )
            partial.replace(folder / NAME)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path, key: dict[str, Any], device: str) -> Checkpoint:
        """Read the one in `folder`.

        Raises:
            ValueError: it belongs to a run with other settings or data, or cannot be read; one line.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / NAME
        try:
            with safe_open(path, framework="pt", device=device) as file:
                said = json.loads((file.metadata() or {})["run"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
                initial, transition, emission = (tensors.pop(f"circuit.{name}") for name in _TABLES)
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}); start again with another `output`") from None
        for name, value in key.items():
            if said["key"].get(name) != value:
                raise ValueError(
                    f"`{name}={value}` differs from the run in {folder}, which had {name}={said['key'].get(name)}; "
                    "resume with the same settings and data, or give another `output`"
                )
        return cls(
            circuit=HMM(initial, transition, emission, said.pop("num_positions")),
            optimizer={name.removeprefix("optimizer."): tensor for name, tensor in tensors.items()},
            **said,
        )
