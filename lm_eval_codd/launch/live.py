"""What a user sees while runs are going: on a terminal a line a slot and a bar for the whole, elsewhere plain lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from lm_eval_codd.reporting.summary import read_rows
from lm_eval_codd.runs import progress, record

if TYPE_CHECKING:
    from lm_eval_codd.launch.execute import Execution, Job, Outcome
    from lm_eval_codd.launch.lock import Holder

_LINE_SECONDS: Final = 60.0
_SCREEN_SECONDS: Final = 0.5
# From here on it is said that a run shows no sign of life.
_SILENT_SECONDS: Final = 600.0


def say(text: str) -> None:
    """Print one line with the time."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def duration(seconds: float | None) -> str:
    """`1:02:03`, or dashes where it is not known."""
    if seconds is None:
        return "-:--:--"
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"


class Lines:
    """Prints a line an event, a line a minute and run while nothing happens, and the end of a failed run's log.

    Args:
        jobs: everything that will run.
    """

    interval: float = _LINE_SECONDS

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.watch = Watch(jobs)
        self._next = time.monotonic() + self.interval
        self._num_started = 0

    def started(self, execution: Execution) -> None:
        """A run was started."""
        self._num_started += 1
        what = "resumed " if execution.goes_on else "started "
        of = f"({self._num_started}/{self.watch.num_runs})"
        say(f"{what} {execution.job} on {execution.slot.label} {of}")

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run has ended."""
        self.watch.end(job, outcome)
        took = outcome.reason if outcome.status == "finished" and outcome.reason else f"in {outcome.seconds:.0f} s"
        if outcome.status == "finished":
            scores = "; ".join(row.score() for row in read_rows(job.folder))
            say(f"finished {job} {took}: {scores or 'no score'}")
        elif outcome.status == "failed":
            say(f"failed   {job} after {outcome.seconds:.0f} s: {outcome.reason}")
            say(f"         log: {job.folder / record.LOG}")
            for line in outcome.log_tail:
                print(f"    | {line}", flush=True)
        else:
            say(f"stopped  {job} after {outcome.seconds:.0f} s: {outcome.reason}")

    def stalled(self, job: Job, outcome: Outcome) -> None:
        """A run was ended because it showed no sign of life, and is tried once more."""
        say(f"stalled  {job} after {outcome.seconds:.0f} s: {outcome.reason}; it is tried once more")

    def held(self, job: Job, holder: Holder) -> None:
        """A run waits for someone else's work on it."""
        say(f"waiting  {job}: held by {holder}; the other runs go first")

    def look(self, executions: Sequence[Execution]) -> None:
        """Runs are under way: read how far they are, and say so when it is time."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + self.interval
            self.show(self.watch.look(executions))

    def show(self, views: Sequence[View]) -> None:
        """Say how far the runs under way are."""
        for view in views:
            say(f"going    {view.name}: {view.count}, {view.speed}, {view.left} left")
        if views:
            say(f"         {self.watch.num_ended} of {self.watch.num_runs} runs, {self.watch.share:.0%} of the work")


class Screen(Lines):
    """As `Lines`, with a live picture at the foot of a terminal in place of the line a minute.

    Args:
        jobs: everything that will run.
        live: a `rich.live.Live` that was started.
    """

    interval = _SCREEN_SECONDS

    def __init__(self, jobs: Sequence[Job], live: Any) -> None:
        super().__init__(jobs)
        self._live = live

    def show(self, views: Sequence[View]) -> None:
        """Draw the picture."""
        self._live.update(picture(views, self.watch), refresh=True)


@contextlib.contextmanager
def view(jobs: Sequence[Job], stream: TextIO | None = None) -> Iterator[Lines]:
    """The view that fits where standard output goes: `Screen` on a terminal, else `Lines`."""
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        yield Lines(jobs)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    if console.is_dumb_terminal:
        yield Lines(jobs)
        return
    # Not refreshed from a thread of its own: what is drawn is read from files when the launcher has time.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Screen(jobs, live)


class View:
    """A run under way, in words.

    Attributes:
        slot, name, task: where it runs and what it is.
        count: answers done of all; before the first one, what is known.
        speed, left: answer tokens a second, and the time that is left.
        share: of its answers, 0 to 1.
    """

    def __init__(self, execution: Execution, said: progress.Progress | None, left: float | None) -> None:
        self.slot = execution.slot.label
        self.name = str(execution.job)
        self.task = execution.job.run.short_task
        self.share = said.share if said else 0.0
        self.count = f"{said.done}/{said.total}" if said else "loading"
        if said and not said.done and said.step:
            self.count += f" (step {said.step})"
        self.speed = f"{said.tokens_per_second:.1f} tokens/s" if said and said.tokens_per_second else "- tokens/s"
        self.left = duration(left)
        if (silence := execution.silence()) >= _SILENT_SECONDS:
            self.count += f", silent for {duration(silence)}"


class Watch:
    """How far the runs are, together, and how long they will take.

    Speed is measured on what was done since this launcher first looked, so that answers out of a journal, which cost
    nothing, do not promise too much.

    Attributes:
        num_runs, num_ended: runs in all, and those that are over.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.num_runs = len(jobs)
        self.num_ended = 0
        self._cost = {job.name: job.run.cost * job.weight for job in jobs}
        self._total = sum(self._cost.values()) or 1.0
        self._first: dict[str, tuple[float, progress.Progress]] = {}
        self._share: dict[str, float] = {}
        self._start = time.monotonic()

    @property
    def share(self) -> float:
        """Of all work, 0 to 1."""
        return min(1.0, sum(self._cost[name] * share for name, share in self._share.items()) / self._total)

    @property
    def left(self) -> float | None:
        """Seconds until everything is done, None while there is nothing to go by."""
        before = {name: first.share for name, (_, first) in self._first.items()}
        done = sum(self._cost[name] * (share - before.get(name, 0.0)) for name, share in self._share.items())
        if done <= 0:
            return None
        return (1.0 - self.share) * self._total / done * (time.monotonic() - self._start)

    def look(self, executions: Sequence[Execution]) -> list[View]:
        """Read how far the runs under way are."""
        views = []
        for execution in executions:
            name = execution.job.name
            said = progress.read(execution.job.folder)
            if said is not None:
                self._first.setdefault(name, (time.monotonic(), said))
                self._share[name] = said.share
            views.append(View(execution, said, self._left_of(name, said)))
        return views

    def end(self, job: Job, outcome: Outcome) -> None:
        """A run is over, one way or another."""
        self.num_ended += 1
        self._share[job.name] = 1.0
        if not outcome.seconds:
            # Someone else's work says nothing of our speed.
            self._first[job.name] = (time.monotonic(), progress.Progress(1, 1))

    def _left_of(self, name: str, said: progress.Progress | None) -> float | None:
        if said is None:
            return None
        start, first = self._first[name]
        done = said.done - first.done
        return None if done <= 0 else (said.total - said.done) / done * (time.monotonic() - start)


def picture(views: Sequence[View], watch: Watch) -> Any:
    """A line a run under way and a bar for the whole, for rich."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for _ in range(4):
        table.add_column(no_wrap=True, justify="right")
    for line in views:
        table.add_row(*(_plain(text) for text in (line.slot, line.name, line.task, line.count, line.speed, line.left)))
    whole = Table.grid(padding=(0, 2), expand=True)
    whole.add_column(no_wrap=True)
    whole.add_column(ratio=1)
    whole.add_column(no_wrap=True, justify="right")
    counted = f"{watch.num_ended}/{watch.num_runs} runs"
    whole.add_row(counted, ProgressBar(total=1.0, completed=watch.share), duration(watch.left))
    return Group(table, whole)


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)
