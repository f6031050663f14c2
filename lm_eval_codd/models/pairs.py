"""lm-eval's likelihood requests as pairs of token ids, and who reads whether a target is greedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Encode = Callable[[str], Sequence[int]]


class Pair(NamedTuple):
    """What is scored: a target after its prompt, with which settings.

    is_alone: whether nothing is compared with it, so that its noise may be its own (where a model has such noise).
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    config: Any
    is_alone: bool = False


def pair_of(instance: Instance, encode: Encode) -> tuple[list[int], list[int]]:
    """Context and continuation as tokens, cut where lm-eval cuts: spaces between them belong to the continuation.

    An empty context is none: a masked model needs no token before the first.

    Raises:
        ValueError: one line: the continuation has no token of its own.
    """
    context, continuation = instance.args
    kept = context.rstrip()
    prompt = list(encode(kept))
    target = list(encode(context + continuation))[len(prompt) :]
    if not target:
        raise ValueError(
            f"{where(instance)}: the continuation {continuation!r} has no tokens of its own, and nothing has no "
            "likelihood; leave the document out"
        )
    return prompt, target


def windows_of(instance: Instance, encode: Encode, max_length: int) -> Iterator[tuple[list[int], list[int]]]:
    """A text in windows of at most `max_length` tokens, each of its tokens in one target.

    As lm-eval does it: a window begins after one token of the one before it, and the last one has as many tokens before
    its target as there is room for. Before the first there is what the tokenizer puts before every text.
    """
    text = instance.args[-1]  # lm-eval 0.5 puts an empty context before it
    first = list(encode(""))
    tokens = list(encode(text))[len(first) :]
    # What stands for the token before the text; -1 where there is none.
    placeholder = first[-1] if first else -1
    windows = get_rolling_token_windows(tokens, placeholder, max_length - 1, context_len=1)
    for prompt, target in map(make_disjoint_window, windows):
        yield [token for token in prompt if token >= 0], target


def fit(prompt: Sequence[int], target: Sequence[int], max_length: int, instance: Instance) -> list[int]:
    """The end of a prompt that fits before its target.

    Raises:
        ValueError: one line: the target alone is longer.
    """
    room = max_length - len(target)
    if room < 0:
        raise ValueError(
            f"{where(instance)}: a continuation of {len(target)} tokens exceeds `max_length={max_length}`; use "
            "a model that takes more, or leave the document out"
        )
    return list(prompt[len(prompt) - room :]) if len(prompt) > room else list(prompt)


def reads_greedy(task: Any) -> bool | None:
    """Whether a metric of an lm-eval task reads if a target is greedy; None where the task does not say."""
    if task is None or callable(getattr(task.config, "process_results", None)):
        return None
    metrics = getattr(task, "_metric_fn_list", None)
    if metrics is None:
        return None
    if task.OUTPUT_TYPE == "loglikelihood":
        return "acc" in metrics
    return task.OUTPUT_TYPE == "multiple_choice" and "exact_match" in metrics


def where(instance: Instance) -> str:
    """Where a request comes from, for messages."""
    return f"task {instance.task_name}, document {instance.doc_id}"
