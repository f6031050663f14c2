"""Arrays out of a pickle, without unpickling it.

Unpickling calls whatever names the file asks for, and a few bytes of it can take all memory. This reads the opcodes
itself (`machine.py`), knows only those that lists, dicts, numbers, text, bytes and NumPy's arrays are written with, and
refuses every other one, and every name but those of NumPy's own constructors (`arrays.py`). What it makes is bounded by
the file: an array is a view of the file's bytes and no bytes belong to two, the memo is a list that grows by one, and
opcodes are counted.

Imports no NumPy: sizes can be read where arrays are not needed.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

from lm_eval_codd.files.pickled_arrays.arrays import RefusedPickleError, StoredArray, damaged, shown
from lm_eval_codd.files.pickled_arrays.machine import run

__all__ = ["RefusedPickleError", "StoredArray", "load_arrays", "shown"]


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """The lists, tuples, dicts, numbers, text, bytes and `StoredArray`s of a pickle.

    Raises:
        RefusedPickleError: it is damaged or holds anything else; nothing has been called.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise damaged("it is empty")
        # Stays open as long as an array views it.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return run(content)
