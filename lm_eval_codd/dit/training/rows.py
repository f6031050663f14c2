"""Rows of ids to train on, from texts or from lists of ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_eval_codd.dit.packing import pack
from lm_eval_codd.training.data import read_rows
from lm_eval_codd.training.noise import generator_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lm_eval_codd.dit.config import Ids
    from lm_eval_codd.dit.training.settings import RunSettings


@dataclass(frozen=True)
class Rows:
    """Rows to train on, and rows held out.

    Attributes:
        train, held_out: [N, L] int64.
        identity: hash of the rows, in order.
        num_dropped: ids of texts that fill no row.
    """

    train: Tensor
    held_out: Tensor
    identity: str
    num_dropped: int

    @property
    def length(self) -> int:
        """L."""
        return self.train.shape[1]


def load_rows(
    config: RunSettings, tokenizer: PreTrainedTokenizerBase | None, length: int | None, ids: Ids | None
) -> Rows:
    """Read the data of a training.

    Lists of ids are rows as they stand. Texts become one list of ids, each text with the end token behind it, cut into
    rows of `length` with the begin token in front and the end token behind, as the published models were trained.

    Args:
        config: what to read, and how much of it to hold out.
        tokenizer: of texts.
        length: of a row; None: that of the data, which then are lists of ids.
        ids: of begin and end, for texts.

    Raises:
        ValueError: one line: the data cannot be read, or do not fit.
    """
    values = _column(config)
    first = next(values, None)
    if first is None:
        raise ValueError(f"`data={config.data}` has no rows; give one with `{config.column}` on each line")
    every = chain([first], values)
    dropped = 0
    if isinstance(first, str):
        rows, dropped = _packed(config, every, tokenizer, length, ids)
    else:
        rows = _as_they_stand(config, every, length)
    if len(rows) <= config.held_out:
        raise ValueError(
            f"`held_out={config.held_out}` leaves nothing to train on: {config.data} has {len(rows)} rows of "
            f"{rows.shape[1]} ids; use a smaller held_out, or more data"
        )
    order = torch.randperm(len(rows), generator=generator_for("held out", config.seed))
    held_out, train = order[: config.held_out].sort().values, order[config.held_out :].sort().values
    digest = hashlib.sha256(repr(tuple(rows.shape)).encode() + rows.numpy().tobytes()).hexdigest()
    return Rows(rows[train], rows[held_out], f"sha256:{digest[:32]}", dropped)


def check_ids(data: str, rows: Rows, vocab_size: int, mask: int | None) -> None:
    """Raise `ValueError`, one line, where rows hold ids beyond the vocabulary, or the mask, which is no data."""
    for some in (rows.train, rows.held_out):
        low, high = int(some.min()), int(some.max())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"`data={data}` has ids from {low} to {high}, and `vocab_size={vocab_size}` ends at {vocab_size - 1}; "
                "give a larger one"
            )
        if mask is not None and bool((some == mask).any()):
            raise ValueError(f"`data={data}` holds the mask, {mask}, which is no token of rows; give another mask_id")


def _column(config: RunSettings) -> Iterator[str | list[int]]:
    for number, row in enumerate(read_rows(config.data, config.limit), start=1):
        if config.column not in row:
            raise ValueError(
                f"`data={config.data}`: row {number} has no column `{config.column}`; name the right one of "
                f"{', '.join(row)} with column"
            )
        value = row[config.column]
        is_ids = isinstance(value, list) and all(type(each) is int for each in value)
        if not (isinstance(value, str) or (is_ids and value)):
            raise ValueError(
                f"`data={config.data}`: `{config.column}` of row {number} is {value!r:.60}, neither text nor a list of "
                "ids"
            )
        yield value


def _as_they_stand(config: RunSettings, values: Iterable[str | list[int]], length: int | None) -> Tensor:
    rows = []
    for number, value in enumerate(values, start=1):
        if isinstance(value, str):
            raise ValueError(f"`data={config.data}`: row {number} is text among lists of ids; give one kind of both")
        length = length or len(value)
        if len(value) != length:
            raise ValueError(
                f"`data={config.data}`: row {number} has {len(value)} ids, not {length}; cut all to one length"
            )
        rows.append(value)
    return torch.tensor(rows)


def _packed(
    config: RunSettings,
    values: Iterable[str | list[int]],
    tokenizer: PreTrainedTokenizerBase | None,
    length: int | None,
    ids: Ids | None,
) -> tuple[Tensor, int]:
    if tokenizer is None:
        raise ValueError(f"`data={config.data}` has texts; give their `tokenizer`, such as gpt2")
    if length is None or length < 3:
        raise ValueError(f"`length={length}` of rows of text must be given, and be at least 3")
    if ids is None or ids.bos is None or ids.eos is None:
        raise ValueError("texts need a begin and an end token, and none are known here; give `bos_id` and `eos_id`")
    tokens = _ended(config, values, tokenizer, ids.eos)
    packed = pack(tokens, length=length, bos=ids.bos, eos=ids.eos, group=None)
    return torch.from_numpy(packed.windows).long(), packed.dropped_tokens


def _ended(
    config: RunSettings, values: Iterable[str | list[int]], tokenizer: PreTrainedTokenizerBase, end: int
) -> Iterator[list[int]]:
    """The ids of each text, and the end token."""
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise ValueError(f"`data={config.data}`: row {number} is a list of ids among texts; give one kind of both")
        yield [*tokenizer(value, add_special_tokens=False)["input_ids"], end]
