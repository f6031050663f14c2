"""PyJuice's circuit files (.jpc), read without executing anything in them, and written without PyJuice.

A .jpc file is a pickle: a list of dicts, one for each vector of nodes, children before parents, the root last
(`juice.save`, PyJuice 2.4.1 to 2.6.3 and the older keys before). Loading a pickle can run any program, so the reader
here resolves no name in it: the few that NumPy arrays need are replaced by stand-ins that check shape and dtype and
view the bytes; anything else is refused. The pickle nested in each leaf (`dist`) is scanned for its class name, never
loaded.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import pickletools
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from lm_eval_codd.circuits.hmm import HMM

# Leaves whose parameters are one row of token probabilities for each latent, whatever PyJuice computes with them.
LEAF_CLASSES: Final = ("ExternProductCategorical", "SoftEvidenceCategorical", "Categorical")
ROW_SUM_TOLERANCE: Final = 1e-4

_DTYPES: Final = {"f4", "f8", "i4", "i8", "b1"}
# Built from untied tables, T emission tables of paper size are 16 GB; a chain longer than this is not a window.
_MAX_POSITIONS: Final = 4096


class JpcError(ValueError):
    """A .jpc file that is damaged, is not an HMM circuit, or holds more than arrays. One line."""


def read_jpc(path: str | os.PathLike) -> HMM:
    """Read an HMM circuit, homogeneous or with its own tables at each position, of any number of node blocks.

    Raises:
        JpcError: one line: what is wrong with the file. Nothing in the file has been run.
        OSError: it cannot be opened.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            nodes = _ArrayUnpickler(file).load()
        return _to_hmm(nodes, source=str(path))
    except JpcError as error:
        raise JpcError(f"{path}: {error}") from None
    except OSError:
        raise
    # What a damaged or hostile pickle can raise has no end: each opcode has errors of its own.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise JpcError(f"{path}: not a readable .jpc file, it is damaged or cut short ({reason})") from None


def write_jpc(circuit: HMM, path: str | os.PathLike) -> None:
    """Write a circuit as `juice.save` would, in the layout of PyJuice's own HMM, leaves `ExternProductCategorical`."""
    with Path(path).open("wb") as file:
        pickle.dump(_to_nodes(circuit), file, protocol=4)


# ---- reading: arrays out of a pickle -------------------------------------------------------------------------------


class _Stub:
    """A stand-in for a name in the pickle. Its state cannot be set, so a file cannot change it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise JpcError("refused: the pickle sets the state of something that is not an array")


class _Dtype:
    __slots__ = ("code", "little_endian")

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or code not in _DTYPES:
            raise JpcError(f"refused: it holds an array of dtype {code!r}; a circuit has only {sorted(_DTYPES)}")
        self.code, self.little_endian = code, True

    def __setstate__(self, state: tuple) -> None:
        self.little_endian = state[1] in ("<", "|")

    def view(self, raw: object, shape: object, order: str) -> np.ndarray:
        if not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
            raise JpcError("refused: it holds an array that is not plain bytes")
        dtype = np.dtype(("<" if self.little_endian else ">") + self.code)
        return np.frombuffer(raw, dtype).reshape(shape, order=order)


class _Array:
    __slots__ = ("value",)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, raw = state
        if not isinstance(dtype, _Dtype):
            raise JpcError("refused: it holds an array without a dtype")
        self.value = dtype.view(raw, shape, "F" if is_fortran else "C")


class _NdarrayName(_Stub):
    __slots__ = ()


class _MakeDtype(_Stub):
    __slots__ = ()

    def __call__(self, code: object, *_: object) -> _Dtype:
        return _Dtype(code)


class _MakeArray(_Stub):
    """`_reconstruct(ndarray, (0,), b"b")`: an empty array, filled by its state."""

    __slots__ = ()

    def __call__(self, *_: object) -> _Array:
        return _Array()


class _MakeArrayFromBuffer(_Stub):
    """`_frombuffer(bytes, dtype, shape, order)`: an array in pickle protocol 5."""

    __slots__ = ()

    def __call__(self, raw: object, dtype: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, dtype, order == "F", raw))
        return array


_NAMES: Final[Mapping[tuple[str, str], type]] = {
    ("numpy", "ndarray"): _NdarrayName,
    ("numpy", "dtype"): _MakeDtype,
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray,
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray,
    ("numpy._core.numeric", "_frombuffer"): _MakeArrayFromBuffer,
    ("numpy.core.numeric", "_frombuffer"): _MakeArrayFromBuffer,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles lists, dicts, numbers, text and arrays; every other name is refused before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise JpcError(f"refused: it asks to load `{module}.{name}`, and a circuit needs only arrays")
        return _NAMES[module, name]()


def _leaf_class(blob: object) -> str:
    """Class name in a leaf's nested pickle, by scanning its opcodes."""
    if not isinstance(blob, bytes):
        raise JpcError("a leaf without a distribution")
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(blob):
        if opcode.name == "GLOBAL":
            return argument.split(" ")[-1]
        if opcode.name == "STACK_GLOBAL" and texts:
            return texts[-1]
        if isinstance(argument, str):
            texts.append(argument)
    raise JpcError("a leaf whose distribution has no class name")


# ---- reading: an HMM out of node vectors ---------------------------------------------------------------------------


class _Node:
    """One vector of nodes, with the keys of every PyJuice version behind the same names."""

    def __init__(self, index: int, info: object, nodes: list[_Node]) -> None:
        if not isinstance(info, dict):
            raise JpcError(f"node {index} is no dict")
        self.index = index
        self.type = info.get("type")
        self.num_blocks = self._count(info, "num_node_blocks", "num_node_groups", "num_nodes")
        self.block_size = self._count(info, "block_size", "group_size", default=1)
        self.size = self.num_blocks * self.block_size
        children = info.get("chs", ())
        if not all(isinstance(child, int) and 0 <= child < index for child in children):
            raise JpcError(f"node {index} has children {children!r}; children must come before their parents")
        self.children = [nodes[child] for child in children]
        self.edges = self._array(info, "edge_ids")
        self.params = self._array(info, "params")
        self.owner = info.get("source_node")
        self.scope = info.get("scope")
        self.dist = info.get("dist")

    def _count(self, info: dict, *names: str, default: int | None = None) -> int:
        value = next((info[name] for name in names if name in info), default)
        if not isinstance(value, int) or value < 1:
            raise JpcError(f"node {self.index} has `{names[0]}` {value!r}; it must be a whole number above 0")
        return value

    def _array(self, info: dict, name: str) -> np.ndarray | None:
        value = info.get(name)
        if value is None:
            return None
        if not isinstance(value, _Array):
            raise JpcError(f"`{name}` of node {self.index} is no array")
        return value.value

    def only(self, kind: str, children: Sequence[_Node]) -> _Node:
        found = [child for child in children if child.type == kind]
        if len(found) != 1:
            raise JpcError(f"node {self.index} has {len(found)} children of type {kind}; a chain has one: not an HMM")
        return found[0]

    def table_owner(self, nodes: list[_Node]) -> _Node:
        if self.params is not None:
            return self
        if not isinstance(self.owner, int) or not 0 <= self.owner < len(nodes) or nodes[self.owner].params is None:
            raise JpcError(f"node {self.index} has neither parameters nor a node that owns them")
        return nodes[self.owner]


def _to_hmm(nodes: object, source: str) -> HMM:
    if not isinstance(nodes, list) or not nodes:
        raise JpcError("not a circuit: a .jpc file holds a list of nodes")
    parsed: list[_Node] = []
    for index, info in enumerate(nodes):
        parsed.append(_Node(index, info, parsed))
    sums, leaves = _walk(parsed[-1])
    num_latents = leaves[0].size
    root, *steps = [_own_table(node, parsed, _sum_matrix, num_latents) for node in sums]
    emissions = [_own_table(leaf, parsed, _emission_matrix, num_latents) for leaf in leaves]
    if root.shape[0] != 1:
        raise JpcError(f"the root has {root.shape[0]} nodes; it must be a single one")
    for name, tables in (("initial", [root]), ("transition", steps), ("emission", emissions)):
        for table in {id(table): table for table in tables}.values():
            _check_rows(name, table)
    if not steps:
        steps = [np.eye(num_latents, dtype=np.float32)]
    return HMM(
        torch.from_numpy(root[0].copy()),
        _stack(steps),
        _stack(emissions),
        num_positions=len(leaves),
        source=source,
    )


def _walk(root: _Node) -> tuple[list[_Node], list[_Node]]:
    """Sums and leaves of the chain, leftmost position first."""
    sums, leaves = [], []
    node: _Node | None = root
    while node is not None:
        if node.type != "Sum":
            raise JpcError(f"node {node.index} is a {node.type} where the chain needs a Sum: not an HMM")
        product = node.only("Product", node.children)
        leaf = product.only("Input", product.children)
        sums.append(node)
        leaves.append(leaf)
        if len(leaves) > _MAX_POSITIONS:
            raise JpcError(f"the chain is longer than {_MAX_POSITIONS} positions")
        if leaf.scope != [len(leaves) - 1]:
            raise JpcError(
                f"position {len(leaves) - 1} of the chain is variable {leaf.scope}; "
                "the chain must run over the variables 0, 1, 2, ... from its root"
            )
        rest = [child for child in product.children if child is not leaf]
        node = product.only("Sum", rest) if rest else None
        for child in product.children:
            if (child.num_blocks, child.block_size) != (leaves[0].num_blocks, leaves[0].block_size):
                raise JpcError(f"node {child.index} has {child.size} latents, position 0 has {leaves[0].size}")
        _check_identity(product)
    return sums, leaves


def _check_identity(product: _Node) -> None:
    blocks = np.arange(product.num_blocks)[:, None].repeat(len(product.children), axis=1)
    if product.edges is None or not np.array_equal(product.edges, blocks):
        raise JpcError(f"product {product.index} does not join like with like (identity edges): not an HMM")


def _own_table(node: _Node, nodes: list[_Node], build: Any, num_latents: int) -> np.ndarray:
    """The node's table; tied nodes get the very same array."""
    owner = node.table_owner(nodes)
    if (owner.num_blocks, owner.block_size, owner.type) != (node.num_blocks, node.block_size, node.type):
        raise JpcError(f"node {node.index} is tied to node {owner.index} of another kind or size")
    if not hasattr(owner, "table"):
        owner.table = build(owner, num_latents)
    return owner.table


def _sum_matrix(node: _Node, num_latents: int) -> np.ndarray:
    """[parents, children] from blocks of edges; a block without an edge is zero."""
    child = node.children[0]
    edges, params = node.edges, node.params
    if edges is None or edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind != "i":
        raise JpcError(f"sum {node.index} has no list of edges")
    if params.ndim == 1 and node.block_size == child.block_size == 1:
        params = params[:, None, None]
    expected = (edges.shape[1], node.block_size, child.block_size)
    if params.shape != expected:
        raise JpcError(f"sum {node.index} has parameters of shape {params.shape}; its edges need {expected}")
    limits = np.array([[node.num_blocks], [child.num_blocks]])
    if (edges < 0).any() or (edges >= limits).any():
        raise JpcError(f"sum {node.index} has an edge to a block that does not exist")
    blocks = np.zeros((node.num_blocks, child.num_blocks, node.block_size, child.block_size), np.float32)
    blocks[edges[0], edges[1]] = params
    return blocks.transpose(0, 2, 1, 3).reshape(node.size, child.size)


def _emission_matrix(node: _Node, num_latents: int) -> np.ndarray:
    name = _leaf_class(node.dist)
    if name not in LEAF_CLASSES:
        raise JpcError(f"leaf {node.index} is a {name}; supported are {', '.join(LEAF_CLASSES)}")
    if node.params.size == 0 or node.params.size % num_latents:
        raise JpcError(f"leaf {node.index} has {node.params.size} parameters for {num_latents} latents")
    return node.params.reshape(num_latents, -1).astype(np.float32, copy=False)


def _check_rows(name: str, table: np.ndarray) -> None:
    sums = table.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(sums - 1).argmax())
    # NaN compares false, so the test is for what is right.
    if not abs(sums[worst] - 1) <= ROW_SUM_TOLERANCE or not table.min() >= 0:
        raise JpcError(f"row {worst} of the {name} table sums to {sums[worst]:.6g}; rows must be probabilities")


def _stack(tables: list[np.ndarray]) -> torch.Tensor:
    """One table where all are the same array, else all of them."""
    tied = all(table is tables[0] for table in tables)
    return torch.from_numpy(tables[0].copy() if tied else np.stack(tables))


# ---- writing -------------------------------------------------------------------------------------------------------


def _to_nodes(circuit: HMM) -> list[dict[str, Any]]:
    num_positions, num_latents = circuit.num_positions, circuit.num_latents
    block_size = min(num_latents & -num_latents, 1024)
    num_blocks = num_latents // block_size
    size = {"num_node_blocks": num_blocks, "block_size": block_size}
    dist = _dist_blob(circuit.vocab_size)
    initial, transition, emission = (
        table.detach().to(device="cpu", dtype=torch.float32).numpy()
        for table in (circuit.initial, circuit.transition, circuit.emission)
    )
    every_block = np.array(list(itertools.product(range(num_blocks), repeat=2))).T

    def blocks(matrix: np.ndarray, parent_size: int) -> np.ndarray:
        split = matrix.reshape(len(matrix) // parent_size, parent_size, num_blocks, block_size)
        return split.transpose(0, 2, 1, 3).reshape(-1, parent_size, block_size).copy()

    nodes: list[dict[str, Any]] = []
    for t in range(num_positions):
        leaf = {"type": "Input", **size, "chs": ()}
        if emission.ndim == 3 or t == num_positions - 1:
            leaf["params"] = (emission if emission.ndim == 2 else emission[t]).reshape(-1)
        leaf |= {"scope": [t], "dist": dist}
        if "params" not in leaf:
            leaf["source_node"] = num_positions - 1
        nodes.append(leaf)
    for t in reversed(range(num_positions)):
        children = (t,) if t == num_positions - 1 else (t, len(nodes) - 1)
        identity = np.arange(num_blocks)[:, None].repeat(len(children), axis=1)
        nodes.append({"type": "Product", **size, "chs": children, "edge_ids": identity})
        above = {"type": "Sum", **size, "chs": (len(nodes) - 1,), "edge_ids": every_block}
        if t == 0:
            to_root = np.stack([np.zeros(num_blocks, np.int64), np.arange(num_blocks)])
            above |= {"num_node_blocks": 1, "block_size": 1, "edge_ids": to_root, "params": blocks(initial[None], 1)}
        elif transition.ndim == 3 or t == num_positions - 1:
            above["params"] = blocks(transition if transition.ndim == 2 else transition[t - 1], block_size)
        else:
            above["source_node"] = num_positions + 1
        nodes.append(above)
    return nodes


def _dist_blob(vocab_size: int) -> bytes:
    """The pickle of `ExternProductCategorical(vocab_size)`, spelled out so that PyJuice need not be installed."""
    module, name = b"pyjuice.nodes.distributions.external_categorical", b"ExternProductCategorical"
    if vocab_size < 1 << 8:
        number = b"K" + struct.pack("<B", vocab_size)
    elif vocab_size < 1 << 16:
        number = b"M" + struct.pack("<H", vocab_size)
    else:
        number = b"J" + struct.pack("<i", vocab_size)
    body = io.BytesIO()
    for text in (module, name):
        body.write(pickle.SHORT_BINUNICODE + bytes([len(text)]) + text + pickle.MEMOIZE)
    body.write(pickle.STACK_GLOBAL + pickle.MEMOIZE + number + pickle.TUPLE1 + pickle.MEMOIZE)
    body.write(pickle.REDUCE + pickle.MEMOIZE + pickle.STOP)
    frame = pickle.FRAME + struct.pack("<Q", len(body.getvalue()))
    return pickle.PROTO + b"\x04" + frame + body.getvalue()
