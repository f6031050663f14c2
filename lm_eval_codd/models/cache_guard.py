"""Keep `--use_cache` honest: lm-eval finds an answer by prompt and generation_kwargs alone, whatever the model was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.settings.older_records import filled_settings

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_ROW: Final = "lm_eval_codd: how these answers were made"


def guard_cache(answers: MutableMapping[str, Any], made_by: Mapping[str, Any]) -> None:
    """Write down how a cache's answers are made, or refuse one whose answers were made otherwise.

    Args:
        answers: the open database of `--use_cache`.
        made_by: everything but the prompt that an answer depends on.

    Raises:
        ValueError: naming what differs.
    """
    now = json.loads(json.dumps(made_by, default=str))
    # Written as it is, compared with the settings that it leaves out: other versions may write more of them, or less.
    if _ROW not in answers:
        if len(answers):
            raise ValueError("the `--use_cache` file holds answers of another model; give another path or delete it")
        answers[_ROW] = json.dumps(now)
        return
    then, now = filled_settings(json.loads(answers[_ROW])), filled_settings(now)
    differing = [
        f"{name}={then.get(name)} (now {now.get(name)})"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    if differing:
        raise ValueError(
            f"the `--use_cache` file holds answers made with {', '.join(differing)}; give another path or delete it"
        )


def refuse_samples_by_document(without_prompt: Iterable[Instance]) -> None:
    """Raise `ValueError` for several samples without a prompt: the cache finds them by their prompt, which is none.

    lm-eval itself does not read answers back where the task says do_sample=True.
    """
    read_back = [instance for instance in without_prompt if not instance.args[1].get("do_sample")]
    if len(read_back) > 1:
        raise ValueError(
            f"`--use_cache` finds an answer by its prompt, and {len(read_back)} of task {read_back[0].task_name} have "
            "none; run it without --use_cache, or with `do_sample: true` in the task's generation_kwargs"
        )


def refuse_repeats(drawn: Iterable[Instance]) -> None:
    """Raise `ValueError` for repeats of drawn answers: the cache keeps one a prompt and would return it for all.

    lm-eval itself does not read answers back where the task says do_sample=True.
    """
    for instance in drawn:
        if (instance.repeats or 1) > 1 and not instance.args[1].get("do_sample"):
            raise ValueError(
                f"`--use_cache` keeps one answer a prompt, and task {instance.task_name} draws {instance.repeats}; "
                "run it without --use_cache"
            )
