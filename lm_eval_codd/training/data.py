"""Rows of questions and answers, and the token windows they become."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.backbones.templates import renderer
from lm_eval_codd.training.noise import generator_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig
    from lm_eval_codd.training.settings import TrainingConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """One row in tokens: the prompt as evaluation writes it, and an answer of whole windows."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Data:
    """Rows to train on and rows held out.

    Attributes:
        train, held_out: the rows.
        identity: hash of the questions and answers that were read, in order.
        num_dropped: rows left out because the backbone's sequences are too short for them.
        num_cut: answers cut at `gen_length`.
    """

    train: list[Example]
    held_out: list[Example]
    identity: str
    num_dropped: int
    num_cut: int


def load_data(
    config: TrainingConfig | FineTuningConfig, tokenizer: PreTrainedTokenizerFast, backbone: Backbone
) -> Data:
    """Read, tokenize and split the rows that the settings name; answers are filled to whole windows.

    Raises:
        ValueError: the data cannot be read, lack a column, or are too few.
    """
    pairs = read_pairs(config.data, config.question_column, config.answer_column, config.limit)
    digest = hashlib.sha256(json.dumps(pairs).encode())
    examples = encode(pairs, tokenizer, backbone, config.window)
    num_cut = sum(len(example.answer) > (config.gen_length or len(example.answer)) for example in examples)
    if config.gen_length:
        examples = [Example(example.prompt, example.answer[: config.gen_length]) for example in examples]
    fitting = [e for e in examples if len(e.prompt) + (config.gen_length or len(e.answer)) <= backbone.max_length]
    num_dropped = len(examples) - len(fitting)
    if num_dropped:
        logger.warning("%d rows are longer than the backbone's %d tokens; left out", num_dropped, backbone.max_length)
    if len(fitting) <= config.held_out:
        raise ValueError(
            f"`held_out={config.held_out}` leaves nothing to train on: {config.data} has {len(fitting)} usable rows; "
            "use a smaller held_out, or more rows"
        )
    order = torch.randperm(len(fitting), generator=generator_for("held out", config.seed)).tolist()
    return Data(
        train=[fitting[i] for i in sorted(order[config.held_out :])],
        held_out=[fitting[i] for i in sorted(order[: config.held_out])],
        identity=f"sha256:{digest.hexdigest()[:32]}",
        num_dropped=num_dropped,
        num_cut=num_cut,
    )


def read_pairs(
    source: str, question_column: str, answer_column: str, limit: int | None = None
) -> list[tuple[str, str]]:
    """Questions and answers from a .jsonl file or a data set of the hub, NAME[:CONFIG[:SPLIT]].

    Raises:
        ValueError: one line: no such file, a line that is no JSON object, a column that is missing or no text.
    """
    pairs = []
    for number, row in enumerate(read_rows(source, limit), start=1):
        for column in (question_column, answer_column):
            if column not in row:
                raise ValueError(
                    f"`data={source}`: row {number} has no column `{column}`; name the right ones of {', '.join(row)} "
                    "with question_column and answer_column"
                )
            if not isinstance(row[column], str):
                raise ValueError(f"`data={source}`: `{column}` of row {number} is {row[column]!r:.60}, not text")
        pairs.append((row[question_column], row[answer_column]))
    if not pairs:
        raise ValueError(f"`data={source}` has no rows; give one with a question and an answer on each line")
    return pairs


def read_rows(source: str, limit: int | None = None) -> Iterable[dict]:
    """Rows of a .jsonl file or of a data set of the hub, NAME[:CONFIG[:SPLIT]].

    Raises:
        ValueError: one line: no such file, or, on the way, a line that is no JSON object.
    """
    path = Path(source).expanduser()
    is_file = path.is_file() or path.suffix in (".jsonl", ".json") or source.startswith((".", "/", "~"))
    if is_file and not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ValueError(f"`data={source}`: {what}; give a .jsonl file or a data set of the hub")
    return islice(_lines(path) if is_file else _hub_rows(source), limit)


def encode(
    pairs: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerFast, backbone: Backbone, window: int
) -> list[Example]:
    """Tokens of questions and answers.

    A question goes through the chat template with the header of the answer, as `--apply_chat_template` does; without a
    template it is the prompt as it stands. An answer ends with the end-of-turn token, or end-of-text where the
    checkpoint has no other, and is filled with end-of-text to whole windows, which decoding leaves there as well.

    Raises:
        ValueError: the tokenizer knows tokens that the backbone does not, or its chat template fails.
    """
    templated = bool(tokenizer.chat_template)
    prompts = [question for question, _ in pairs]
    if templated:
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        render = renderer(tokenizer)
        prompts = [render(conversation=chat, add_generation_prompt=True) for chat in chats]
    prompt_ids = tokenizer(prompts, add_special_tokens=not templated)["input_ids"]
    answer_ids = tokenizer([answer for _, answer in pairs], add_special_tokens=False)["input_ids"]
    end = backbone.eos_id if backbone.eot_id is None else backbone.eot_id
    largest = max(max(ids, default=0) for ids in (*prompt_ids, *answer_ids))
    if largest >= backbone.vocab_size:
        raise ValueError(
            f"the tokenizer of `{backbone.source}` makes token {largest}, and the backbone has {backbone.vocab_size} "
            "logit columns; use the tokenizer that belongs to it"
        )
    examples = []
    for prompt, answer in zip(prompt_ids, answer_ids, strict=True):
        answer = [*answer, end]
        examples.append(Example(prompt, answer + [backbone.eos_id] * (-len(answer) % window)))
    return examples


def windows_of(examples: Iterable[Example], window: int) -> Tensor:
    """[N, T]: every window of every answer, in order."""
    return torch.tensor([token for example in examples for token in example.answer]).view(-1, window)


def _lines(path: Path) -> Iterable[dict]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ValueError(
                    f"`data={path}`: line {number} is no JSON object; a .jsonl file has one on each line, in UTF-8"
                )
            yield row


def _hub_rows(source: str) -> Iterable[dict]:
    import datasets

    name, *rest = source.split(":")
    subset, split, *beyond = [*rest, *("", "")[len(rest) :]]
    if beyond:
        raise ValueError(f"`data={source}` must be a .jsonl file or NAME[:CONFIG[:SPLIT]]")
    try:
        return datasets.load_dataset(name, subset or None, split=split or "train")
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"`data={source}` is no file here, and as a data set of the hub: {reason}") from None
