"""Expected counts against PyJuice's training goldens and against finite differences of log Z."""

import numpy as np
import pytest
import torch

from lm_eval_codd.circuits import HMM
from lm_eval_codd.training.counts import Counts, expected_counts, prior_counts

TABLES = ("initial", "transition", "emission")


def differentiated(circuit: HMM, log_evidence, observed):
    """The gradient of the summed log Z with respect to the logarithm of each parameter, by autograd of a forward chain.

    A plain recursion that shares nothing with the code under test.
    """
    logs = [getattr(circuit, name).log().requires_grad_() for name in TABLES]
    initial, transition, emission = (table.exp() for table in logs)
    steps = transition.expand(circuit.num_positions - 1, -1, -1)
    emissions = emission.expand(circuit.num_positions, -1, -1)
    total = 0
    for weights, known in zip(log_evidence.exp(), observed, strict=True):
        message = initial
        for t in range(circuit.num_positions):
            message = message @ steps[t - 1] if t else message
            leaf = emissions[t] @ weights[t] if known[t] < 0 else emissions[t][:, known[t]]
            message = message * leaf
        total = total + message.sum().log()
    return torch.autograd.grad(total, logs)


@pytest.mark.parametrize("tied", [True, False])
class TestExpectedCounts:
    @pytest.fixture
    def case(self, make_circuit, tied):
        circuit = make_circuit(3, num_positions=5, num_latents=4, vocab_size=6, tied=tied)
        generator = torch.Generator().manual_seed(0)
        log_evidence = 3 * torch.randn(7, 5, 6, generator=generator, dtype=torch.float64)
        observed = torch.randint(-1, 6, (7, 5), generator=generator)
        observed[0], observed[1] = -1, torch.arange(5)
        return circuit, log_evidence, observed

    def test_they_are_the_gradient_of_log_z(self, case):
        circuit, log_evidence, observed = case
        counts = expected_counts(circuit.evaluate(log_evidence, observed))
        for found, wanted in zip(counts.tables(), differentiated(*case), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
        assert counts.num_windows == 7

    def test_weights_count_a_window_more_than_once(self, case):
        circuit, log_evidence, observed = case
        weights = torch.tensor([2.0, 0, 1, 0, 0, 0, 0], dtype=torch.float64)
        weighted = expected_counts(circuit.evaluate(log_evidence, observed), weights)
        repeated = expected_counts(circuit.evaluate(log_evidence[[0, 0, 2]], observed[[0, 0, 2]]))
        for found, wanted in zip(weighted.tables(), repeated.tables(), strict=True):
            torch.testing.assert_close(found, wanted)

    def test_a_window_without_mass_counts_nothing(self, case):
        circuit, log_evidence, observed = case
        log_evidence = log_evidence.clone()
        log_evidence[0, 2] = -torch.inf
        counts = expected_counts(circuit.evaluate(log_evidence, observed))
        rest = expected_counts(circuit.evaluate(log_evidence[1:], observed[1:]))
        for found, wanted in zip(counts.tables(), rest.tables(), strict=True):
            torch.testing.assert_close(found, wanted)
        assert counts.num_windows == 6

    def test_float32_agrees_with_float64_under_peaked_evidence(self, case):
        circuit, log_evidence, observed = case
        log_evidence = 30 * log_evidence
        exact = expected_counts(circuit.evaluate(log_evidence, observed))
        single = expected_counts(circuit.to(torch.float32).evaluate(log_evidence.float(), observed))
        for found, wanted in zip(single.tables(), exact.tables(), strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)

    def test_evidence_for_fewer_tokens_leaves_the_others_uncounted(self, case):
        circuit, log_evidence, _ = case
        log_evidence = log_evidence[..., :4].clone()
        full = torch.cat([log_evidence, torch.full_like(log_evidence[..., :2], -torch.inf)], -1)
        torch.testing.assert_close(
            expected_counts(circuit.evaluate(log_evidence)).emission, expected_counts(circuit.evaluate(full)).emission
        )

    def test_prior_counts_are_those_without_evidence(self, case):
        circuit, log_evidence, _ = case
        free = expected_counts(circuit.evaluate(torch.zeros_like(log_evidence[:1])))
        for found, wanted in zip(prior_counts(circuit).tables(), free.tables(), strict=True):
            torch.testing.assert_close(found, wanted)


class TestCounts:
    def test_adding_in_parts_is_counting_at_once(self, make_circuit):
        circuit = make_circuit()
        tokens = torch.randint(4, (9, 4), generator=torch.Generator().manual_seed(0))
        nothing = circuit.initial.new_empty(0, 4)
        sum_of_parts = Counts.zeros(circuit)
        for part in tokens.split(4):
            sum_of_parts = sum_of_parts.add(expected_counts(circuit.evaluate(nothing, part)))
        at_once = expected_counts(circuit.evaluate(nothing, tokens))
        assert sum_of_parts.num_windows == at_once.num_windows == 9
        for found, wanted in zip(sum_of_parts.tables(), at_once.tables(), strict=True):
            torch.testing.assert_close(found, wanted)

    def test_no_table_of_positions_latents_and_tokens_is_built(self, make_circuit, monkeypatch):
        """The largest tensor made on the way has the size of one table or one set of weights."""
        circuit = make_circuit(num_positions=4, num_latents=16, vocab_size=512)
        log_evidence = torch.zeros(8, 4, 512, dtype=torch.float64)
        sizes = []

        class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                found = func(*args, **(kwargs or {}))
                sizes.extend([found.untyped_storage().nbytes() // 8] if isinstance(found, torch.Tensor) else [])
                return found

        posterior = circuit.evaluate(log_evidence)
        with Sizes():
            expected_counts(posterior)
        assert max(sizes) <= 8 * 4 * 512


def test_the_golden_counts_of_the_conditional_objective(golden_dir):
    with np.load(golden_dir / "circuits" / "cond_objective" / "case.npz") as file:
        golden = {name: torch.from_numpy(file[name]) for name in file}
    circuit = HMM(golden["pi"].double(), golden["A"].double(), golden["E"].double(), 8)
    known = golden["x0"].where(golden["observed"], -1)
    for prefix, observed in (("Fp", golden["x0"]), ("Fm", known)):
        for row in range(len(observed)):
            posterior = circuit.evaluate(golden["ext_logp"][row : row + 1], observed[row : row + 1])
            counts = expected_counts(posterior)
            for found, name in zip(counts.tables(), ("pi", "A", "E"), strict=True):
                torch.testing.assert_close(found, golden[f"{prefix}_{name}"][row], rtol=0, atol=1e-12)
