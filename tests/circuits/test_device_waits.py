"""When the circuit looks at a value, which on a GPU waits for all that was asked of it before."""

import pytest
import torch

from lm_eval_codd.circuits import HMM
from lm_eval_codd.circuits.posterior import masked_places
from tests.device_waits import Operations

QUERIES = {
    "latent": lambda posterior, uniforms: posterior.couple_masked(posterior.sample(uniforms=uniforms)),
    "map": lambda posterior, uniforms: posterior.couple_masked(posterior.max()),
    "marginal": lambda posterior, uniforms: posterior.masked_token_marginals(),
    "latents": lambda posterior, uniforms: posterior.latent_posterior(),
    "commit": lambda posterior, uniforms: posterior.observe(posterior.observed.clamp(min=0)).log_partition,
}


def windows(circuit, batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    observed = torch.randint(circuit.vocab_size, (batch, circuit.num_positions), generator=generator)
    observed[torch.rand(observed.shape, generator=generator) < 0.5] = -1
    places = masked_places(observed)
    log_evidence = torch.randn(len(places), circuit.vocab_size, generator=generator).log_softmax(-1)
    return log_evidence, observed, places, torch.rand(observed.shape, generator=generator)


@pytest.fixture
def circuit(make_circuit):
    return make_circuit(num_positions=6, num_latents=5, vocab_size=9, dtype=torch.float32)


class TestNothingWaits:
    # A meta tensor has no values: whatever looks at one raises.
    @pytest.mark.parametrize("query", QUERIES)
    def test_evaluated_with_its_places_no_value_is_looked_at(self, circuit, query):
        without_values = circuit.to(device="meta")
        vars(without_values)["least_share"] = circuit.least_share
        log_evidence, observed, places, uniforms = (tensor.to("meta") for tensor in windows(circuit))
        QUERIES[query](without_values.evaluate(log_evidence, observed, places), uniforms)

    @pytest.mark.parametrize("query", QUERIES)
    def test_nor_on_a_device_with_values(self, circuit, query):
        log_evidence, observed, places, uniforms = windows(circuit)
        assert circuit.always_possible
        with Operations() as operations:
            QUERIES[query](circuit.evaluate(log_evidence, observed, places), uniforms)
        assert operations.num_waits == 0

    def test_looking_for_the_places_waits_once(self, circuit):
        log_evidence, observed, _, uniforms = windows(circuit)
        assert circuit.always_possible
        with Operations() as operations:
            QUERIES["latent"](circuit.evaluate(log_evidence, observed), uniforms)
        assert operations.num_waits == 1

    def test_a_circuit_that_can_lose_mass_waits_once(self, circuit):
        transition = torch.eye(5)
        circuit = HMM(circuit.initial, transition, circuit.emission, 6)
        log_evidence, observed, places, uniforms = windows(circuit)
        assert not circuit.always_possible
        with Operations() as operations:
            QUERIES["latent"](circuit.evaluate(log_evidence, observed, places), uniforms)
        assert operations.num_waits == 1

    def test_a_position_more_costs_thirteen_operations(self, make_circuit):
        def launches(num_positions):
            circuit = make_circuit(num_positions=num_positions, num_latents=5, vocab_size=9, dtype=torch.float32)
            log_evidence, observed, places, uniforms = windows(circuit)
            assert circuit.always_possible
            circuit.evaluate(log_evidence, observed, places).sample(uniforms=uniforms)
            with Operations() as operations:
                QUERIES["latent"](circuit.evaluate(log_evidence, observed, places), uniforms)
            return operations.num_launches

        assert launches(10) - launches(6) <= 4 * 13


class TestAlwaysPossible:
    def test_of_positive_tables(self, make_circuit):
        assert all(
            make_circuit(tied=tied, num_positions=length).always_possible for tied in (True, False) for length in (1, 4)
        )

    @pytest.mark.parametrize("table", ["initial", "transition"])
    def test_not_where_a_latent_cannot_start_or_follow(self, circuit, table):
        getattr(circuit, table)[..., 2] = 0
        assert not circuit.always_possible

    def test_a_token_needs_one_latent_that_emits_it(self, circuit):
        circuit.emission[1:, 3] = 0
        assert circuit.to().always_possible
        circuit.emission[0, 3] = 0
        assert not circuit.to().always_possible

    @pytest.mark.parametrize("sharpness", [1.0, 200.0, 1e4])
    def test_float32_keeps_the_mass_of_any_evidence(self, make_circuit, sharpness):
        circuit = make_circuit(num_positions=6, num_latents=8, vocab_size=12, dtype=torch.float32)
        keep = torch.rand(8, 12, generator=torch.Generator().manual_seed(1)) < 0.3
        keep[torch.arange(12) % 8, torch.arange(12)] = True
        circuit = HMM(circuit.initial, circuit.transition, circuit.emission * keep, 6)
        log_evidence, observed, places, _ = windows(circuit, batch=50)
        found = circuit.evaluate(sharpness * log_evidence, observed, places)
        exact = circuit.to(torch.float64).evaluate(sharpness * log_evidence, observed, places)
        assert circuit.always_possible
        assert not found.impossible.any()
        torch.testing.assert_close(found.log_partition.double(), exact.log_partition, rtol=1e-6, atol=1e-4)


class TestPlaces:
    def test_given_or_found_they_give_the_same(self, circuit):
        log_evidence, observed, places, uniforms = windows(circuit)
        given, found = circuit.evaluate(log_evidence, observed, places), circuit.evaluate(log_evidence, observed)
        assert given.log_partition.equal(found.log_partition)
        assert all(query(given, uniforms).equal(query(found, uniforms)) for query in QUERIES.values())

    def test_evidence_for_another_number_of_places_is_refused(self, circuit):
        log_evidence, observed, places, _ = windows(circuit)
        with pytest.raises(ValueError, match="`log_evidence` has shape"):
            circuit.evaluate(log_evidence, observed, places[1:])

    @pytest.mark.parametrize("dense", [False, True])
    def test_rows_in_another_order_keep_their_evidence(self, circuit, dense):
        log_evidence, observed, places, uniforms = windows(circuit)
        if dense:
            spread = torch.zeros(observed.numel(), circuit.vocab_size).index_copy_(0, places, log_evidence)
            log_evidence = spread.unflatten(0, observed.shape)
        order = torch.tensor([2, 0, 1])
        posterior = circuit.evaluate(log_evidence, observed, places)
        latents = posterior.sample(uniforms=uniforms)
        rows = places // circuit.num_positions
        moved = posterior.select(order)
        for of_all, of_moved in (
            (posterior.couple_masked(latents), moved.couple_masked(latents[order])),
            (posterior.masked_token_marginals(), moved.masked_token_marginals()),
        ):
            wanted = torch.cat([of_all[rows == row] for row in order])
            torch.testing.assert_close(of_moved, wanted)

    def test_a_committed_position_has_no_place(self, circuit):
        log_evidence, observed, places, _ = windows(circuit)
        tokens = torch.full_like(observed, -1)
        tokens.view(-1)[places[0]] = 1
        committed = circuit.evaluate(log_evidence, observed, places).observe(tokens)
        assert committed.places.equal(places[1:])
        assert len(committed.masked_token_marginals()) == len(places) - 1

    def test_evidence_of_a_wider_dtype_is_narrowed(self, circuit):
        log_evidence, observed, places, _ = windows(circuit)
        posterior = circuit.evaluate(log_evidence.double(), observed, places)
        assert posterior.log_partition.equal(circuit.evaluate(log_evidence, observed, places).log_partition)
