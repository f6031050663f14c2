"""What the flags of a run ask for: its task and that task's arguments, examples, chat template and documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.catalogue import TASKS, Task, short_name
from lm_eval_codd.catalogue import task_name as own_task_name
from lm_eval_codd.demo import packaged
from lm_eval_codd.names import check_names
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.run import is_own_task, num_documents
from lm_eval_codd.runs.run_flags import TEMPLATE_WORDS
from lm_eval_codd.templates import PAPER, TEMPLATE, check_template

# How lm-eval's own tasks are named beside ours.
_STOCK: Final = "stock:"

# What is typed for `--chat_template false` and true, and is no template's name.
_NO_TEMPLATES: Final = ("no", "yes", "off", "on", "none", "0", "1")

# Far above what anybody means; more is a slip of the finger, which would be noticed hours later.
_MOST_DOCUMENTS: Final = 10**9
_MOST_NAMED: Final = 10**6
_MOST_SHOTS: Final = 1000
_MOST_ROWS: Final = 10**5


def task_name(name: str) -> str:
    """lm-eval's name of the task; our short names win over lm-eval's own, which `stock:` reaches.

    Raises:
        ValueError: it is a flag, or more than one task.
    """
    if not name or name.startswith("-") or "," in name or name != name.strip():
        raise ValueError(f"`--task {name}` is not the name of a task; give one, such as gsm8k")
    if name.startswith(_STOCK):
        return name.removeprefix(_STOCK)
    return own_task_name(name) if name in TASKS else name


def own_task(task: str) -> Task | None:
    """What is known of a task by lm-eval's name, if it comes with this package."""
    short = short_name(task)
    return None if short is None else TASKS[short]


def read_num_shot(given: Mapping[str, Any], task: str) -> int | None:
    """Examples in a prompt; None where lm-eval's task says how many.

    Raises:
        ValueError: the task takes none, or it is no number that anybody means.
    """
    number = given.get("num_shot")
    if number is not None:
        check_within("num_shot", number, 0, _MOST_SHOTS)
    short = short_name(task)
    if short is None:
        return number
    if number and TASKS[short].most_shots:
        raise ValueError(f"`--num_shot {number}`: {short} takes its examples as `--metadata shots={number}`")
    if number:
        stock = TASKS[short].stock
        or_else = "" if stock is None else f", or use lm-eval's ({_STOCK}{stock})"
        raise ValueError(f"`--num_shot {number}`: {_shots_of(short)}; leave it out{or_else}")
    return 0


def _shots_of(short: str) -> str:
    number = TASKS[short].examples
    return f"{short} has {number} examples of its own" if number else f"{short} is zero-shot"


def read_turns(given: Mapping[str, Any], task: str) -> bool | None:
    """Whether examples are turns; None where lm-eval decides, and where there are none.

    Raises:
        ValueError: the task is this package's, or there is no chat template.
    """
    value = given.get("fewshot_as_multiturn")
    if value is None:
        return None
    written = str(value).lower()
    if is_own_task(task):
        raise ValueError(f"`--fewshot_as_multiturn {written}`: {_shots_of(str(short_name(task)))}; leave it out")
    if value and given.get("chat_template", "auto").lower() == "false":
        raise ValueError("`--fewshot_as_multiturn true` needs a chat template; leave out one of them")
    return value


def read_include_path(given: Mapping[str, Any], task: str) -> str | None:
    """The user's folder of tasks, for tasks that are not of this package.

    Raises:
        ValueError: there is no such folder.
    """
    value = given.get("include_path")
    if value is None:
        return None
    folder = Path(value).expanduser()
    if not value or not folder.is_dir():
        raise ValueError(f"`--include_path {value}`: there is no such folder; give the folder of your task files")
    return None if is_own_task(task) else str(folder.resolve())


def read_chat_template(given: Mapping[str, Any], checkpoint: str, task: str) -> bool | str:
    """Whether prompts go through a chat template, or its name; by default as the task's protocol has it.

    A checkpoint that is not on this machine yet is taken to have one.

    Raises:
        ValueError: it is a word that says nothing, or the tokenizer has no such template.
    """
    value = given.get("chat_template", "auto")
    if value.lower() in (*TEMPLATE_WORDS, *_NO_TEMPLATES):
        value = value.lower()
    if value in _NO_TEMPLATES:
        raise ValueError(f"`--chat_template {value}` must be auto, true, false, or the name of a template")
    own = own_task(task)
    if value == "false" or (value == "auto" and own is not None and not own.chat_template):
        return False
    folder = checkpoints.folder_of(checkpoint, packaged.CHECKPOINTS)
    names = None if folder is None else checkpoints.chat_templates(folder)
    if value == "auto":
        return names is None or bool(names)
    if names == []:
        raise ValueError(
            f"`--chat_template {value}`: the tokenizer of {checkpoint} has no chat template; use auto or false for a "
            "base checkpoint, or put one into its folder as chat_template.jinja"
        )
    if value == "true":
        return True
    if names is not None and value not in names:
        raise ValueError(
            f"`--chat_template {value}`: the tokenizer's templates are {', '.join(names)}; use one of them, auto, true "
            "or false"
        )
    return value


def read_metadata(given: Mapping[str, Any], task: str, read: Callable[[str], Any] = str) -> str | None:
    """Arguments of a task, its template among them; the default one is not said.

    Args:
        given: flags of the run.
        task: by lm-eval's name.
        read: from what stands behind `name=` to the argument.

    Raises:
        ValueError: they are no arguments, the task does not read one of them or has no such template, or two
            templates are named.
    """
    arguments = json.loads(_arguments(given.get("metadata"), read) or "{}")
    chosen, other = given.get(TEMPLATE), arguments.pop(TEMPLATE, None)
    if chosen is not None and other is not None and chosen != other:
        raise ValueError(f"`--template {chosen}` contradicts `--metadata {TEMPLATE}={other}`; leave one out")
    own = own_task(task)
    if own is not None:
        _check_arguments(own, arguments, f"argument of {short_name(task)} in --metadata")
    name = chosen if chosen is not None else other
    if name is not None and name != PAPER:
        check_template(
            task, str(name), f"`--template {name}`" if chosen is not None else f"`--metadata {TEMPLATE}={name}`"
        )
        arguments[TEMPLATE] = name
    return json.dumps(arguments, sort_keys=True) if arguments else None


def _check_arguments(own: Task, arguments: Mapping[str, Any], kind: str) -> None:
    """Raise `ValueError` for one that the task does not read: lm-eval would pass it on to nobody."""
    check_names(arguments, (TEMPLATE, *own.arguments, *(["shots"] if own.most_shots else [])), kind=kind)
    shots = str(arguments.get("shots", 0))
    if own.most_shots and shots not in map(str, range(own.most_shots + 1)):
        raise ValueError(f"`--metadata shots={shots}` is not a number from 0 to {own.most_shots}")


def number_or_word(text: str) -> Any:
    """A whole number, true or false, or the text."""
    return {"true": True, "false": False}.get(text, int(text) if text.isdecimal() else text)


def _arguments(text: str | None, read: Callable[[str], Any]) -> str | None:
    """A JSON object, or `name=value` and more of them after commas."""
    if text is None or text.lstrip().startswith("{"):
        return read_json_object("metadata", text)
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"`--metadata {text}` must be name=value, such as clean=off, or a JSON object")
    return json.dumps({name.strip(): read(value) for name, _, value in pairs}, sort_keys=True)


def read_documents(given: Mapping[str, Any]) -> tuple[float | None, tuple[int, int] | None]:
    """The documents a run is held to: a limit, a slice, or neither. -1 stands for 'not given', as in eval.py.

    Raises:
        ValueError: both are given, or half a slice, or one that no task has.
    """
    limit = given.get("limit")
    if limit is not None and not (0 < limit < 1 or (limit >= 1 and float(limit).is_integer())):
        raise ValueError(f"`--limit {limit:g}` must be a whole number, or a share between 0 and 1")
    if limit is not None and limit > _MOST_DOCUMENTS:
        raise ValueError(
            f"`--limit {limit:g}` is more than any task has; use at most {_MOST_DOCUMENTS}, or leave it out for all"
        )
    first, end = (None if given.get(name) == -1 else given.get(name) for name in ("sample_sid", "sample_eid"))
    if first is None and end is None:
        return limit, None
    if first is None or end is None:
        raise ValueError("`--sample_sid` and `--sample_eid` go together; give both")
    if limit is not None:
        raise ValueError("`--limit` and `--sample_sid`, `--sample_eid` exclude each other; use one")
    if not 0 <= first < end:
        raise ValueError(f"`--sample_sid {first} --sample_eid {end}` is an empty slice; sid must be below eid, from 0")
    rows = num_documents(short_name(task_name(given["task"])) or given["task"])
    if rows is not None and end > rows:
        raise ValueError(f"`--sample_eid {end}` is beyond the {rows} documents of {given['task']}")
    # Every one of them is named to lm-eval.
    check_within("sample_eid", end, 1, _MOST_NAMED)
    return None, (first, end)


def read_batch_size(given: Mapping[str, Any]) -> str:
    """Rows at once: a number, or `auto`.

    Raises:
        ValueError: it is neither.
    """
    value = str(given.get("batch_size", "1"))
    if value != "auto" and not (value.isdecimal() and int(value) >= 1):
        raise ValueError(f"`--batch_size {value}` must be a whole number of 1 or more, or auto")
    if value != "auto":
        check_within("batch_size", int(value), 1, _MOST_ROWS)
    return value


def read_json_object(name: str, text: str | None) -> str | None:
    """The text of a JSON object, sorted; None of an empty one. Raises `ValueError` for what is none."""
    if text is None:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f'`--{name} {text}` must be a JSON object, such as {{"enable_thinking": false}}')
    return json.dumps(content, sort_keys=True) if content else None


def check_within(name: str, value: int, lowest: int, most: int) -> None:
    """Raises `ValueError` for a number below or above what anybody means."""
    if not lowest <= value <= most:
        raise ValueError(f"`--{name} {value}` must be {lowest} or more, and at most {most}")
