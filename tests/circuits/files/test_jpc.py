import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from lm_eval_codd.circuits.files.jpc import JpcError, read_jpc, write_jpc
from tests.circuits.files.strangers import Call

ALL_FILES = [
    *(f"{case}/model.jpc" for case in ("tiny_enum", "tiny_h3", "blocks_h12", "mid", "cond_objective")),
    "train_em/init.jpc",
    "train_em/after_full_batch_em.jpc",
    *(f"train_anemone/{name}.jpc" for name in ("init", "step1", "step2", "step3", "step4")),
]


@pytest.fixture
def nodes(golden_dir):
    """The nodes of a golden file with three blocks of latents, as PyJuice would unpickle them."""
    return pickle.loads((golden_dir / "circuits/blocks_h12/model.jpc").read_bytes())


@pytest.fixture
def read(tmp_path):
    """Read whatever bytes, or whatever object pickled in whatever protocol."""

    def read(content, protocol=4):
        path = tmp_path / "model.jpc"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return read_jpc(path)

    return read


@pytest.fixture
def refused(read):
    """The one line with which a file is refused."""

    def refused(content):
        with pytest.raises(JpcError) as caught:
            read(content)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 400
        return message

    return refused


class TestGoldens:
    @pytest.mark.parametrize("case", ["tiny_enum", "tiny_h3", "blocks_h12", "mid", "cond_objective"])
    def test_tables(self, golden_dir, case):
        circuit = read_jpc(golden_dir / "circuits" / case / "model.jpc")
        with np.load(golden_dir / "circuits" / case / "case.npz") as arrays:
            for table, name in ((circuit.initial, "pi"), (circuit.transition, "A"), (circuit.emission, "E")):
                np.testing.assert_array_equal(table, arrays[name])
                assert table.dtype == torch.float32

    def test_a_file_saved_from_a_compiled_circuit(self, golden_dir):
        circuit = read_jpc(golden_dir / "circuits/train_em/after_full_batch_em.jpc")
        with np.load(golden_dir / "circuits/train_em/case.npz") as arrays:
            np.testing.assert_allclose(circuit.initial, arrays["pi1"], atol=1e-6)
            np.testing.assert_allclose(circuit.transition, arrays["A1"], atol=1e-6)
            np.testing.assert_allclose(circuit.emission, arrays["E1"], atol=1e-6)

    @pytest.mark.parametrize("name", ALL_FILES)
    def test_a_written_file_is_pyjuices_own_to_the_byte(self, golden_dir, tmp_path, name):
        original, again = golden_dir / "circuits" / name, tmp_path / "again.jpc"
        write_jpc(read_jpc(original), again)
        if not name.startswith("train"):
            assert again.read_bytes() == original.read_bytes()
            return
        # These were trained as plain `Categorical`; a written file has the leaf that takes soft evidence.
        before, after = (pickle.loads(path.read_bytes()) for path in (original, again))
        for node, written in zip(before, after, strict=True):
            assert list(written) == list(node)
            for key in node.keys() - {"dist"}:
                np.testing.assert_array_equal(written[key], node[key])


class TestLayouts:
    @pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
    @pytest.mark.parametrize(("num_positions", "num_latents"), [(5, 12), (2, 3), (1, 4), (3, 1)])
    def test_written_circuits_are_read_back(self, make_circuit, tmp_path, num_positions, num_latents, tied):
        circuit = make_circuit(
            num_positions=num_positions, num_latents=num_latents, vocab_size=30, tied=tied, dtype=torch.float32
        )
        write_jpc(circuit, tmp_path / "model.jpc")
        again = read_jpc(tmp_path / "model.jpc")
        assert again.num_positions == num_positions
        assert again.initial.equal(circuit.initial)
        assert again.emission.expand(num_positions, -1, -1).equal(circuit.emission.expand(num_positions, -1, -1))
        if num_positions > 1:
            assert again.each_step(again.transition).equal(circuit.each_step(circuit.transition))

    @pytest.mark.parametrize("vocab_size", [255, 256, 65535, 65536, 152064])
    def test_the_written_leaf_is_the_pickle_of_pyjuices_class(self, make_circuit, tmp_path, monkeypatch, vocab_size):
        class ExternProductCategorical:
            def __init__(self, num_cats):
                self.num_cats = num_cats

            def __reduce__(self):
                return ExternProductCategorical, (self.num_cats,)

        module = types.ModuleType("pyjuice.nodes.distributions.external_categorical")
        module.ExternProductCategorical = ExternProductCategorical
        ExternProductCategorical.__module__ = module.__name__
        ExternProductCategorical.__qualname__ = "ExternProductCategorical"
        for name in ("pyjuice", "pyjuice.nodes", "pyjuice.nodes.distributions", module.__name__):
            monkeypatch.setitem(sys.modules, name, module)
        write_jpc(make_circuit(num_positions=1, num_latents=1, vocab_size=vocab_size), tmp_path / "model.jpc")
        blob = pickle.loads((tmp_path / "model.jpc").read_bytes())[0]["dist"]
        assert blob == pickle.dumps(ExternProductCategorical(vocab_size), protocol=4)

    def test_old_key_names(self, nodes, read):
        wanted = read(nodes)
        for node in nodes:
            node["num_node_groups"] = node.pop("num_node_blocks")
            node["group_size"] = node.pop("block_size")
        assert read(nodes).identity == wanted.identity

    def test_nodes_without_blocks(self, golden_dir, read):
        nodes = pickle.loads((golden_dir / "circuits/tiny_h3/model.jpc").read_bytes())
        wanted = read(nodes)
        for node in nodes:
            node["num_nodes"] = node.pop("num_node_blocks") * node.pop("block_size")
        assert read(nodes).identity == wanted.identity

    @pytest.mark.parametrize("protocol", [3, 4, 5])
    def test_every_pickle_protocol_of_python_3(self, nodes, read, protocol):
        assert read(nodes, protocol).identity == read(nodes).identity

    def test_names_of_numpy_1(self, nodes, read):
        # Protocol 3 spells names out without their length, so that they can be replaced.
        content = pickle.dumps(nodes, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        assert b"numpy._core" not in content
        assert read(content).identity == read(nodes).identity

    def test_missing_blocks_of_edges_are_zero(self, nodes, read):
        transition = next(node for node in nodes if node["type"] == "Sum" and "params" in node)
        transition["edge_ids"] = np.array([[0, 1, 2], [1, 2, 0]])
        params = transition["params"][:3]
        transition["params"] = params / params.sum(-1, keepdims=True)
        circuit = read(nodes)
        assert (circuit.transition[0:4, 0:4] == 0).all()
        assert circuit.transition[8:12, 0:4].equal(torch.from_numpy(transition["params"][2]))

    def test_a_nested_distribution_is_named_but_never_loaded(self, nodes, read, tmp_path):
        blob = pickle.dumps(Call(os.mkdir, str(tmp_path / "ran")))
        for node in nodes:
            if node["type"] == "Input":
                # Names a class as a leaf does, then makes the call.
                node["dist"] = b"\x80\x04\x8c\x08pyjuice.\x8c\x0bCategorical\x93" + blob[2:]
        read(nodes)
        assert not (tmp_path / "ran").exists()


class TestHostileFiles:
    @pytest.mark.parametrize("protocol", range(6))
    def test_a_call_is_refused_and_not_made(self, refused, tmp_path, protocol):
        message = refused(pickle.dumps([Call(os.mkdir, str(tmp_path / "ran"))], protocol))
        assert f"refused: it asks to load `{os.mkdir.__module__}.mkdir`" in message
        assert not (tmp_path / "ran").exists()

    def test_a_hostile_array_among_real_nodes_is_refused(self, nodes, refused, tmp_path):
        nodes[0]["params"] = Call(os.mkdir, str(tmp_path / "ran"))
        assert "refused" in refused(nodes)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "name", ["builtins eval", "builtins getattr", "numpy load", "numpy.core.multiarray scalar"]
    )
    def test_other_names_are_refused(self, refused, name):
        module, attribute = name.split()
        assert f"`{module}.{attribute}`" in refused(f"c{module}\n{attribute}\n.".encode())

    def test_arrays_of_objects_are_refused(self, nodes, refused):
        nodes[-1]["params"] = np.array([{}, []], dtype=object)
        assert "dtype 'O8'" in refused(nodes)

    @pytest.mark.parametrize("name", [b"numpy\ndtype", b"numpy\nndarray", b"numpy._core.multiarray\n_reconstruct"])
    @pytest.mark.parametrize("state", [b"}", b"(N}t"])
    def test_the_state_of_a_name_cannot_be_set(self, refused, name, state):
        assert "sets the state" in refused(b"\x80\x02c" + name + b"\n" + state + b"b.")

    def test_every_truncation_is_one_line(self, golden_dir, refused):
        content = (golden_dir / "circuits/tiny_enum/model.jpc").read_bytes()
        for length in range(0, len(content), 23):
            assert "damaged or cut short" in refused(content[:length])

    def test_a_damaged_byte_is_read_or_refused_in_one_line(self, golden_dir, read):
        content = (golden_dir / "circuits/tiny_h3/model.jpc").read_bytes()
        refusals = 0
        for position in range(0, len(content), 11):
            damaged = bytearray(content)
            damaged[position] ^= 0x15
            try:
                read(bytes(damaged))
            except JpcError as error:
                refusals += 1
                assert "\n" not in str(error)
        assert refusals > 20

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100), pickle.dumps(3), pickle.dumps([])])
    def test_other_files_are_one_line(self, refused, content):
        assert refused(content)

    def test_a_missing_file_is_an_os_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_jpc(tmp_path / "none.jpc")


class TestChecks:
    def find(self, nodes, kind, index=0):
        return [node for node in nodes if node["type"] == kind][index]

    def test_variables_out_of_order(self, nodes, refused):
        nodes[0]["scope"], nodes[1]["scope"] = [1], [0]
        assert "variable 1" in refused(nodes)

    def test_product_edges_that_are_no_identity(self, nodes, refused):
        edges = self.find(nodes, "Product", 2)["edge_ids"]
        edges[:, 0] = edges[::-1, 0].copy()
        assert "identity" in refused(nodes)

    @pytest.mark.parametrize(
        ("kind", "index", "table"), [("Input", 5, "emission"), ("Sum", 0, "transition"), ("Sum", -1, "initial")]
    )
    @pytest.mark.parametrize("factor", [1.01, np.nan, -1.0])
    def test_rows_that_are_no_probabilities(self, nodes, refused, kind, index, table, factor):
        self.find(nodes, kind, index)["params"] *= np.float32(factor)
        assert f"the {table} table" in refused(nodes)

    def test_negative_entries_that_still_sum_to_one(self, nodes, refused):
        params = self.find(nodes, "Input", 5)["params"]
        params[0], params[1] = -1, params[1] + params[0] + 1
        assert "emission" in refused(nodes)

    def test_wrong_parameter_shapes(self, nodes, refused):
        self.find(nodes, "Sum")["params"] = np.ones((9, 4, 3), np.float32)
        assert "shape (9, 4, 3)" in refused(nodes)

    def test_emissions_that_do_not_divide(self, nodes, refused):
        leaf = self.find(nodes, "Input", 5)
        leaf["params"] = leaf["params"][:-1]
        assert "239 parameters for 12 latents" in refused(nodes)

    def test_edges_out_of_range(self, nodes, refused):
        self.find(nodes, "Sum")["edge_ids"][1, 0] = 3
        assert "does not exist" in refused(nodes)

    def test_a_tree_is_not_a_chain(self, nodes, refused):
        product = self.find(nodes, "Product", 3)
        product["chs"] = (*product["chs"], product["chs"][1])
        assert "not an HMM" in refused(nodes)

    def test_a_node_tied_to_none(self, nodes, refused):
        nodes[0]["source_node"] = 99
        assert "node 0" in refused(nodes)

    def test_children_after_their_parents(self, nodes, refused):
        self.find(nodes, "Sum")["chs"] = (15,)
        assert "children" in refused(nodes)

    def test_an_unknown_leaf(self, nodes, refused):
        for node in nodes:
            if node["type"] == "Input":
                node["dist"] = b"\x80\x04\x8c\x01m\x8c\x08Gaussian\x93."
        assert "Gaussian" in refused(nodes)

    def test_positions_of_different_vocabularies(self, nodes, refused):
        leaf = self.find(nodes, "Input", 0)
        del leaf["source_node"]
        leaf["params"] = np.full(12 * 10, 0.1, np.float32)
        assert "[10, 20]" in refused(nodes)

    def test_a_claim_of_more_latents_than_memory_holds(self, nodes, refused):
        for node in nodes[:-1]:
            node["num_node_blocks"] = 10**12
        assert "not an HMM" in refused(nodes)
