"""Evidence that outruns a float's range, against an enumeration in log space of all tokens and latents of a window."""

import itertools

import pytest
import torch

from lm_eval_codd.circuits import HMM

T, H, V = 3, 3, 4


def sparse_circuit(seed: int, dtype: torch.dtype, least: float = 0.0) -> HMM:
    """A random circuit, half of whose transitions and emissions are `least`."""
    generator = torch.Generator().manual_seed(seed)

    def rows(*shape):
        values = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.05
        keep = torch.rand(shape, generator=generator) < 0.5
        keep[..., seed % shape[-1]] = True
        values = values.where(keep, 0)
        return (values / values.sum(-1, keepdim=True)).where(keep, least).to(dtype)

    return HMM(rows(H), rows(H, H), rows(H, V), T)


def enumerated(circuit: HMM, log_evidence, observed):
    """log Z, p(z_t | evidence) [T, H] and p(x_t | evidence) [T, V] of one window."""
    initial, transition, emission = (
        table.double().log() for table in (circuit.initial, circuit.transition, circuit.emission)
    )
    weights = {}
    for latents in itertools.product(range(H), repeat=T):
        of_path = initial[latents[0]] + sum(transition[a, b] for a, b in itertools.pairwise(latents))
        for tokens in itertools.product(range(V), repeat=T):
            if any(known not in (-1, token) for known, token in zip(observed, tokens, strict=True)):
                continue
            said = sum(emission[z, x] for z, x in zip(latents, tokens, strict=True))
            heard = sum(log_evidence[t, tokens[t]] for t in range(T) if observed[t] < 0)
            weights[latents, tokens] = of_path + said + heard
    log_weights = torch.stack([torch.as_tensor(weight) for weight in weights.values()])
    log_partition = log_weights.logsumexp(0)
    shares = (log_weights - log_partition).exp()
    latent, token = torch.zeros(T, H, dtype=torch.float64), torch.zeros(T, V, dtype=torch.float64)
    for (latents, tokens), share in zip(weights, shares, strict=True):
        for t in range(T):
            latent[t, latents[t]] += share
            token[t, tokens[t]] += share
    return log_partition, latent, token


def windows(seed: int, sharpness: float, dtype: torch.dtype):
    generator = torch.Generator().manual_seed(1000 + seed)
    log_evidence = sharpness * torch.randn(T, V, generator=generator, dtype=torch.float64)
    observed = torch.randint(V, (T,), generator=generator)
    observed[torch.rand(T, generator=generator) < 0.6] = -1
    return log_evidence.to(dtype), observed


@pytest.mark.parametrize("least", [0.0, 1e-25])
@pytest.mark.parametrize("sharpness", [1.0, 60.0, 3000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_answer_is_exact_whatever_the_evidence(dtype, sharpness, least):
    for seed in range(12):
        circuit = sparse_circuit(seed, dtype, least)
        log_evidence, observed = windows(seed, sharpness, dtype)
        log_partition, latent, token = enumerated(circuit, log_evidence.double(), observed.tolist())
        posterior = circuit.evaluate(log_evidence[None], observed[None])
        assert posterior.impossible.item() == log_partition.isneginf().item()
        if posterior.impossible:
            continue
        close = {"rtol": 1e-5, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(posterior.log_partition[0].double(), log_partition, **close)
        torch.testing.assert_close(posterior.latent_posterior()[0].double(), latent, **close)
        torch.testing.assert_close(posterior.token_marginals()[0].double(), token, **close)
        committed = posterior.observe(torch.where(observed < 0, token.argmax(-1), -1)[None])
        assert not committed.impossible
        path = posterior.sample(uniforms=torch.full((1, T), 0.5, dtype=dtype))[0]
        assert all(latent[t, path[t]] > 0 for t in range(T))


@pytest.mark.parametrize("gap", [110.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_latent_that_only_the_neighbours_allow_is_kept(dtype, gap):
    """The chain allows latent 0 alone, which never emits the token that the evidence favours."""
    emission = torch.tensor([[1 - 2e-26, 1e-26, 1e-26], [0, 0.5, 0.5]], dtype=dtype)
    circuit = HMM(torch.full((2,), 0.5, dtype=dtype), torch.eye(2, dtype=dtype), emission, 3)
    log_evidence = torch.tensor([[[0.0] * 3, [-gap, 0.0, -2.0], [0.0] * 3]], dtype=dtype)
    observed = torch.tensor([[0, -1, 0]])
    posterior = circuit.evaluate(log_evidence, observed)
    assert not posterior.impossible
    assert posterior.latent_posterior()[0, :, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("gap", [110.0, 800.0, 1e5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evidence_against_the_only_possible_token_leaves_it_possible(dtype, gap):
    emission = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=dtype)
    circuit = HMM(torch.full((2,), 0.5, dtype=dtype), torch.eye(2, dtype=dtype), emission, 3)
    log_evidence = torch.tensor([[[0.0, 0.0], [-gap, 0.0], [0.0, 0.0]]], dtype=dtype)
    posterior = circuit.evaluate(log_evidence, torch.tensor([[0, -1, 0]]))
    assert posterior.log_partition.item() == pytest.approx(torch.tensor(0.5).log().item() - gap, rel=1e-6)
    assert posterior.token_marginals()[0, 1].tolist() == [1, 0]


def test_a_zero_emission_and_a_gap_of_110_nats():
    emission = torch.tensor([[1 - 2e-26, 1e-26, 1e-26], [0, 0.5, 0.5]])
    circuit = HMM(torch.tensor([0.5, 0.5]), torch.eye(2), emission, 3)
    log_evidence = torch.tensor([[[0.0] * 3, [0.0, -110.0, -112.0], [0.0] * 3]])
    found = circuit.log_partition(log_evidence, torch.tensor([[1, -1, 1]])).item()
    assert found == pytest.approx(-112.65, abs=0.01)
