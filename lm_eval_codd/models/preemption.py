"""An evaluation that is asked to end keeps its answers: by SIGTERM, some 30 s before a cluster kills, or by Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from lm_eval_codd.models.journal import Journal

eval_logger = logging.getLogger("lm_eval.codd")

# What a shell calls a command that SIGTERM ended, too.
EXIT_STATUS: Final = 128 + signal.SIGTERM


class Preempted(SystemExit):
    """SIGTERM, as the end of the process with status 143."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


@contextmanager
def keeping_answers(journal: Journal | None) -> Iterator[None]:
    """While requests are answered: SIGTERM raises `Preempted`; whatever ends the work, the journal is on the disk then.

    SIGTERM is left to a host that handles or ignores it, and where this is not the main thread.
    """
    with _sigterm_raising():
        try:
            yield
        except BaseException as error:
            if journal is not None:
                with suppress(OSError):  # what ended the work is worth more than what this says
                    journal.flush()
            if isinstance(error, Preempted | KeyboardInterrupt):
                cause = "preempted (SIGTERM)" if isinstance(error, Preempted) else "interrupted"
                eval_logger.warning("%s: %s", cause, _what_is_kept(journal))
            raise
        if journal is not None:
            journal.flush()


def _what_is_kept(journal: Journal | None) -> str:
    if journal is None:
        return "the answers so far are lost, since there is no journal; `journal=FOLDER` keeps them"
    return f"the answers so far are journalled in {journal.folder}; the same command goes on from there"


@contextmanager
def _sigterm_raising() -> Iterator[None]:
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(*_: object) -> NoReturn:
    # A second one, from the launcher when the first came from the cluster, must not cut the end short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Preempted
