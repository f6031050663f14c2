"""lm-eval's instances, sorted out into what has to be decoded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from lm_eval_codd.settings import DecodingConfig

Key: TypeAlias = tuple[int, int]


class Prompt(NamedTuple):
    """Token ids of a prompt, and of the answer that is to be revised where there is one."""

    tokens: list[int]
    draft: list[int] | None = None


class Request(NamedTuple):
    """One answer to decode: to `instance`, for the `repeat`-th time; of a `draft` a revision."""

    key: Key
    instance: Instance
    repeat: int
    prompt: list[int]
    draft: list[int] | None = None


def sort_out(
    instances: list[Instance],
    config_of: Callable[[Instance], DecodingConfig],
    prompt_of: Callable[[Instance, DecodingConfig], Prompt],
    repeats_differ: Callable[[DecodingConfig], bool] = lambda config: True,
) -> tuple[list[Key], dict[DecodingConfig, list[Request]]]:
    """Which answer each instance gets, and the answers to decode under each config.

    The repeat index is counted per instance, so it depends neither on `--limit` nor on the number of ranks. lm-eval
    evens out the ranks with copies of a last instance beyond its `repeats`: these get an answer that is there anyway.
    So do repeats that would not differ.

    Args:
        instances: as lm-eval passes them, the same object once for every repeat.
        config_of: the settings that an instance is decoded with.
        prompt_of: its prompt and draft.
        repeats_differ: whether answers under a config are drawn; where they are not, each instance has one.

    Returns:
        The key of each instance's answer, in order; and the requests, each key once, by config.
    """
    keys: list[Key] = []
    requests: dict[DecodingConfig, list[Request]] = defaultdict(list)
    configs: dict[int, DecodingConfig] = {}
    counts: Counter[int] = Counter()
    for instance in instances:
        count = counts[id(instance)]
        counts[id(instance)] += 1
        if not count:
            configs[id(instance)] = config_of(instance)
        config = configs[id(instance)]
        number = (instance.repeats or None) if repeats_differ(config) else 1
        repeat = count if number is None else count % number
        keys.append((id(instance), repeat))
        if repeat == count:
            requests[config].append(Request(keys[-1], instance, repeat, *prompt_of(instance, config)))
    return keys, dict(requests)


def sample_index(request: Request) -> int:
    """Which sample of its prompt a request is, for models that draw samples.

    Without a prompt, nothing but its document tells samples apart: by the number that it names itself (`sample`), as
    lm-eval counts the documents that `--samples` chooses anew; else by that of lm-eval.
    """
    if request.prompt:
        return request.repeat
    instance = request.instance
    named = instance.doc.get("sample") if isinstance(instance.doc, dict) else None
    number = named if isinstance(named, int) else instance.doc_id or 0
    return number * (instance.repeats or 1) + request.repeat
