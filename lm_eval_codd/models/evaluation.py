"""The evaluation that a model runs in, as lm-eval was asked for it.

lm-eval hands a model its requests and little else: not which `--gen_kwargs` a user typed (they are merged into every
task's own), not the seeds, not the name of the chat template, not which other tasks were asked for. All of them are
arguments of `simple_evaluate` and `evaluate`, lm-eval's public functions, so they are read from the running calls of
these two. A version of lm-eval in which one of them cannot be found is refused, never taken for "nothing was given".
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

import lm_eval
from lm_eval import evaluator
from lm_eval.api.model import CachingLM
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.utils import simple_parse_args_string

from lm_eval_codd import task_files

if TYPE_CHECKING:
    from lm_eval.api.task import Task

_SIMPLE: Final = "simple_evaluate"
_EVALUATE: Final = "evaluate"


@dataclass(frozen=True)
class Evaluation:
    """What a running evaluation was asked for.

    Attributes:
        gen_kwargs: as typed, not what tasks say.
        torch_seed: None where none was asked for.
        chat_template: whether prompts go through the tokenizer's chat template, or through which of its templates.
        system_instruction: put in front of what tasks say to the system.
        limit: documents of each task, or a share of them below 1; None for all.
        samples: the numbers of the documents of some tasks, by the task's name, where they were given.
        use_cache: whether lm-eval keeps the answers in a store of its own.
        typed_device: the device that somebody chose; None where lm-eval filled in its default.
        tasks: those of the run, by name; empty before lm-eval has loaded them.
        asks_for_no_text: whether all its tasks are known to ask for likelihoods alone, before they are loaded too.
    """

    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    torch_seed: int | None = None
    chat_template: bool | str = False
    system_instruction: str | None = None
    limit: float | None = None
    samples: Mapping[str, Sequence[int]] = field(default_factory=dict)
    use_cache: bool = False
    typed_device: str | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    asks_for_no_text: bool = False

    @property
    def wants_no_template(self) -> bool:
        """Whether each of the tasks says in its metadata that its protocol has no chat template."""
        said = [(getattr(task.config, "metadata", None) or {}).get("chat_template") for task in self.tasks.values()]
        return bool(said) and all(wanted is False for wanted in said)


def running_evaluation() -> Evaluation | None:
    """The evaluation that this code runs in; None outside of one.

    Raises:
        RuntimeError: this version of lm-eval does not say what it was asked for.
    """
    simple, evaluate = _frame_of(_SIMPLE), _frame_of(_EVALUATE)
    frame, function = (simple, _SIMPLE) if evaluate is None else (evaluate, _EVALUATE)
    if frame is None:
        return None
    given: dict[str, Any] = {}
    if simple is not None:
        typed = _argument(simple, _SIMPLE, "gen_kwargs") or {}
        given = {
            "gen_kwargs": simple_parse_args_string(typed) if isinstance(typed, str) else dict(typed),
            "torch_seed": _argument(simple, _SIMPLE, "torch_random_seed"),
            "limit": _argument(simple, _SIMPLE, "limit"),
            "samples": _argument(simple, _SIMPLE, "samples") or {},
            "use_cache": _argument(simple, _SIMPLE, "use_cache") is not None,
            "typed_device": _typed_device(simple),
            "asks_for_no_text": _asks_for_no_text(simple),
        }
    if evaluate is not None:
        given["tasks"] = _flat(_argument(evaluate, _EVALUATE, "task_dict"))
    return Evaluation(
        **given,
        chat_template=_argument(frame, function, "apply_chat_template") or False,
        system_instruction=_argument(frame, function, "system_instruction"),
    )


def applied_chat_template() -> bool | str | None:
    """`Evaluation.chat_template` alone, for every prompt of a run; None outside of an evaluation."""
    for function in (_EVALUATE, _SIMPLE):
        frame = _frame_of(function)
        if frame is not None:
            return _argument(frame, function, "apply_chat_template") or False
    return None


def running_model() -> object | None:
    """The model that the running evaluation asks, without lm-eval's store of answers around it; None outside of one."""
    frame = _frame_of(_EVALUATE)
    model = None if frame is None else _argument(frame, _EVALUATE, "lm")
    return model.lm if isinstance(model, CachingLM) else model


def _frame_of(function: str) -> FrameType | None:
    code = _code_of(function)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


@cache
def _code_of(function: str) -> CodeType:
    code = getattr(inspect.unwrap(_function(function)), "__code__", None)
    if code is None or code.co_name != function:
        raise _unsupported(f"`{function}` is wrapped in a way that hides it")
    return code


@cache
def _parameters_of(function: str) -> frozenset[str]:
    return frozenset(inspect.signature(_function(function)).parameters)


def _function(function: str) -> Callable[..., Any]:
    if not hasattr(evaluator, function):
        raise _unsupported(f"there is no `{function}`")
    return getattr(evaluator, function)


def _argument(frame: FrameType, function: str, name: str) -> Any:
    if name not in _parameters_of(function):
        raise _unsupported(f"`{function}` has no argument `{name}`")
    return frame.f_locals[name]


def _unsupported(reason: str) -> RuntimeError:
    return RuntimeError(
        f"lm_eval {lm_eval.__version__} cannot be asked what it was called with ({reason}); install lm_eval 0.4.13"
    )


def _typed_device(simple: FrameType) -> str | None:
    device = _argument(simple, _SIMPLE, "device")
    called_from = simple.f_back
    while called_from is not None and called_from.f_globals.get("__name__") == "lm_eval.utils":  # its decorators
        called_from = called_from.f_back
    caller = "" if called_from is None else str(called_from.f_globals.get("__name__"))
    if not caller.startswith("lm_eval."):
        return device
    return device if _command_line_has("device") else None


def _asks_for_no_text(simple: FrameType) -> bool:
    asked = _argument(simple, _SIMPLE, "tasks") or []
    manager = _argument(simple, _SIMPLE, "task_manager")
    given = getattr(manager, "include_path", None)
    folders = [None, *(map(str, given) if isinstance(given, list | tuple) else [str(given)] if given else [])]
    return bool(asked) and all(
        isinstance(task, str) and any(task_files.asks_for_no_text(task, folder) for folder in folders) for task in asked
    )


def _command_line_has(option: str) -> bool:
    """Whether lm-eval's command line, or the file that its `--config` names, sets an option."""
    words = sys.argv[1:]
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    # argparse takes any unambiguous beginning of an option.
    if any(len(name) > 4 and f"--{option}".startswith(name) for name in names):
        return True
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--config", "-C"):
            path = value or (words[index + 1] if index + 1 < len(words) else "")
            return EvaluatorConfig.load_yaml_config(path).get(option) is not None
    return False


def _flat(task_dict: Mapping[Any, Any]) -> dict[str, Task]:
    """The tasks out of what `TaskManager.load` returns, or out of the older dictionary of nested groups."""
    tasks: dict[str, Task] = {}
    for name, value in task_dict.get("tasks", task_dict).items():
        if isinstance(value, Mapping):
            tasks.update(_flat(value))
        else:
            tasks[str(name)] = value
    return tasks
