"""Whole numbers on the command line, refused in one line where they are too small."""

from __future__ import annotations

import argparse
from collections.abc import Callable


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
