import numpy as np
import torch


class TestGoldens:
    # In float64: gaps between confidences fall to 1e-7.
    def test_committing_the_surest_token_and_looking_again(self, double_golden):
        golden = double_golden
        posterior = golden.circuit.evaluate(golden.log_evidence, golden.observed)
        rows = torch.arange(len(golden.observed))
        order, confidences = [], []
        for _ in range(int((posterior.observed < 0).sum(-1).max())):
            masked = posterior.observed < 0
            confidence, token = posterior.token_marginals().masked_fill(~masked[..., None], -1).max(-1)
            confidence, position = confidence.max(-1)
            left = masked.any(-1)
            commit = torch.full_like(posterior.observed, -1)
            commit[rows, position] = token[rows, position].where(left, -1)
            posterior = posterior.observe(commit)
            order.append(position.where(left, -1))
            confidences.append(confidence.where(left, torch.nan))
        steps = len(order)
        assert posterior.observed.equal(golden["ao_tokens"])
        assert torch.stack(order, 1).equal(golden["ao_order"][:, :steps])
        assert (golden["ao_order"][:, steps:] == -1).all()
        np.testing.assert_allclose(torch.stack(confidences, 1), golden.arrays["ao_conf"][:, :steps], rtol=0, atol=1e-9)
