"""One run in a child process: its log, its record, its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.catalogue import PROGRESS_FILE
from lm_eval_codd.files.disk import explained, full_disk
from lm_eval_codd.launch.cause import find_cause
from lm_eval_codd.launch.command import JOURNAL, RUNNER, build_command, model_args
from lm_eval_codd.launch.environment import of_one_process
from lm_eval_codd.launch.pulse import Clock, Pulse
from lm_eval_codd.runs import progress, record

if TYPE_CHECKING:
    from lm_eval_codd.launch.devices import Slot
    from lm_eval_codd.launch.lock import Lock
    from lm_eval_codd.runs.run import Run

LOG_LINES: Final = 15
_LOG_BYTES: Final = 64 * 1024
# Of a child that SIGTERM ended at once, and of one that kept its answers first.
_SIGTERM_STATUSES: Final = (-signal.SIGTERM, 128 + signal.SIGTERM)


@dataclass(frozen=True)
class Job:
    """A run with its name and its folder, and the hub revisions that were fetched for it.

    anew: nothing that is there already counts, neither results nor journalled answers.
    label: what tells it from the other runs, for messages; its name when empty.
    journal: where its answers are written down; None for the folder's own.
    weight: the share of its work that is left to do, for views.
    stalls: when earlier executions of it were ended because they had stalled.
    published: the published cells that it is for, each with what was assumed for it.
    """

    run: Run
    name: str
    folder: Path
    revisions: Mapping[str, str]
    anew: bool = False
    label: str = ""
    journal: Path | None = None
    weight: float = 1.0
    stalls: tuple[str, ...] = ()
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def journal_folder(self) -> Path:
        """Where its answers are written down."""
        return self.folder / JOURNAL if self.journal is None else self.journal

    def __str__(self) -> str:
        return self.label or self.name


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `reason` says why it is not finished.

    status: `finished`, `failed`, `interrupted` (Ctrl-C, a closed terminal), `preempted` (SIGTERM) or `stalled` (ended
    for its silence). The last three go on where they were.
    """

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
        clock: seconds that never go backwards.

    Attributes:
        goes_on: whether answers of an earlier execution are there.

    Raises:
        OSError: the folder cannot be written, or the child cannot be started. The lock is the caller's then.
    """

    def __init__(
        self, job: Job, slot: Slot, lock: Lock, runner: tuple[str, ...] = RUNNER, clock: Clock = time.monotonic
    ) -> None:
        self.job = job
        self.slot = slot
        self._lock = lock
        self._start = time.monotonic()
        self._silence: float | None = None
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
        self._pulse = Pulse(job.folder, clock)

    def has_ended(self) -> bool:
        """Whether the child is gone."""
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def silence(self) -> float:
        """Seconds without a sign of life."""
        return self._pulse.silence()

    def end_if_silent(self, limit: float) -> None:
        """End a child that has shown no sign of life for so many seconds. What it journalled is with the system."""
        if self._silence is None and (silence := self.silence()) >= limit:
            self._silence = silence
            self.signal(signal.SIGKILL)

    def close(self, *, stopped_as: str | None = None) -> Outcome:
        """Clear up after a child that has ended, write its record, and say how it went.

        Args:
            stopped_as: the status of a child that was asked to end; None where it ended by itself.
        """
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        seconds = time.monotonic() - self._start
        new_results = sorted(record.result_files(self.job.folder) - self._older_results)
        wrong = record.half_written(self.job.folder / new_results[-1]) if new_results else "wrote no results"
        status, reason = _judge(code, wrong, stopped_as)
        if status == "failed" and self._silence is not None:
            status, reason = "stalled", f"no sign of life for {self._silence / 60:.3g} min"
            self.job = replace(self.job, stalls=(*self.job.stalls, record.now()))
        self._record |= {
            **_stalls(self.job),
            "status": status,
            "ended": record.now(),
            "seconds": round(seconds, 1),
            "exit_status": code,
            "results": new_results[-1] if status == "finished" else None,
        }
        try:
            record.write(self.job.folder, self._record)
        except OSError as error:
            path = self.job.folder / record.FILE
            status, reason = "failed", f"cannot write {path}: {explained(error, path)}"
        record.clear(self.job.folder)
        self._lock.release()
        if status != "failed":
            return Outcome(status, seconds, reason)
        tail = self._log_tail()
        # A full disk takes the log's last lines too, and lm-eval does not stop where it cannot write its results.
        cause = full_disk(self.job.folder) or find_cause(tail)
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
        "model": run.model,
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
        **({"published": {cell: dict(assumed) for cell, assumed in job.published.items()}} if job.published else {}),
        **_stalls(job),
    }


def _stalls(job: Job) -> dict[str, Any]:
    return {"stalls": list(job.stalls)} if job.stalls else {}


def _judge(code: int, wrong: str, stopped_as: str | None) -> tuple[str, str]:
    if stopped_as is not None:
        return stopped_as, stopped_as
    if code in _SIGTERM_STATUSES:
        return "preempted", "preempted"
    if code < 0:
        try:
            return "failed", f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return "failed", f"ended by signal {-code}"
    if code > 0:
        return "failed", f"exit status {code}"
    return ("failed", wrong) if wrong else ("finished", "")
