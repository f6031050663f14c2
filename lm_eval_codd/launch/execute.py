"""One run in a child process: its log, its record, its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.catalogue import PROGRESS_FILE
from lm_eval_codd.launch.cause import find_cause
from lm_eval_codd.launch.command import JOURNAL, RUNNER, build_command, model_args, model_name
from lm_eval_codd.launch.environment import of_one_process
from lm_eval_codd.runs import progress, record

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot
    from lm_eval_codd.launch.lock import Lock
    from lm_eval_codd.runs.run import Run

LOG_LINES: Final = 15
_LOG_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Job:
    """A run with its name and its folder, and the hub revisions that were fetched for it.

    anew: nothing that is there already counts, neither results nor journalled answers.
    label: what tells it from the other runs, for messages; its name when empty.
    journal: where its answers are written down; None for the folder's own.
    weight: the share of its work that is left to do, for views.
    """

    run: Run
    name: str
    folder: Path
    revisions: Mapping[str, str]
    anew: bool = False
    label: str = ""
    journal: Path | None = None
    weight: float = 1.0

    @property
    def journal_folder(self) -> Path:
        """Where its answers are written down."""
        return self.folder / JOURNAL if self.journal is None else self.journal

    def __str__(self) -> str:
        return self.label or self.name


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, `failed` or `interrupted`; `reason` says why it is not finished."""

    status: str
    seconds: float
    reason: str = ""
    log_tail: tuple[str, ...] = ()


class Execution:
    """A started run. The child leads its own process group, so that nothing it starts outlives it.

    Args:
        job: the run.
        slot: where it executes.
        lock: of its folder; given up when the run is closed. The child has it as well, in case it outlives this
            process.
        runner: the command that executes a run.

    Attributes:
        goes_on: whether answers of an earlier execution are there.

    Raises:
        OSError: the folder cannot be written, or the child cannot be started. The lock is the caller's then.
    """

    def __init__(self, job: Job, slot: Slot, lock: Lock, runner: tuple[str, ...] = RUNNER) -> None:
        self.job = job
        self.slot = slot
        self._lock = lock
        self._start = time.monotonic()
        self._older_results = record.result_files(job.folder)
        if job.anew:
            record.set_aside(job.journal_folder)
        self.goes_on = job.journal_folder.exists()
        record.clear(job.folder)
        command = command_of(job, slot, runner)
        self._record = _describe(job, slot, command)
        record.write(job.folder, self._record)
        with (job.folder / record.LOG).open("ab") as log:
            log.write(f"== {record.now()} {shlex.join(command)}\n".encode())
            log.flush()
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **of_one_process(os.environ),
                    **slot.environment,
                    PROGRESS_FILE: str(job.folder / progress.FILE),
                },
                pass_fds=(lock.handle,),
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        """Whether the child is gone."""
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def close(self, *, interrupted: bool = False) -> Outcome:
        """Clear up after a child that has ended, write its record, and say how it went."""
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        seconds = time.monotonic() - self._start
        new_results = sorted(record.result_files(self.job.folder) - self._older_results)
        status, reason = _judge(code, bool(new_results), interrupted)
        self._record |= {
            "status": status,
            "ended": record.now(),
            "seconds": round(seconds, 1),
            "exit_status": code,
            "results": new_results[-1] if status == "finished" else None,
        }
        try:
            record.write(self.job.folder, self._record)
        except OSError as error:
            status, reason = "failed", f"cannot write {self.job.folder / record.FILE}: {error.strerror}"
        record.clear(self.job.folder)
        self._lock.release()
        if status != "failed":
            return Outcome(status, seconds, reason)
        tail = self._log_tail()
        cause = find_cause(tail)
        return Outcome(status, seconds, f"{cause} ({reason})" if cause else reason, tail)

    def _log_tail(self) -> tuple[str, ...]:
        with (self.job.folder / record.LOG).open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _LOG_BYTES))
            text = log.read().decode(errors="replace")
        # A progress bar is one long line that overwrites itself; only its last state is worth a line here.
        lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
        return tuple([line for line in lines if line][-LOG_LINES:])


def command_of(job: Job, slot: Slot, runner: tuple[str, ...] = RUNNER) -> list[str]:
    """The command line that executes a job on a slot."""
    return build_command(
        job.run, job.folder, slot.device, runner, job.revisions, journal=job.journal_folder, is_spread=slot.is_spread
    )


def _describe(job: Job, slot: Slot, command: list[str]) -> dict[str, Any]:
    run = job.run
    return {
        "name": job.name,
        "status": "running",
        "identity": run.identity(),
        "model": model_name(run),
        "model_args": model_args(run, job.revisions),
        "task": run.task,
        "num_forward": run.num_forward,
        "command": command,
        "slot": slot.label,
        "device": slot.device,
        "hardware": slot.hardware,
        "environment": dict(slot.environment),
        "revisions": dict(job.revisions),
        "fingerprints": run.fingerprints(),
        **record.surroundings(),
        "started": record.now(),
        "ended": None,
        "seconds": None,
        "exit_status": None,
        "results": None,
    }


def _judge(code: int, has_results: bool, interrupted: bool) -> tuple[str, str]:
    if interrupted:
        return "interrupted", "interrupted"
    if code < 0:
        try:
            return "failed", f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return "failed", f"ended by signal {-code}"
    if code > 0:
        return "failed", f"exit status {code}"
    if not has_results:
        return "failed", "wrote no results"
    return "finished", ""
