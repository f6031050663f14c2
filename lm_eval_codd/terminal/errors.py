"""How errors end: this package's own in one line, which says what to do; all others as Python shows them.

Also in lm-eval's command line, which shows every error under its whole traceback. Imports nothing heavy: it is in place
before anything of this package runs there.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from lm_eval_codd.terminal.clean_text import one_line

_HOST_COMMAND: Final = "cli_evaluate"
_HOST_PACKAGE: Final = "lm_eval"


def ends_in_one_line(error: BaseException, homes: tuple[Path, ...]) -> bool:
    """Whether an error's message is all there is to say.

    What the operating system says counts as of whoever asked it, whatever of Python's library lay in between.

    Args:
        error: as raised.
        homes: folders whose code writes its messages for users.
    """
    if not isinstance(error, ValueError | OSError | RuntimeError):
        return False
    if _shows_everything():
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    while isinstance(error, OSError) and frames and _is_of_python(frames[-1]):
        frames.pop()
    return bool(frames) and any(Path(frames[-1].f_code.co_filename).resolve().is_relative_to(home) for home in homes)


def end_quietly_in_lm_eval(
    homes: tuple[Path, ...], explain: Callable[[BaseException, str], str | None] = lambda error, model: None
) -> None:
    """Let this package's own errors end lm-eval's command line in one line; with LMEVAL_LOG_LEVEL=DEBUG as before.

    All other errors, and those outside of that command line, go to the hook that was there before.

    Args:
        homes: folders whose code writes its messages for users.
        explain: what to do about an error of lm-eval's own, by the model that it was to evaluate; None: nothing known.
    """
    before = sys.excepthook
    if getattr(before, "_ends_quietly", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        try:
            said = _say_in_lm_eval(error, trace)
        except Exception:  # whatever it is, the error itself must be seen
            said = None
        if said is None:
            before(kind, error, trace)
        else:
            print(f"lm_eval: {one_line(said)}", file=sys.stderr)

    def _say_in_lm_eval(error: BaseException, trace: TracebackType | None) -> str | None:
        if not _runs_lm_eval(trace) or _shows_everything():
            return None
        return str(error) if ends_in_one_line(error, homes) else explain(error, _model_asked_for(trace))

    hook._ends_quietly = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _is_of_python(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in sys.stdlib_module_names


def _shows_everything() -> bool:
    return os.environ.get("LMEVAL_LOG_LEVEL", "").upper() == "DEBUG"


def _model_asked_for(trace: TracebackType | None) -> str:
    """The model of lm-eval's command, out of the settings that it runs with; nothing where it has none yet."""
    while trace is not None:
        settings = trace.tb_frame.f_locals.get("cfg")
        if type(settings).__module__.partition(".")[0] == _HOST_PACKAGE:
            return str(getattr(settings, "model", ""))
        trace = trace.tb_next
    return ""


def _runs_lm_eval(trace: TracebackType | None) -> bool:
    """Whether an error came out of lm-eval's own command, not out of somebody's program that uses lm-eval."""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == _HOST_COMMAND and Path(code.co_filename).parent.name == _HOST_PACKAGE:
            return True
        trace = trace.tb_next
    return False
