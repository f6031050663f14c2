"""What several benchmarks read from the command line, refused in one line where it cannot be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def whole(least: int) -> Callable[[str], int]:
    """A type for `argparse`: whole numbers of `least` or more."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(f"{text} must be a whole number of {least} or more")
        return number

    return parse


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`, which `device_of` reads."""
    parser.add_argument("--device", help="such as cpu or cuda:1; a GPU where there is one when not given")


def device_of(text: str | None) -> torch.device:
    """What `--device` names.

    Raises:
        ValueError: no such device is there.
    """
    import torch

    if text is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError:
        raise ValueError(f"`--device {text}` is no device of torch; use cpu, cuda or cuda:1") from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"`--device {text}` is not there: this torch finds {count or 'no'} GPU; use cpu")
    return device
