"""Requests that are no prompts: a text to be revised, and how sure the backbone is of it.

lm-eval hands a model one string. A task that wants a text revised says so in its `generation_kwargs` (`draft: true`;
models that do not know it stop there) and writes a JSON object into the string:

    {"context": text before it, "draft": text to revise, "rounds": T, "positions": tokens of the draft that it reads}

The answer is a JSON object too, `rounds` texts long whatever the draft's end tokens are:

    {"revised": [the draft after 1, ..., T rounds of correction], "confidence": [of each of its tokens at first]}

Context and draft are tokenized apart and without special tokens; the answer's texts leave them out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.models.requests import Prompt

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from lm_eval_codd.code_revision.tokens import Tokens
    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.settings import DecodingConfig

_MARK: Final = "draft"
_DECODER: Final = "corrective"
_DIGITS: Final = 7


def is_draft(instance: Instance) -> bool:
    """Whether a request wants a text revised."""
    return bool(instance.args[1].get(_MARK))


def read_draft(instance: Instance, config: DecodingConfig, tokens: Tokens, max_length: int) -> Prompt:
    """Context and draft of a request in tokens.

    Raises:
        ValueError: one line: the settings make no revision in so many rounds, the string is more than the task wrote,
            or the draft is of another tokenizer.
    """
    task = instance.task_name
    asked = _content(instance.args[0], task)
    _check_settings(config, asked["rounds"], task)
    context, draft = tokens.ids(asked["context"]), tokens.ids(asked["draft"])
    beyond = [position for position in asked["positions"] if not 0 <= position < len(draft)]
    if beyond:
        raise ValueError(
            f"{task}: position {beyond[0]} is beyond the {len(draft)} tokens that the tokenizer of `{tokens.name}` "
            "makes of the draft; use inputs that were made with this tokenizer"
        )
    if len(context) + len(draft) > max_length:
        raise ValueError(
            f"{task}: a context and its draft have {len(context) + len(draft)} tokens, and `max_length={max_length}`; "
            "leave the program out of the inputs"
        )
    return Prompt(context, draft)


def revised(generation: Generation, tokens: Tokens) -> str:
    """The answer to a request that wants a text revised."""
    assert generation.rounds is not None  # drafts are decoded with their rounds kept
    assert generation.first_confidence is not None
    texts = [tokens.text(ids) for ids in generation.rounds[1:]]
    return json.dumps({"revised": texts, "confidence": [round(one, _DIGITS) for one in generation.first_confidence]})


def _content(text: str, task: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(
            f"{task}: what it wants revised is wrapped in something else; run it without --apply_chat_template, "
            "--system_instruction and --num_fewshot"
        )
    return content


def _check_settings(config: DecodingConfig, rounds: int, task: str) -> None:
    if config.decoder != _DECODER:
        raise ValueError(
            f"{task} wants a draft revised, which `decoder={config.decoder}` cannot; use "
            f"decoder={_DECODER},num_steps={rounds + 1}"
        )
    if config.remask_schedule is not None:
        raise ValueError(
            f"{task} reads 1 to {rounds} rounds off one decode, which `remask_schedule={config.remask_schedule}` does "
            "not allow: what it masks depends on num_steps; use threshold or mad_k"
        )
    if config.steps != rounds + 1:
        raise ValueError(f"{task}: `num_steps={config.steps}` is not its {rounds} rounds and a step; use {rounds + 1}")
