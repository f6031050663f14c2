"""Files that nobody's PyJuice wrote: one byte changed, parts doubled or moved, and pickles made to take everything."""

import os
import pickle
import random
import struct

import numpy as np

_OPCODES = b"\x80\x8a\x8b\x8c\x8d\x8e\x94\x95\x96().0BCGIJKLMNQRSTUVXabcdeghijlopqrstu]}\xff\x7f"


class Call:
    """Pickles into a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def mutated(content: bytes, seed: int) -> bytes:
    """The content with a few random changes: bytes flipped, set, cut out, doubled, moved, and lengths made large."""
    drawn, mutant = random.Random(seed), bytearray(content)
    for _ in range(drawn.choice((1, 1, 2, 4, 16))):
        at = drawn.randrange(len(mutant)) if mutant else 0
        length = drawn.choice((1, 2, 4, 8, 64))
        kind = drawn.randrange(7)
        if kind == 0 and mutant:
            mutant[at] ^= 1 << drawn.randrange(8)
        elif kind == 1 and mutant:
            mutant[at] = drawn.choice(
                b"\x80\x8a\x8b\x8c\x8d\x8e\x94\x95\x96().0BCGIJKLMNQRSTUVXabcdeghijlopqrstu]}\xff\x7f"
            )
        elif kind == 2:
            del mutant[at : at + length]
        elif kind == 3:
            mutant[at:at] = mutant[at : at + length] * drawn.choice((1, 3, 100))
        elif kind == 4:
            mutant[at : at + 4] = struct.pack(
                "<I", drawn.choice((0, 1, 1 << 16, 1 << 28, (1 << 31) - 1, (1 << 32) - 1))
            )
        elif kind == 5:
            mutant[at:at] = drawn.randbytes(length)
        else:
            source = drawn.randrange(len(mutant) or 1)
            mutant[at : at + length] = mutant[source : source + length]
    return bytes(mutant)


def nested_tuples(depth: int = 60) -> tuple:
    """Tuples of the one before twice: `depth` opcodes in a pickle, and 2**depth values when it is written out."""
    value: tuple = ()
    for _ in range(depth):
        value = (value, value)
    return value


def crafted(nodes: list[dict], folder: str) -> dict[str, bytes]:
    """Name -> a file made to run code, to take memory or to take time. `nodes` are those of a valid circuit."""
    call = Call(os.mkdir, f"{folder}/ran")
    files = {f"a call, protocol {protocol}": pickle.dumps([call], protocol) for protocol in range(6)}
    for code in (b"iposix\nmkdir\n", b")o", b")\x81", b"P0\n", b"Q", b"\x82\x01", b"\x97"):
        files[f"opcode {code!r}"] = b"\x80\x05" + code + b"."
    for kind, content in (("a call", call), ("nested tuples", nested_tuples()), ("a long text", "x" * 10**6)):
        for field in (*nodes[0], "params", "edge_ids", "source_node"):
            files[f"{kind} as {field}"] = pickle.dumps([{**node, field: content} for node in nodes], 4)
    for size in (10**5, 10**12, 1 << 62, 1 << 70):
        files[f"{size} blocks"] = pickle.dumps([{**node, "num_node_blocks": size} for node in nodes], 4)
        files[f"blocks of {size}"] = pickle.dumps([{**node, "block_size": size} for node in nodes], 4)
        files[f"{size} blocks below a root"] = pickle.dumps(
            [{**node, "num_node_blocks": size, "block_size": 1} for node in nodes[:-1]] + nodes[-1:], 4
        )
    shape = b"\x80\x04cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01%b"
    shape += b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89C\x00tb."
    long = b"\x8a\x08" + struct.pack("<q", 1 << 62)
    files |= {
        "memo of 2**28": b"\x80\x02]r\x00\x00\x00\x10.",
        "memo of 10**8": b"(lp99999999\n.",
        "nested tuples": pickle.dumps(nested_tuples(), 4),
        "nested tuples in a list": pickle.dumps([nested_tuples()], 4),
        "nested tuples as a key": pickle.dumps(nested_tuples(), 4)[:-1].replace(b"\x80\x04", b"\x80\x04]}", 1)
        + b"Nsa.",
        "bytes of 2**62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
        "text of 2**62": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".",
        "text of 2**32": b"\x80\x04X\xff\xff\xff\xff.",
        "a number of 255 bytes": b"\x80\x04\x8a\xff" + b"\x7f" * 255 + b".",
        "a number of 10**6 digits": b"I" + b"9" * 10**6 + b"\n.",
        "a name of 10**6 letters": b"c" + b"n" * 10**6 + b"\nx\n.",
        "a list in itself": b"\x80\x04]\x94h\x00a.",
        "one array in many nodes": pickle.dumps([{**node, "params": _ZEROS} for node in nodes * 200], 4),
        "one child list in many nodes": pickle.dumps([{**node, "chs": _MANY} for node in nodes * 200], 4),
        "shape of 2**62 and 0": shape.replace(b"%b", long + b"K\x00\x86"),
        "shape of -1": shape.replace(b"%b", b"J\xff\xff\xff\xff\x85"),
        "shape of 10**5 axes": shape.replace(b"%b", b"(" + b"K\x01" * 10**5 + b"t"),
        "a shape of tuples": shape.replace(b"%b", pickle.dumps(nested_tuples(), 4)[2:-1]),
        "many leaves, one table and another": pickle.dumps(_partly_tied(2_000), 4),
        "long leaves": pickle.dumps(_partly_tied(500, b"\x80\x04" + b"N" * 100_000), 4),
    }
    return files


def long_ones(codes: bytes) -> dict[str, bytes]:
    """Files of 10 MB of one opcode each."""
    arguments = {ord("C"): b"\x00", ord("h"): b"\x00", ord("K"): b"\x01", ord("X"): bytes(4)}
    steps = [bytes([code]) + arguments.get(code, b"") for code in codes]
    return {f"10 MB of {step!r}": b"\x80\x04N\x94" + step * (10_000_000 // len(step)) + b"." for step in steps}


_MANY = tuple(range(50_000))
_ZEROS = np.zeros(100_000, np.float32)


def _partly_tied(num_positions: int, dist: bytes = b"\x80\x04\x8c\x01m\x8c\x0bCategorical\x93.") -> list[dict]:
    """A chain of one latent whose positions share a table of 10,000 tokens, all but the first."""
    table = np.full(10_000, 1e-4, np.float32)
    size, one = {"num_node_blocks": 1, "block_size": 1}, np.zeros((1, 1), np.int64)
    nodes: list[dict] = []
    for position in reversed(range(num_positions)):
        leaf = {"type": "Input", **size, "chs": (), "scope": [position], "dist": dist}
        nodes.append(leaf | ({"params": table.copy()} if position in (0, num_positions - 1) else {"source_node": 0}))
        children = (len(nodes) - 1,) if len(nodes) == 1 else (len(nodes) - 1, len(nodes) - 2)
        nodes.append({"type": "Product", **size, "chs": children, "edge_ids": np.zeros((1, len(children)), np.int64)})
        above = {"type": "Sum", **size, "chs": (len(nodes) - 1,), "edge_ids": np.vstack([one, one])}
        own = len(nodes) == 2 or position == 0
        nodes.append(above | ({"params": np.ones((1, 1, 1), np.float32)} if own else {"source_node": 2}))
    return nodes
