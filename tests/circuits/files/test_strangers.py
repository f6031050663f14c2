"""Circuit files from strangers: no code runs, nothing but one line comes out, and memory stays near the file's size."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lm_eval_codd.circuits import load_circuit
from lm_eval_codd.circuits.files.jpc import JpcError, read_jpc
from lm_eval_codd.files.pickled_arrays.machine import MAX_OPCODES
from lm_eval_codd.runs.circuit_header import read_header
from tests.circuits.files import strangers

CASES = ("tiny_enum", "tiny_h3", "blocks_h12", "mid")


@pytest.fixture
def nodes(golden_dir):
    return pickle.loads((golden_dir / "circuits/tiny_enum/model.jpc").read_bytes())


@pytest.fixture
def attempt(tmp_path):
    """Read a file twice, as circuit and as header, within its memory: None, or the line that refuses the circuit."""

    def attempt(content: bytes) -> str | None:
        path = tmp_path / "model.jpc"
        path.write_bytes(content)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        said = None
        try:
            read_jpc(path)
        except JpcError as error:
            said = str(error)
        if len(content) < 1 << 20:
            try:
                read_header(path)
            except ValueError as error:
                assert said is not None, f"read, and refused before: {error}"
        _, peak = tracemalloc.get_traced_memory()
        # The file itself is mapped, which is not traced: 3 times its size beside it.
        assert peak - before < 3 * len(content) + (64 << 20), said
        assert not (tmp_path / "ran").exists()
        if said is not None:
            assert said.isprintable()
            assert len(said) < len(str(path)) + 400
        return said

    tracemalloc.start()
    yield attempt
    tracemalloc.stop()


def test_mutated_files(golden_dir, attempt, times):
    contents = [(golden_dir / "circuits" / case / "model.jpc").read_bytes() for case in CASES]
    refused = 0
    count = times(300, 10_000)
    for seed in range(count):
        refused += attempt(strangers.mutated(contents[seed % len(contents)], seed)) is not None
    assert count / 4 < refused < count  # most of a circuit is numbers, of which any may be another


def test_crafted_files(nodes, attempt, tmp_path, times):
    files = strangers.crafted(nodes, str(tmp_path))
    files |= strangers.long_ones(b"]}C" if times(True, False) else b"]})N(C\x85\x94hKX")
    read = [name for name, content in files.items() if attempt(content) is None]
    assert not read


class TestLimits:
    def test_circuits_of_many_positions_are_read(self, make_circuit, tmp_path):
        from lm_eval_codd.circuits import save_circuit

        circuit = make_circuit(num_positions=512, num_latents=2, vocab_size=3, tied=False, dtype=torch.float32)
        assert read_jpc(save_circuit(circuit, tmp_path / "c.jpc")).identity == circuit.identity

    def test_opcodes_are_counted(self, attempt):
        assert "opcodes" in attempt(b"\x80\x04" + b"N" * MAX_OPCODES + b".")

    def test_the_memo_grows_by_one(self, attempt):
        assert "remembers value 268435456 where it has 0" in attempt(b"\x80\x02]r\x00\x00\x00\x10.")

    def test_two_edges_between_the_same_blocks(self, golden_dir, attempt):
        nodes = pickle.loads((golden_dir / "circuits/blocks_h12/model.jpc").read_bytes())
        transition = next(node for node in nodes if node["type"] == "Sum" and "params" in node)
        transition["edge_ids"][:, 1] = transition["edge_ids"][:, 0]
        assert "two edges between the same blocks" in attempt(pickle.dumps(nodes, 4))

    @pytest.mark.parametrize(
        "value",
        [strangers.nested_tuples(), "\x1b[2J" * 9, 1 << 40, b"\x00" * 99],
        ids=["tuples", "text", "number", "bytes"],
    )
    @pytest.mark.parametrize("field", ["type", "scope", "chs", "num_node_blocks", "source_node", "dist"])
    def test_what_stands_in_a_field_is_never_written_out(self, nodes, attempt, field, value):
        nodes[3][field] = value
        nodes[0][field] = value
        assert attempt(pickle.dumps(nodes, 4))

    @pytest.mark.parametrize("number", ["0", "-3", "1" + "0" * 12, "9" * 100_000, "\u0663", "many", ""])
    def test_absurd_numbers_of_positions(self, make_circuit, tmp_path, number):
        tables = {
            name: getattr(make_circuit(dtype=torch.float32), name) for name in ("initial", "transition", "emission")
        }
        path = tmp_path / "c.safetensors"
        save_file(tables, path, {"format": "lm_eval_codd.hmm", "num_positions": number})
        for read in (load_circuit, read_header):
            with pytest.raises(ValueError, match="`num_positions`, which is from 1 to 1048576") as error:
                read(path)
            assert len(str(error.value)) < len(str(path)) + 300

    def test_arrays_that_share_bytes_are_refused(self, attempt):
        shared = np.zeros(50_000, np.float32)
        whole = pickle.dumps([shared], 4)
        # The same bytes, taken from the memo, as the content of a second array.
        assert attempt(pickle.dumps([{"type": "Input", "params": shared, "num_node_blocks": 1}] * 3, 4))
        assert attempt(whole)
