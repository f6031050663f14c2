import numpy as np
import pytest
import torch

from lm_eval_codd.circuits import any_order


def everything_masked(posterior):
    return (posterior.observed < 0).sum(-1)


class TestGoldens:
    # In float64: gaps between confidences fall to 1e-7.
    def test_greedy_order_tokens_and_confidences(self, double_golden):
        golden = double_golden
        posterior = golden.circuit.evaluate(golden.log_evidence, golden.observed)
        found = any_order(posterior, everything_masked(posterior))
        steps = found.order.shape[1]
        assert found.tokens.equal(golden["ao_tokens"])
        assert found.order.equal(golden["ao_order"][:, :steps])
        assert (golden["ao_order"][:, steps:] == -1).all()
        np.testing.assert_allclose(found.confidence, golden.arrays["ao_conf"][:, :steps], rtol=0, atol=1e-9)


class TestPolicy:
    @pytest.fixture
    def posterior(self, make_circuit):
        circuit = make_circuit(num_positions=6, num_latents=4, vocab_size=7)
        log_evidence = torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        observed = torch.tensor([[-1] * 6, [-1, 2, -1, -1, 3, -1], [1] * 6])
        return circuit.evaluate(log_evidence, observed)

    def test_a_row_commits_its_own_number_of_tokens(self, posterior):
        found = any_order(posterior, torch.tensor([1, 3, 2]))
        assert (found.order >= 0).sum(-1).tolist() == [1, 3, 0]
        assert (found.tokens >= 0).sum(-1).tolist() == [1, 5, 6]
        assert found.confidence.isnan().equal(found.order < 0)

    def test_observed_tokens_stay(self, posterior):
        found = any_order(posterior, everything_masked(posterior))
        assert found.tokens[posterior.observed >= 0].equal(posterior.observed[posterior.observed >= 0])

    def test_a_row_does_not_depend_on_its_batch_mates(self, posterior):
        counts = torch.tensor([4, 2, 0])
        together = any_order(posterior, counts)
        for row in range(2):
            alone = any_order(posterior.select(torch.tensor([row])), counts[row : row + 1])
            assert alone.tokens.equal(together.tokens[row : row + 1])

    def test_only_allowed_positions_are_committed(self, posterior):
        allowed = torch.zeros(3, 6, dtype=torch.bool)
        allowed[:, 2:4] = True
        found = any_order(posterior, torch.tensor([5, 1, 1]), allowed=allowed)
        assert sorted(found.order[0, :2].tolist()) == [2, 3]
        assert found.order.shape[1] == 2
        assert found.order[1, 0] in (2, 3)

    def test_each_token_comes_from_its_conditional_given_those_before(self, posterior):
        found = any_order(posterior, torch.tensor([6, 0, 0]))
        current = posterior
        for position, confidence in zip(found.order[0], found.confidence[0], strict=True):
            marginals = current.token_marginals()[0]
            token = found.tokens[0, position]
            torch.testing.assert_close(marginals[position, token], confidence)
            assert token == marginals[position].argmax()
            commit = torch.full((3, 6), -1)
            commit[0, position] = token
            current = current.observe(commit)

    def test_the_choice_can_be_another_rule(self, posterior):
        def least_likely(marginals):
            confidence, tokens = marginals.min(-1)
            return tokens, -confidence

        found = any_order(posterior, torch.tensor([1, 1, 0]), choose=least_likely)
        marginals = posterior.token_marginals()[0]
        assert found.tokens[0, found.order[0, 0]] == marginals[found.order[0, 0]].argmin()
        torch.testing.assert_close(found.confidence[0, 0], -marginals.min())
