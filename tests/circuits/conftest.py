"""Answers of circuits by enumerating every window of tokens and every latent path."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lm_eval_codd.circuits import HMM, load_circuit


@dataclass
class Enumerated:
    log_partition: float
    latent_posterior: np.ndarray
    token_marginals: np.ndarray
    path_posterior: np.ndarray


def enumerate_row(circuit: HMM, log_evidence, observed) -> Enumerated:
    """One row's exact answers from the whole joint p(z_0, ..., z_T-1, x_0, ..., x_T-1), an array of H^T V^T numbers."""
    num_positions, num_latents, vocab_size = circuit.num_positions, circuit.num_latents, circuit.vocab_size
    transition = circuit.transition.double().expand(num_positions - 1, num_latents, num_latents).numpy()
    emission = circuit.emission.double().expand(num_positions, num_latents, vocab_size).numpy()
    log_evidence = log_evidence.double().numpy()

    def along(table, *axes):
        shape = [1] * (2 * num_positions)
        for axis, size in zip(axes, table.shape, strict=True):
            shape[axis] = size
        return table.reshape(shape)

    joint = along(circuit.initial.double().numpy(), 0)
    scale = 0.0
    for t in range(num_positions):
        if t:
            joint = joint * along(transition[t - 1], t - 1, t)
        if observed[t] < 0:
            weights = np.exp(log_evidence[t] - log_evidence[t].max())
            scale += log_evidence[t].max()
        else:
            weights = np.eye(vocab_size)[observed[t]]
        joint = joint * along(emission[t] * weights, t, num_positions + t)
    total = joint.sum()
    joint = joint / total

    def marginal(axis):
        return joint.sum(tuple(other for other in range(2 * num_positions) if other != axis))

    return Enumerated(
        log_partition=np.log(total) + scale,
        latent_posterior=np.stack([marginal(t) for t in range(num_positions)]),
        token_marginals=np.stack([marginal(num_positions + t) for t in range(num_positions)]),
        path_posterior=joint.sum(tuple(range(num_positions, 2 * num_positions))),
    )


@pytest.fixture
def enumerate_exactly():
    return enumerate_row


GOLDEN_CASES = ("tiny_enum", "tiny_h3", "blocks_h12", "mid")


@dataclass
class Golden:
    arrays: dict
    circuit: HMM
    log_evidence: torch.Tensor
    observed: torch.Tensor
    own_evidence: torch.Tensor
    tolerance: float

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    def assert_close(self, found, name, tolerance=None):
        wanted = self[name] if isinstance(name, str) else name
        torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=tolerance or self.tolerance)


def load_golden(golden_dir, case, dtype):
    folder = golden_dir / "circuits" / case
    with np.load(folder / "case.npz") as file:
        arrays = dict(file)
    seen, tokens = torch.from_numpy(arrays["observed"]), torch.from_numpy(arrays["input_ids"])
    log_evidence = torch.from_numpy(arrays["ext_logp"])
    return Golden(
        arrays=arrays,
        circuit=load_circuit(folder, dtype=dtype),
        log_evidence=log_evidence.to(dtype),
        observed=tokens.where(seen, -1),
        own_evidence=log_evidence.gather(-1, tokens[..., None])[..., 0].where(seen, 0.0),
        tolerance=1e-9 if dtype == torch.float64 else 1e-4,
    )


@pytest.fixture(params=[(case, dtype) for case in GOLDEN_CASES for dtype in (torch.float32, torch.float64)], ids=str)
def golden(request, golden_dir):
    """PyJuice's answers, cross-checked in float64 (tests/golden/circuits/README.md)."""
    return load_golden(golden_dir, *request.param)


@pytest.fixture(params=GOLDEN_CASES)
def double_golden(request, golden_dir):
    return load_golden(golden_dir, request.param, torch.float64)
