"""What a caller of `generate` mixes up, each said in one sentence."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Any

from lm_eval_codd.backbones.protocols import check_backbone
from lm_eval_codd.settings import DecodingConfig


def check_call(
    backbone: Any,
    prompts: Any,
    config: Any,
    circuit: Any,
    drafts: Any = None,
    fixed: Any = None,
    planner: Any = None,
) -> None:
    """Raise `TypeError` for an argument that is not of the kind that decoding takes."""
    for name, value, how in (
        ("backbone", backbone, "load_backbone"),
        ("circuit", circuit, "load_circuit"),
        ("planner", planner, "load_backbone"),
    ):
        if isinstance(value, str | os.PathLike):
            raise TypeError(
                f"`{name}={value}` is a name, and decoding takes what is loaded; give {how}({str(value)!r})"
            )
    check_backbone(backbone)
    if isinstance(config, dict):
        given = ", ".join(f"{name}={value!r}" for name, value in config.items())
        raise TypeError(
            f"`config` is a dict, and decoding takes settings that are checked; give DecodingConfig({given})"
        )
    if not isinstance(config, DecodingConfig):
        raise TypeError(f"`config` is a {type(config).__name__}; give a DecodingConfig")
    _check_rows("prompts", "prompt", prompts)
    if drafts is not None:
        _check_rows("drafts", "draft", drafts)
    if fixed is not None:
        _check_fixed(fixed)


def _check_rows(name: str, one: str, rows: Any) -> None:
    """Raise `TypeError` unless these are lists of token ids, a list a row; a row may be a tensor or an array too."""
    if isinstance(rows, str) or (isinstance(rows, Sequence) and any(isinstance(row, str) for row in rows)):
        raise TypeError(
            f"`{name}` holds text, and decoding takes token ids; give [tokenizer.encode(text)], with the checkpoint's "
            "own tokenizer (lm_eval_codd.backbones.load_tokenizer) and its chat template where it has one"
        )
    if not isinstance(rows, Sequence):
        raise TypeError(
            f"`{name}` is a {type(rows).__name__}, and decoding takes a list with a list of token ids a row; give that "
            "(a tensor's `tolist()`, a tokenizer's `input_ids`)"
        )
    for number, row in enumerate(rows):
        if isinstance(row, int):
            raise TypeError(f"`{name}` is one {one}, and decoding takes a list of them; give [{one}]")
        if not hasattr(row, "__len__") or not hasattr(row, "__getitem__") or getattr(row, "ndim", 1) != 1:
            raise TypeError(f"`{name}[{number}]` is a {type(row).__name__}; give a list of token ids")
        for position, token in enumerate(row):
            if not _is_whole(token):
                raise TypeError(f"`{name}[{number}][{position}]={token!r}` is no token id; give whole numbers")


def _check_fixed(fixed: Any) -> None:
    """Raise `TypeError` unless these are lists of bools, or of 0 and 1; a row may be a tensor or an array too."""
    if not hasattr(fixed, "__len__") or isinstance(fixed, str | dict):
        raise TypeError(f"`fixed` is a {type(fixed).__name__}; give a list with a list of bools a draft")
    for number, row in enumerate(fixed):
        if isinstance(row, str) or not hasattr(row, "__len__") or getattr(row, "ndim", 1) != 1:
            raise TypeError(f"`fixed[{number}]` is a {type(row).__name__}; give a list of bools, one a token")
        for position, is_fixed in enumerate(row):
            if is_fixed not in (0, 1):
                raise TypeError(f"`fixed[{number}][{position}]={is_fixed!r}` is no bool; give True or False")


def _is_whole(value: Any) -> bool:
    if isinstance(value, int):  # nearly always
        return not isinstance(value, bool)
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
