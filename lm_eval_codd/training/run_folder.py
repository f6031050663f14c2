"""The folder of a training run: taken or free, finished or interrupted, and its report."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.training import checkpoint as checkpoints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

REPORT_NAME: Final = "training.json"
# They change nothing that is learned, so a resumed run may have others.
_FREE: Final = ("device", "save_every")


def settings_of(config: DataclassInstance) -> dict[str, Any]:
    """Those that a resumed run must share: `device` may change, and `save_every` changes nothing that is learned."""
    return {name: value for name, value in asdict(config).items() if name not in _FREE}


def is_interrupted(output: Path) -> bool:
    """Whether `output` holds a run to go on with."""
    return (output / checkpoints.NAME).is_file()


def is_finished(output: Path) -> bool:
    """Whether `output` holds a whole run, which is not gone on with."""
    return (output / REPORT_NAME).is_file() and not is_interrupted(output)


def refuse_checkpoint(output: Path) -> None:
    """Raise `ValueError`, one line, where `output` holds a checkpoint that no run of this folder wrote."""
    if (output / "config.json").exists() and not is_interrupted(output):
        raise ValueError(f"`output={output}` holds a checkpoint already, which is not overwritten; give another folder")


def finished_report(output: Path, config: DataclassInstance, *, resume: bool) -> dict[str, Any] | None:
    """The report of the finished run in `output`; None where there is a run to start or to go on with.

    Raises:
        ValueError: one line; there is a run and `resume` is not given, or a finished one of other settings.
    """
    report_path = output / REPORT_NAME
    if (is_interrupted(output) or report_path.is_file()) and not resume:
        raise ValueError(f"`output={output}` holds a run already; give --resume to go on with it, or another folder")
    if not is_finished(output):
        return None
    try:
        report = json.loads(report_path.read_text(encoding="utf-8"))
        had, _ = dict(report["settings"]), report["figures"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{report_path} cannot be read as the report of a run; give another `output`") from None
    # A setting that is newer than the run had its default; one without a default (`objective`) is in every run's.
    defaults = {field.name: field.default for field in fields(config) if field.default is not MISSING}
    for name, value in settings_of(config).items():
        before = had.get(name, defaults.get(name))
        if before != value:
            raise ValueError(
                f"`{name}={value}` differs from the finished run in {output}, which had {name}={before}; "
                "give another `output`"
            )
    return report


def outcome(history: Sequence[Mapping[str, float]], seconds: float, device: torch.device) -> dict[str, Any]:
    """What every report says of how a run went: its last figures, all of them, what it took and where."""
    return {
        "figures": history[-1],
        "history": history,
        "seconds": round(seconds, 1),
        "device": str(device),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }


def finish(output: Path, report: dict[str, Any]) -> None:
    """Write the report, after which the run is finished: its checkpoint goes."""
    path = output / REPORT_NAME
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    (output / checkpoints.NAME).unlink(missing_ok=True)
