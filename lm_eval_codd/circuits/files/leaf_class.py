"""The pickle inside a .jpc file's pickle: a leaf's class (`dist`), which is named here and never loaded."""

from __future__ import annotations

import pickle
import pickletools
import struct
from functools import lru_cache
from itertools import islice

# PyJuice's own are about 120 bytes of 12 opcodes, the class's name first.
_MAX_BYTES = 1 << 10
_MAX_OPCODES = 64


@lru_cache(maxsize=256)
def class_name(blob: bytes) -> str | None:
    """Name of the first class that a pickle refers to, by scanning its first opcodes; None when there is none."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in islice(pickletools.genops(blob[:_MAX_BYTES]), _MAX_OPCODES):
            if opcode.name == "GLOBAL":
                return str(argument).split(" ")[-1]
            if opcode.name == "STACK_GLOBAL" and texts:
                return texts[-1]
            if isinstance(argument, str):
                texts.append(argument)
    except Exception:  # each opcode has errors of its own for damaged bytes
        return None
    return None


def leaf_blob(vocab_size: int) -> bytes:
    """The pickle of `ExternProductCategorical(vocab_size)`, spelled out so that PyJuice need not be installed."""
    # The smallest opcode that holds the number, as the pickler picks it.
    code, form = ("K", "<B") if vocab_size < 1 << 8 else ("M", "<H") if vocab_size < 1 << 16 else ("J", "<i")
    number = code.encode() + struct.pack(form, vocab_size)
    body = b"".join(
        pickle.SHORT_BINUNICODE + bytes([len(text)]) + text + pickle.MEMOIZE
        for text in (b"pyjuice.nodes.distributions.external_categorical", b"ExternProductCategorical")
    )
    body += pickle.STACK_GLOBAL + pickle.MEMOIZE + number + pickle.TUPLE1 + pickle.MEMOIZE
    body += pickle.REDUCE + pickle.MEMOIZE + pickle.STOP
    return pickle.PROTO + b"\x04" + pickle.FRAME + struct.pack("<Q", len(body)) + body
