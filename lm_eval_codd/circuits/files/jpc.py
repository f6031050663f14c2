"""PyJuice's circuit files (.jpc), read without executing anything in them, and written without PyJuice.

A .jpc file is a pickle: a list of dicts, one for each vector of nodes, children before parents, the root last
(`juice.save`, PyJuice 2.4.1 to 2.6.3, and the older keys before). `pickled_arrays` takes the arrays out of it; the
pickle nested in each leaf (`dist`) is scanned for its class name, never loaded. PyJuice builds an HMM from the last
variable backwards, so the root is the leftmost position and a sum's row is the earlier latent.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from lm_eval_codd.circuits.files.leaf_class import class_name, leaf_blob
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.files.pickled_arrays import RefusedPickleError, StoredArray, load_arrays, shown

# Leaves whose parameters are one row of token probabilities for each latent, whatever PyJuice computes with them.
_LEAF_CLASSES: Final = ("ExternProductCategorical", "SoftEvidenceCategorical", "Categorical")
# PyJuice's own rows sum to one within 2e-7.
_ROW_SUM_TOLERANCE: Final = 1e-4
# The largest node block that PyJuice's HMM makes (structures/hmm.py).
_MAX_BLOCK_SIZE: Final = 1024
# Blocks without an edge are zeros that the file does not hold; the emissions of a real circuit outweigh them by far.
_ZERO_BYTES: Final = 1 << 23
_MAX_REASON: Final = 300

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
    try:
        return _to_hmm(load_arrays(path), path.stat().st_size, source=str(path))
    except (JpcError, RefusedPickleError) as error:
        raise JpcError(f"{path}: {str(error)[:_MAX_REASON]}") from None


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
        # A chain's products have two. One tuple may stand in many nodes, so its length counts.
        if not isinstance(children, list | tuple) or len(children) > 2:
            raise JpcError(f"node {index} has {shown(children)} as its children; a chain has at most two: not an HMM")
        if not all(type(child) is int and 0 <= child < index for child in children):
            raise JpcError(f"node {index} has a child that does not come before it; children must come first")
        self.children = [nodes[child] for child in children]
        self.edges = self._array(info, "edge_ids")
        self.params = self._array(info, "params")
        self.owner = info.get("source_node")
        self.scope = info.get("scope")
        self.dist = info.get("dist")
        self.table: np.ndarray | None = None

    def _count(self, info: dict[str, Any], *names: str, default: int | None = None) -> int:
        value = next((info[name] for name in names if name in info), default)
        if type(value) is not int or value < 1:
            raise JpcError(f"node {self.index} has `{names[0]}` {shown(value)}; it must be a whole number above 0")
        return value

    def _array(self, info: dict[str, Any], name: str) -> StoredArray | None:
        value = info.get(name)
        if value is not None and not isinstance(value, StoredArray):
            raise JpcError(f"`{name}` of node {self.index} is no array")
        return value

    def only(self, kind: str, children: Sequence[_Node]) -> _Node:
        found = [child for child in children if child.type == kind]
        if len(found) != 1:
            raise JpcError(f"node {self.index} has {len(found)} children of type {kind}; a chain has one: not an HMM")
        return found[0]

    def own_params(self) -> np.ndarray:
        if self.params is None or self.params.dtype[1] != "f":
            raise JpcError(f"node {self.index} has no parameters of its own, or they are no floating-point numbers")
        return _numpy(self.params)

    def table_owner(self, chain: Mapping[int, _Node]) -> _Node:
        if self.params is not None:
            return self
        owner = chain.get(self.owner) if type(self.owner) is int else None
        if owner is None or owner.params is None:
            raise JpcError(f"node {self.index} has neither parameters nor a node of the chain that owns them")
        return owner


def _numpy(array: StoredArray) -> np.ndarray:
    """A copy of the array's bytes, aligned and in this machine's byte order."""
    stored = np.frombuffer(array.raw, array.dtype).reshape(array.shape, order="F" if array.is_fortran else "C")
    return stored.astype(stored.dtype.newbyteorder("="))


def _to_hmm(nodes: object, file_bytes: int, source: str) -> HMM:
    if not isinstance(nodes, list) or not nodes:
        raise JpcError("not a circuit: a .jpc file holds a list of nodes")
    parsed: list[_Node] = []
    for index, info in enumerate(nodes):
        parsed.append(_Node(index, info, parsed))
    if sum(len(array.raw) for node in parsed for array in (node.edges, node.params) if array) > file_bytes:
        raise JpcError("its nodes share their arrays, so that they are more than the file; not written by PyJuice")
    sums, leaves = _walk(parsed[-1])
    num_latents = leaves[0].size
    _refuse_absent_tables(sums, file_bytes)
    chain = {node.index: node for node in (*sums, *leaves)}
    root, *steps = [_own_table(node, chain, _sum_matrix, num_latents) for node in sums]
    emissions = [_own_table(leaf, chain, _emission_matrix, num_latents) for leaf in leaves]
    sizes = sorted({emission.shape[1] for emission in emissions})
    if len(sizes) != 1:
        raise JpcError(f"positions have vocabularies of {sizes[:4]} tokens, not of one size")
    if root.shape[0] != 1:
        raise JpcError(f"the root has {root.shape[0]} nodes; it must be a single one")
    for name, tables in (("initial", [root]), ("transition", steps), ("emission", emissions)):
        for table in {id(table): table for table in tables}.values():
            _check_rows(name, table)
    if not steps:
        steps = [np.eye(num_latents, dtype=np.float32)]
    return HMM(
        torch.from_numpy(root[0]),
        _stack(steps, file_bytes),
        _stack(emissions, file_bytes),
        num_positions=len(leaves),
        source=source,
    )


def _refuse_absent_tables(sums: list[_Node], file_bytes: int) -> None:
    """Transitions are made whole, zeros included: as large as their sizes say, not as the file."""
    cells = sum(node.size * node.children[0].size for node in sums if node.params is not None)
    if 4 * cells > file_bytes + _ZERO_BYTES:
        raise JpcError(f"its tables of transitions are {4 * cells} bytes, and the file has only {file_bytes}")


def _walk(root: _Node) -> tuple[list[_Node], list[_Node]]:
    """Sums and leaves of the chain, leftmost position first."""
    sums, leaves = [], []
    node: _Node | None = root
    while node is not None:
        if node.type != "Sum":
            raise JpcError(f"node {node.index} is of type {shown(node.type)} where the chain needs a Sum: not an HMM")
        product = node.only("Product", node.children)
        if len(node.children) != 1:
            raise JpcError(f"node {node.index} has {len(node.children)} children; a chain's sum has one: not an HMM")
        leaf = product.only("Input", product.children)
        sums.append(node)
        leaves.append(leaf)
        if leaf.scope != [len(leaves) - 1]:
            scope = shown(leaf.scope[0] if isinstance(leaf.scope, list) and len(leaf.scope) == 1 else leaf.scope)
            raise JpcError(
                f"position {len(leaves) - 1} of the chain is variable {scope}; "
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
    edges = None if product.edges is None or product.edges.shape != shape else _numpy(product.edges)
    if edges is None or (edges != np.arange(len(edges))[:, None]).any():
        raise JpcError(f"product {product.index} does not join like with like (identity edges): not an HMM")


def _own_table(node: _Node, chain: Mapping[int, _Node], build: _Build, num_latents: int) -> np.ndarray:
    """The node's table; tied nodes get the very same array."""
    owner = node.table_owner(chain)
    if (owner.num_blocks, owner.block_size, owner.type) != (node.num_blocks, node.block_size, node.type):
        raise JpcError(f"node {node.index} is tied to node {owner.index} of another kind or size")
    if owner.table is None:
        owner.table = build(owner, num_latents)
    return owner.table


def _sum_matrix(node: _Node, num_latents: int) -> np.ndarray:
    """[parents, children] from blocks of edges; a block without an edge is zero."""
    child = node.children[0]
    if node.edges is None or len(node.edges.shape) != 2 or node.edges.shape[0] != 2 or node.edges.dtype[1] != "i":
        raise JpcError(f"sum {node.index} has no list of edges")
    edges, params = _numpy(node.edges), node.own_params()
    if params.ndim == 1 and node.block_size == child.block_size == 1:
        params = params[:, None, None]
    expected = (edges.shape[1], node.block_size, child.block_size)
    if params.shape != expected:
        raise JpcError(f"sum {node.index} has parameters of shape {params.shape}; its edges need {expected}")
    limits = np.array([[node.num_blocks], [child.num_blocks]])
    if (edges < 0).any() or (edges >= limits).any():
        raise JpcError(f"sum {node.index} has an edge to a block that does not exist")
    if len(np.unique(edges[0] * child.num_blocks + edges[1])) != edges.shape[1]:
        raise JpcError(f"sum {node.index} has two edges between the same blocks")
    blocks = np.zeros((node.num_blocks, child.num_blocks, node.block_size, child.block_size), np.float32)
    blocks[edges[0], edges[1]] = params
    matrix: np.ndarray = blocks.transpose(0, 2, 1, 3).reshape(node.size, child.size)
    return matrix


def _emission_matrix(node: _Node, num_latents: int) -> np.ndarray:
    name = class_name(node.dist) if isinstance(node.dist, bytes) else None
    if name not in _LEAF_CLASSES:
        raise JpcError(f"leaf {node.index} is of class {shown(name)}; supported are {', '.join(_LEAF_CLASSES)}")
    params = node.own_params()
    if params.size == 0 or params.size % num_latents:
        raise JpcError(f"leaf {node.index} has {params.size} parameters for {num_latents} latents")
    table: np.ndarray = params.reshape(num_latents, -1).astype(np.float32, copy=False)
    return table


def _check_rows(name: str, table: np.ndarray) -> None:
    with np.errstate(all="ignore"):  # what is no number is said below
        sums = table.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(sums - 1).argmax())
    # NaN compares false, so the test is for what is right.
    if not abs(sums[worst] - 1) <= _ROW_SUM_TOLERANCE or not table.min() >= 0:
        raise JpcError(f"row {worst} of the {name} table sums to {sums[worst]:.6g}; rows must be probabilities")


def _stack(tables: list[np.ndarray], file_bytes: int) -> torch.Tensor:
    """One table where all are the same array, else all of them."""
    if all(table is tables[0] for table in tables):
        return torch.from_numpy(tables[0])
    if sum(table.nbytes for table in tables) > file_bytes + _ZERO_BYTES:
        raise JpcError("some of its positions share tables and some do not; PyJuice ties all of them or none")
    return torch.from_numpy(np.stack(tables))


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
        leaf |= {"scope": [t], "dist": leaf_blob(circuit.vocab_size)}
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
