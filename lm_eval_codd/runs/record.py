"""A run's folder: `run.json` says what the run is and how it went, beside lm-eval's results and the log."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd import __version__
from lm_eval_codd.files.disk import explained
from lm_eval_codd.runs import progress
from lm_eval_codd.runs.identity import filled
from lm_eval_codd.settings import DecodingConfig
from lm_eval_codd.settings.older_records import DECODING_VERSION, decodes_otherwise

if TYPE_CHECKING:
    from lm_eval_codd.runs.run import Run

FILE: Final = "run.json"
LOG: Final = "log.txt"

_VERSIONS_OF: Final = ("lm_eval", "torch", "transformers", "datasets", "peft")


def read(folder: Path) -> dict[str, Any] | None:
    """The folder's run.json, None when there is none or it is no JSON: a run that was there is made again.

    Raises:
        ValueError: this user may not read it, or the disk fails; nothing is known of the run then.
    """
    path = folder / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise ValueError(f"{path} cannot be read: {explained(error, path)}") from None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def write(folder: Path, record: dict[str, Any]) -> None:
    """Replace the folder's run.json in one step: a reader, or a crash, meets the old file or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{FILE}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner only; results are as readable as any other file here.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, folder / FILE)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def identity(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the recorded run was; None where the record does not say.

    Settings that a version did not have yet, and so did not record, have their defaults: what it did without them.
    """
    try:
        return filled(record.get("identity") or {})
    except ValueError:
        return None


def differences(folder: Path, run: Run) -> list[str]:
    """What the run in the folder has otherwise than this one, as `seed=7`; empty where it is this one, or none."""
    record = read(folder)
    if record is None:
        return []
    there, here = identity(record), filled(run.identity())
    if there is None:
        return ["not known"]
    pairs = [(name, there.get(name), here.get(name)) for name in {**here, **there} if name != "config"]
    pairs += [(name, there["config"].get(name), here["config"].get(name)) for name in here["config"] | there["config"]]
    return [f"{name}={theirs}" for name, theirs, ours in pairs if theirs != ours]


def finished(folder: Path, run: Run) -> dict[str, Any] | None:
    """The record of this very run if it is in the folder, complete, with its results; else None.

    A run whose checkpoint, adapter or circuit on this machine has changed since is not this very run.
    """
    record = completed(folder, run)
    return record if record is not None and not changed(record, run) else None


def completed(folder: Path, run: Run) -> dict[str, Any] | None:
    """As `finished`, whatever has become of the run's files since."""
    record = read(folder)
    if record is None or record.get("status") != "finished" or identity(record) != filled(run.identity()):
        return None
    return record if (folder / str(record.get("results"))).is_file() else None


def changed(record: dict[str, Any], run: Run) -> list[str]:
    """Which of the run's files are not what they were: `checkpoint`, `peft`, `circuit`."""
    before = record.get("fingerprints")
    before = before if isinstance(before, dict) else {}
    return [name for name, text in run.fingerprints().items() if before.get(name) != text]


def otherwise(record: Mapping[str, Any], run: Run) -> list[str]:
    """What would be decoded otherwise if the recorded run were made now, a line each."""
    if not isinstance(run.config, DecodingConfig):
        return []
    return decodes_otherwise(record, filled(run.identity())["config"], coupled=run.circuit is not None)


def result_files(folder: Path) -> set[str]:
    """Names of lm-eval's result files in the folder, of this and earlier executions."""
    return {file.name for file in folder.glob("results_*.json")}


def half_written(results: Path) -> str:
    """What of lm-eval's results, or of the samples beside them, is missing or cut short; nothing where it is whole."""
    try:
        told = json.loads(results.read_text(encoding="utf-8"))
        stamp = results.stem.removeprefix("results_")
        for task, counted in told["n-samples"].items():
            samples = results.with_name(f"samples_{task}_{stamp}.jsonl")
            if not samples.exists():
                return f"{samples.name} was not written"
            text = samples.read_bytes()
            if text.count(b"\n") < counted["effective"] or not text.endswith(b"\n"):
                return f"{samples.name} is cut short"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{results.name} is cut short"
    return ""


def clear(folder: Path) -> None:
    """Remove what a run left that was killed while it wrote. Only for who has the folder's lock."""
    for leftover in (*folder.glob(f".{FILE}.*"), folder / progress.FILE, folder / f".{progress.FILE}"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def set_aside(path: Path) -> None:
    """Rename a file or folder, if it is there, to a name that is free, whatever the clock says."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
    names = (path.with_name(f"{path.name}.{stamp}{f'.{number}' if number else ''}") for number in itertools.count())
    with contextlib.suppress(FileNotFoundError):
        path.rename(next(name for name in names if not name.exists()))


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def surroundings() -> dict[str, Any]:
    """Host and versions that a result is recorded with, that of decoding (`older_records`) among them."""
    versions = {"python": platform.python_version(), "lm_eval_codd": __version__}
    for package in _VERSIONS_OF:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "versions": versions,
        "decoding_version": DECODING_VERSION,
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
