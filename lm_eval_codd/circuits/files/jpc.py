"""PyJuice's circuit files (.jpc), read without executing anything in them, and written without PyJuice.

A .jpc file is a pickle: a list of dicts, one for each vector of nodes, children before parents, the root last
(`juice.save`, PyJuice 2.4.1 to 2.6.3, and the older keys before). `safe_pickle` takes the arrays out of it; the pickle
nested in each leaf (`dist`) is scanned for its class name, never loaded. PyJuice builds an HMM from the last variable
backwards, so the root is the leftmost position and a sum's row is the earlier latent.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from lm_eval_codd.circuits.files.safe_pickle import RefusedPickleError, StoredArray, class_name, load_arrays
from lm_eval_codd.circuits.hmm import HMM

# Leaves whose parameters are one row of token probabilities for each latent, whatever PyJuice computes with them.
_LEAF_CLASSES: Final = ("ExternProductCategorical", "SoftEvidenceCategorical", "Categorical")
# PyJuice's own rows sum to one within 2e-7.
_ROW_SUM_TOLERANCE: Final = 1e-4
# The largest node block that PyJuice's HMM makes (structures/hmm.py).
_MAX_BLOCK_SIZE: Final = 1024

_Build = Callable[["_Node", int], np.ndarray]


class JpcError(ValueError):
    """A .jpc file that is damaged, is not an HMM circuit, or holds more than arrays. One line."""


def read_jpc(path: str | os.PathLike[str]) -> HMM:
    """Read an HMM circuit, homogeneous or with its own tables at each position, of any number of node blocks.

    Raises:
        JpcError: what is wrong with the file, in one line. Nothing in the file has been run.
        OSError: it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return _to_hmm(load_arrays(file), source=str(path))
        except (JpcError, RefusedPickleError) as error:
            raise JpcError(f"{path}: {error}") from None
        # What damaged bytes can raise has no end: each opcode and each array has errors of its own.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise JpcError(
                f"{path}: not a readable .jpc file, damaged or cut short ({reason}); fetch the file again"
            ) from None


def write_jpc(circuit: HMM, path: str | os.PathLike[str]) -> None:
    """Write a circuit as `juice.save` would, in the layout of PyJuice's own HMM, leaves `ExternProductCategorical`."""
    with Path(path).open("wb") as file:
        pickle.dump(_to_nodes(circuit), file, protocol=4)


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
        self.table: np.ndarray | None = None

    def _count(self, info: dict[str, Any], *names: str, default: int | None = None) -> int:
        value = next((info[name] for name in names if name in info), default)
        if not isinstance(value, int) or value < 1:
            raise JpcError(f"node {self.index} has `{names[0]}` {value!r}; it must be a whole number above 0")
        return value

    def _array(self, info: dict[str, Any], name: str) -> np.ndarray | None:
        value = info.get(name)
        if value is None:
            return None
        if not isinstance(value, StoredArray):
            raise JpcError(f"`{name}` of node {self.index} is no array")
        return value.value

    def only(self, kind: str, children: Sequence[_Node]) -> _Node:
        found = [child for child in children if child.type == kind]
        if len(found) != 1:
            raise JpcError(f"node {self.index} has {len(found)} children of type {kind}; a chain has one: not an HMM")
        return found[0]

    def own_params(self) -> np.ndarray:
        if self.params is None:
            raise JpcError(f"node {self.index} has no parameters of its own")
        return self.params

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
    if len({emission.shape for emission in emissions}) != 1:
        raise JpcError(
            f"positions have vocabularies of {sorted({e.shape[1] for e in emissions})} tokens, not of one size"
        )
    if root.shape[0] != 1:
        raise JpcError(f"the root has {root.shape[0]} nodes; it must be a single one")
    for name, tables in (("initial", [root]), ("transition", steps), ("emission", emissions)):
        for table in {id(table): table for table in tables}.values():
            _check_rows(name, table)
    if not steps:
        steps = [np.eye(num_latents, dtype=np.float32)]
    return HMM(
        torch.tensor(root[0]),
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
    shape = (product.num_blocks, len(product.children))
    edges = product.edges
    if edges is None or edges.shape != shape or (edges != np.arange(len(edges))[:, None]).any():
        raise JpcError(f"product {product.index} does not join like with like (identity edges): not an HMM")


def _own_table(node: _Node, nodes: list[_Node], build: _Build, num_latents: int) -> np.ndarray:
    """The node's table; tied nodes get the very same array."""
    owner = node.table_owner(nodes)
    if (owner.num_blocks, owner.block_size, owner.type) != (node.num_blocks, node.block_size, node.type):
        raise JpcError(f"node {node.index} is tied to node {owner.index} of another kind or size")
    if owner.table is None:
        owner.table = build(owner, num_latents)
    return owner.table


def _sum_matrix(node: _Node, num_latents: int) -> np.ndarray:
    """[parents, children] from blocks of edges; a block without an edge is zero."""
    child = node.children[0]
    edges, params = node.edges, node.own_params()
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
    matrix: np.ndarray = blocks.transpose(0, 2, 1, 3).reshape(node.size, child.size)
    return matrix


def _emission_matrix(node: _Node, num_latents: int) -> np.ndarray:
    name, params = class_name(node.dist or b""), node.own_params()
    if name not in _LEAF_CLASSES:
        raise JpcError(f"leaf {node.index} is a {name}; supported are {', '.join(_LEAF_CLASSES)}")
    if params.size == 0 or params.size % num_latents:
        raise JpcError(f"leaf {node.index} has {params.size} parameters for {num_latents} latents")
    table: np.ndarray = params.reshape(num_latents, -1).astype(np.float32, copy=False)
    return table


def _check_rows(name: str, table: np.ndarray) -> None:
    sums = table.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(sums - 1).argmax())
    # NaN compares false, so the test is for what is right.
    if not abs(sums[worst] - 1) <= _ROW_SUM_TOLERANCE or not table.min() >= 0:
        raise JpcError(f"row {worst} of the {name} table sums to {sums[worst]:.6g}; rows must be probabilities")


def _stack(tables: list[np.ndarray]) -> torch.Tensor:
    """One table where all are the same array, else all of them."""
    tied = all(table is tables[0] for table in tables)
    return torch.tensor(tables[0]) if tied else torch.from_numpy(np.stack(tables))


def _to_nodes(circuit: HMM) -> list[dict[str, Any]]:
    # Every node gets arrays and bytes of its own: the pickle of one object in two places would differ from PyJuice's.
    last = circuit.num_positions - 1
    block_size = min(circuit.num_latents & -circuit.num_latents, _MAX_BLOCK_SIZE)
    num_blocks = circuit.num_latents // block_size
    size = {"num_node_blocks": num_blocks, "block_size": block_size}
    initial, transition, emission = (
        table.to(device="cpu", dtype=torch.float32).numpy()
        for table in (circuit.initial, circuit.transition, circuit.emission)
    )

    def edges(num_parents: int, matrix: np.ndarray | None, parent_size: int) -> dict[str, np.ndarray]:
        """All blocks joined to all, and the matrix [parents, H] cut into those blocks."""
        edge_ids = np.indices((num_parents, num_blocks)).reshape(2, -1)
        if matrix is None:
            return {"edge_ids": edge_ids}
        cut = matrix.reshape(num_parents, parent_size, num_blocks, block_size).transpose(0, 2, 1, 3)
        return {"edge_ids": edge_ids, "params": cut.reshape(-1, parent_size, block_size).copy()}

    nodes: list[dict[str, Any]] = []
    for t in range(last + 1):
        own = emission if emission.ndim == 2 and t == last else emission[t] if emission.ndim == 3 else None
        leaf: dict[str, Any] = {"type": "Input", **size, "chs": ()}
        if own is not None:
            leaf["params"] = own.reshape(-1)
        leaf |= {"scope": [t], "dist": _dist_blob(circuit.vocab_size)}
        if own is None:
            leaf["source_node"] = last
        nodes.append(leaf)
    first_sum = last + 2
    for t in range(last, -1, -1):
        children = (t,) if t == last else (t, len(nodes) - 1)
        identity = np.arange(num_blocks)[:, None].repeat(len(children), axis=1)
        nodes.append({"type": "Product", **size, "chs": children, "edge_ids": identity})
        above: dict[str, Any] = {"type": "Sum", **size, "chs": (len(nodes) - 1,)}
        if t == 0:
            above |= {"num_node_blocks": 1, "block_size": 1, **edges(1, initial, 1)}
        elif transition.ndim == 3 or t == last:
            above |= edges(num_blocks, transition if transition.ndim == 2 else transition[t - 1], block_size)
        else:
            above |= {**edges(num_blocks, None, block_size), "source_node": first_sum}
        nodes.append(above)
    return nodes


def _dist_blob(vocab_size: int) -> bytes:
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
