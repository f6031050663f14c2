"""Updates of a circuit: PyJuice's EM and Anemone, and the conditional objective."""

import numpy as np
import pytest
import torch

from lm_eval_codd.circuits import HMM
from lm_eval_codd.training.updates import (
    Anemone,
    ConditionalAscent,
    conditional,
    em_update,
    known_windows,
    random_circuit,
    without_frequencies,
)

DTYPES = (torch.float32, torch.float64)


def load(golden_dir, case):
    with np.load(golden_dir / "circuits" / case / "case.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def assert_near(found, wanted):
    torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
class TestEM:
    def golden(self, golden_dir, dtype):
        golden = load(golden_dir, "train_em")
        return golden, HMM(*(golden[name].to(dtype) for name in ("pi0", "A0", "E0")), golden["x"].shape[1])

    def test_a_full_batch_step_is_pyjuices(self, golden_dir, dtype):
        golden, circuit = self.golden(golden_dir, dtype)
        log_likelihood, counts = known_windows(circuit, golden["x"])
        assert (log_likelihood - golden["ll_before"]).abs().max() < 5e-6
        after = em_update(circuit, counts)
        assert_near(after.initial, golden["pi1"])
        assert_near(after.emission, golden["E1"])
        # PyJuice summed the transitions of the first 16 of the 24 rows: its tile of 16 does not divide the batch.
        _, counts = known_windows(circuit, golden["x"][:16])
        assert_near(em_update(circuit, counts).transition, golden["A1"])

    def test_a_full_batch_step_never_loses_likelihood(self, golden_dir, dtype):
        golden, circuit = self.golden(golden_dir, dtype)
        totals = []
        for _ in range(20):
            log_likelihood, counts = known_windows(circuit, golden["x"])
            totals.append(log_likelihood.double().sum().item())
            circuit = em_update(circuit, counts)
        assert (np.diff(totals) > -1e-4).all()
        assert totals[1] > golden["ll_after"].double().sum()

    def test_a_partial_step_goes_that_part_of_the_way(self, golden_dir, dtype):
        golden, circuit = self.golden(golden_dir, dtype)
        _, counts = known_windows(circuit, golden["x"])
        full, part = em_update(circuit, counts, 1.0, 0.5), em_update(circuit, counts, 0.3, 0.5)
        torch.testing.assert_close(part.transition, 0.7 * circuit.transition + 0.3 * full.transition)

    def test_pseudocounts_keep_unseen_tokens_possible(self, golden_dir, dtype):
        golden, circuit = self.golden(golden_dir, dtype)
        _, counts = known_windows(circuit, torch.zeros_like(golden["x"]))
        assert em_update(circuit, counts).emission[:, 1:].max() == 0
        kept = em_update(circuit, counts, pseudocount=8.0).emission
        torch.testing.assert_close(kept[:, 1], 1 / (counts.emission.sum(-1) + 8))

    def test_a_latent_that_is_never_used_keeps_its_rows(self, golden_dir, dtype):
        golden, circuit = self.golden(golden_dir, dtype)
        circuit.initial = torch.eye(4, dtype=dtype)[0]
        circuit.transition = torch.eye(4, dtype=dtype)
        _, counts = known_windows(circuit, golden["x"])
        after = em_update(circuit, counts)
        assert torch.equal(after.emission[1:], circuit.emission[1:])
        assert torch.equal(after.transition[1:], circuit.transition[1:])


@pytest.mark.parametrize("dtype", DTYPES)
class TestAnemone:
    def test_four_updates_with_momentum_are_pyjuices(self, golden_dir, dtype):
        golden = load(golden_dir, "train_anemone")
        settings = {name: float(golden[name]) for name in ("step_size", "momentum", "pseudocount")}
        circuit = HMM(*(golden[name].to(dtype) for name in ("pi0", "A0", "E0")), golden["x"].shape[2])
        anemone = Anemone(**settings)
        for k, tokens in enumerate(golden["x"]):
            log_likelihood, counts = known_windows(circuit, tokens)
            assert (log_likelihood - golden["ll_before"][k]).abs().max() < 5e-6
            circuit = anemone.update(circuit, counts)
            for found, name in ((circuit.initial, "pi"), (circuit.transition, "A"), (circuit.emission, "E")):
                assert_near(found, golden[name][k])

    def test_a_state_that_is_loaded_goes_on_exactly(self, golden_dir, dtype):
        golden = load(golden_dir, "train_anemone")
        circuit = HMM(*(golden[name].to(dtype) for name in ("pi0", "A0", "E0")), golden["x"].shape[2])
        first, second = Anemone(), Anemone()
        second.load_state(first.state())
        circuit = first.update(circuit, known_windows(circuit, golden["x"][0])[1])
        second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
        counts = known_windows(circuit, golden["x"][1])[1]
        assert torch.equal(first.update(circuit, counts).emission, second.update(circuit, counts).emission)


class TestConditional:
    @pytest.fixture
    def golden(self, golden_dir):
        return load(golden_dir, "cond_objective")

    @pytest.fixture
    def case(self, golden):
        circuit = HMM(golden["pi"].double(), golden["A"].double(), golden["E"].double(), 8)
        masked = ~golden["observed"]
        return circuit, golden["x0"], masked, golden["ext_logp"][masked]

    def test_the_golden_log_likelihood_and_gradient(self, golden, case):
        found = conditional(*case, weights=torch.ones(4, dtype=torch.float64))
        torch.testing.assert_close(found.circuit, golden["log_p_hat"], rtol=0, atol=1e-12)
        for table, name in zip(found.gradient.tables(), ("pi", "A", "E"), strict=True):
            wanted = (golden[f"Fp_{name}"] - golden[f"Fm_{name}"]).sum(0)
            torch.testing.assert_close(table, wanted, rtol=0, atol=1e-12)

    def test_the_backbone_alone_is_the_product_of_its_predictions(self, golden, case):
        own = golden["ext_logp"].gather(-1, golden["x0"][..., None])[..., 0]
        torch.testing.assert_close(conditional(*case).backbone, (own * ~golden["observed"]).sum(-1))

    def test_a_circuit_of_one_latent_and_even_emissions_changes_nothing(self, golden, case):
        one = torch.ones(1, 1, dtype=torch.float64)
        circuit = HMM(one[0], one, torch.full((1, 50), 1 / 50, dtype=torch.float64), 8)
        found = conditional(circuit, *case[1:])
        torch.testing.assert_close(found.circuit, found.backbone)

    def test_a_window_that_is_impossible_pulls_nowhere(self, case):
        circuit, tokens, masked, log_evidence = case
        circuit.emission[:, tokens[0, 0]] = 0
        weights = torch.eye(4, dtype=torch.float64)[0]
        found = conditional(circuit, tokens, masked, log_evidence, weights)
        assert found.circuit[0] == -torch.inf
        assert all((table == 0).all() for table in found.gradient.tables())

    def test_updates_raise_it_and_keep_rows_of_probabilities(self, case):
        circuit, *batch = case
        before = conditional(circuit, *batch).circuit.sum()
        ascent = ConditionalAscent()
        for _ in range(30):
            found = conditional(circuit, *batch, weights=torch.full((4,), 1 / 4, dtype=torch.float64))
            circuit = ascent.update(circuit, found.gradient, 0.1)
        assert conditional(circuit, *batch).circuit.sum() > before + 1
        for table in (circuit.initial, circuit.transition, circuit.emission):
            torch.testing.assert_close(table.sum(-1), torch.ones_like(table[..., 0]))

    def test_a_parameter_that_is_zero_stays_zero(self, case):
        circuit, *batch = case
        circuit.transition[0, 1] = 0
        circuit.transition /= circuit.transition.sum(-1, keepdim=True)
        found = conditional(circuit, *batch, weights=torch.ones(4, dtype=torch.float64))
        after = ConditionalAscent().update(circuit, found.gradient, 0.1)
        assert after.transition[0, 1] == 0
        assert after.transition.isfinite().all()

    def test_a_state_that_is_loaded_goes_on_exactly(self, case):
        circuit, *batch = case

        def next_circuit(ascent, circuit):
            found = conditional(circuit, *batch, weights=torch.ones(4, dtype=torch.float64))
            return ascent.update(circuit, found.gradient, 0.1)

        first, second = ConditionalAscent(), ConditionalAscent()
        second.load_state(first.state())
        circuit = next_circuit(first, circuit)
        second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
        assert torch.equal(next_circuit(first, circuit).emission, next_circuit(second, circuit).emission)


class TestWithoutFrequencies:
    def test_tokens_that_never_depend_on_the_latent_become_even(self):
        even = torch.full((3, 3), 1 / 3, dtype=torch.float64)
        emission = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64).expand(3, 4)
        found = without_frequencies(HMM(even[0], even, emission, 5)).emission
        torch.testing.assert_close(found, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0], dtype=torch.float64).expand(3, 4))

    @pytest.mark.parametrize("tied", [True, False])
    def test_what_a_latent_says_of_tokens_keeps_its_ratio_to_the_others(self, make_circuit, tied):
        circuit = make_circuit(tied=tied)
        found = without_frequencies(circuit).emission
        before, after = (table[..., :1, :] / table[..., 1:2, :] for table in (circuit.emission, found))
        torch.testing.assert_close(after / after[..., :1], before / before[..., :1])
        torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))


class TestRandomCircuit:
    def test_rows_are_probabilities_near_the_tokens_frequencies(self):
        frequencies = torch.tensor([5.0, 0, 1, 2])
        circuit = random_circuit(frequencies, 6, 3000, torch.Generator().manual_seed(0))
        assert circuit.num_positions == 6
        assert (circuit.emission[:, 1] == 0).all()
        torch.testing.assert_close(circuit.emission.sum(-1), torch.ones(3000))
        assert circuit.emission.mean(0).argsort().tolist() == [1, 2, 3, 0]
        assert not torch.equal(circuit.emission[0], circuit.emission[1])
