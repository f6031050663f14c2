import math

import numpy as np
import pytest
import torch

from lm_eval_codd.circuits import HMM
from lm_eval_codd.decoding.protocols import Circuit

INF = math.inf


def random_evidence(circuit, batch, seed, *, sharpness=1.0, banned=0.0, share_observed=0.4):
    generator = torch.Generator().manual_seed(1000 + seed)
    shape = (batch, circuit.num_positions, circuit.vocab_size)
    log_evidence = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)
    ban = torch.rand(shape, generator=generator) < banned
    ban[..., 0] = False
    log_evidence = log_evidence.masked_fill(ban, -INF).to(circuit.dtype)
    tokens = torch.randint(circuit.vocab_size, shape[:2], generator=generator)
    seen = torch.rand(shape[:2], generator=generator) < share_observed
    return log_evidence, tokens.where(seen, -1)


def all_answers(circuit, log_evidence, observed):
    posterior = circuit.evaluate(log_evidence, observed)
    return {
        "log_partition": posterior.log_partition,
        "latent_posterior": posterior.latent_posterior(),
        "token_marginals": posterior.token_marginals(),
        "max": posterior.max(),
        "sample": posterior.sample(uniforms=torch.full(posterior.observed.shape, 0.3)),
    }


class TestGoldens:
    def test_log_partition(self, golden):
        # PyJuice also counts the observed tokens' own evidence.
        found = golden.circuit.log_partition(golden.log_evidence, golden.observed)
        golden.assert_close(found + golden.own_evidence.sum(-1), "logZ")

    def test_leaves(self, golden):
        posterior = golden.circuit.evaluate(golden.log_evidence, golden.observed)
        found = posterior.log_leaf + posterior.log_scale[..., None]
        golden.assert_close(found + golden.own_evidence[..., None], "log_leaf")

    def test_latent_posterior(self, golden):
        golden.assert_close(golden.circuit.latent_posterior(golden.log_evidence, golden.observed), "latent_posterior")

    def test_token_marginals(self, golden):
        golden.assert_close(golden.circuit.token_marginals(golden.log_evidence, golden.observed), "token_posterior")

    def test_official_output_given_official_latents(self, golden):
        found = golden.circuit.couple(golden.log_evidence, golden["official_z"])
        golden.assert_close(found, "official_logits_out", tolerance=1e-4)

    def test_pyjuice_draws_have_the_same_latent_marginals(self, golden):
        draws = golden["pyjuice_draws"].long()
        frequencies = torch.nn.functional.one_hot(draws, golden.circuit.num_latents).double().mean(1)
        found = golden.circuit.latent_posterior(golden.log_evidence, golden.observed)[: len(draws)].double()
        spread = (found * (1 - found) / draws.shape[1]).sqrt()
        assert ((frequencies - found).abs() <= 5 * spread + 2 / draws.shape[1]).all()


class TestEnumeration:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
    @pytest.mark.parametrize("seed", range(6))
    def test_every_answer_equals_enumeration(self, make_circuit, enumerate_exactly, seed, tied, dtype):
        shape = [(4, 3, 4), (3, 4, 5), (5, 2, 3), (1, 5, 7), (4, 4, 3), (2, 6, 6)][seed]
        circuit = make_circuit(
            seed, num_positions=shape[0], num_latents=shape[1], vocab_size=shape[2], tied=tied, dtype=dtype
        )
        log_evidence, observed = random_evidence(
            circuit, 3, seed, sharpness=[0.5, 3, 30][seed % 3], banned=[0, 0.5][seed % 2]
        )
        observed[0] = -1
        posterior = circuit.evaluate(log_evidence, observed)
        tolerance = {"rtol": 0, "atol": 1e-9 if dtype == torch.float64 else 1e-4}
        best = posterior.max()
        for row in range(len(observed)):
            exact = enumerate_exactly(circuit, log_evidence[row], observed[row])
            for found, wanted in (
                (posterior.log_partition[row], exact.log_partition),
                (posterior.latent_posterior()[row], exact.latent_posterior),
                (posterior.token_marginals()[row], exact.token_marginals),
            ):
                torch.testing.assert_close(found.double(), torch.as_tensor(wanted), **tolerance)
            path = exact.path_posterior[tuple(best[row].tolist())]
            assert path >= exact.path_posterior.max() - tolerance["atol"]

    def test_marginals_sum_to_one(self, make_circuit):
        circuit = make_circuit(num_positions=8, num_latents=16, vocab_size=300, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 4, 0, sharpness=4)
        ones = torch.ones(4, 8)
        torch.testing.assert_close(circuit.token_marginals(log_evidence, observed).sum(-1), ones)
        torch.testing.assert_close(circuit.latent_posterior(log_evidence, observed).sum(-1), ones)

    def test_a_scale_of_the_evidence_moves_log_z_only(self, make_circuit):
        circuit = make_circuit()
        log_evidence, observed = random_evidence(circuit, 2, 0)
        shift = torch.arange(4.0).mul(100)[None, :, None]
        before, after = (circuit.evaluate(evidence, observed) for evidence in (log_evidence, log_evidence + shift))
        expected = before.log_partition + shift[..., 0].expand(2, 4).where(observed < 0, 0).sum(-1)
        torch.testing.assert_close(after.log_partition, expected)
        torch.testing.assert_close(after.token_marginals(), before.token_marginals())

    def test_evidence_at_observed_positions_is_not_read(self, make_circuit):
        circuit = make_circuit()
        log_evidence, observed = random_evidence(circuit, 2, 0)
        spoiled = log_evidence.masked_fill((observed >= 0)[..., None], math.nan)
        for name, answer in all_answers(circuit, log_evidence, observed).items():
            torch.testing.assert_close(all_answers(circuit, spoiled, observed)[name], answer)

    def test_committing_tokens_equals_evaluating_with_them(self, make_circuit):
        circuit = make_circuit(num_positions=5)
        log_evidence, observed = random_evidence(circuit, 3, 0)
        tokens = torch.tensor([[0, -1, 2, -1, 3]]).expand(3, 5)
        committed = circuit.evaluate(log_evidence, observed).observe(tokens)
        fresh = circuit.evaluate(log_evidence, tokens.where((tokens >= 0) & (observed < 0), observed))
        assert committed.observed.equal(fresh.observed)
        torch.testing.assert_close(committed.log_partition, fresh.log_partition)
        torch.testing.assert_close(committed.token_marginals(), fresh.token_marginals())


class TestDraws:
    @pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
    @pytest.mark.parametrize("zeros", [0.0, 0.4])
    def test_paths_pass_a_chi_square_test(self, make_circuit, enumerate_exactly, tied, zeros):
        circuit = make_circuit(3, num_latents=4, tied=tied, zeros=zeros, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 1, 3, share_observed=0.3)
        exact = enumerate_exactly(circuit, log_evidence[0], observed[0]).path_posterior
        posterior = circuit.evaluate(log_evidence, observed).select(torch.zeros(20_000, dtype=torch.long))
        drawn = posterior.sample(torch.Generator().manual_seed(0))
        counts = np.zeros(exact.shape)
        np.add.at(counts, tuple(drawn.T.numpy()), 1)
        assert (counts[exact == 0] == 0).all()
        expected = exact * len(drawn)
        common = expected >= 5
        pairs = [*zip(counts[common], expected[common], strict=True), (counts[~common].sum(), expected[~common].sum())]
        statistic = sum((count - mean) ** 2 / mean for count, mean in pairs if mean > 0)
        freedom = len(pairs) - 1
        assert freedom > 10
        # The chi-square distribution has this mean and spread; 4 standard deviations.
        assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)

    def test_no_draw_runs_off_the_end_or_hits_a_latent_of_zero_probability(self, make_circuit):
        circuit = make_circuit(0, num_positions=6, num_latents=37, vocab_size=5, zeros=0.7, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 4, 0, sharpness=4, share_observed=0)
        posterior = circuit.evaluate(log_evidence, observed)
        for uniform in (0.0, 1e-30, 0.5, 1 - 2**-24, 1.0):
            latents = posterior.sample(uniforms=torch.full((4, 6), uniform))
            chances = posterior.latent_posterior().gather(-1, latents[..., None])
            assert (chances > 0).all()
            assert (posterior.couple_masked(latents).amax(-1) > -INF).all()

    def test_a_row_with_its_own_generator_depends_on_nothing_else(self, make_circuit):
        circuit = make_circuit(num_positions=6, num_latents=16, vocab_size=30, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 5, 0)

        def draw(rows):
            generators = [torch.Generator().manual_seed(row) for row in rows]
            return circuit.sample_latents(log_evidence[rows], observed[rows], generators)

        together = draw([0, 1, 2, 3, 4])
        assert draw([3]).equal(together[3:4])
        assert draw([4, 0]).equal(together[[4, 0]])
        assert not draw([0, 0])[0].equal(together[1])

    def test_uniforms_replace_a_generator(self, make_circuit):
        circuit = make_circuit()
        log_evidence, observed = random_evidence(circuit, 2, 0)
        uniforms = torch.rand(2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        by_generator = circuit.sample_latents(log_evidence, observed, torch.Generator().manual_seed(5))
        assert circuit.sample_latents(log_evidence, observed, uniforms=uniforms).equal(by_generator)

    def test_wrong_numbers_of_uniforms_and_generators_are_refused(self, make_circuit):
        circuit = make_circuit()
        log_evidence, observed = random_evidence(circuit, 2, 0)
        with pytest.raises(ValueError, match="`uniforms`"):
            circuit.sample_latents(log_evidence, observed, uniforms=torch.rand(2))
        with pytest.raises(ValueError, match="`generator`"):
            circuit.sample_latents(log_evidence, observed, [torch.Generator()])


class TestExtremes:
    @pytest.mark.parametrize("observed", [[[1, -1, 1]], [[-1, -1, 1]], [[1, -1, -1]]])
    def test_a_latent_that_float32_weights_do_not_reach_is_not_lost(self, enumerate_exactly, observed):
        emission = torch.tensor([[1 - 2e-26, 1e-26, 1e-26], [0, 0.5, 0.5]])
        circuit = HMM(torch.tensor([0.5, 0.5]), torch.eye(2), emission, 3)
        log_evidence, observed = torch.tensor([[[0.0] * 3, [0.0, -110, -112], [0.0] * 3]]), torch.tensor(observed)
        exact = enumerate_exactly(circuit, log_evidence[0], observed[0])
        posterior = circuit.evaluate(log_evidence, observed)
        assert posterior.log_partition.item() == pytest.approx(exact.log_partition, abs=1e-4)
        wanted = torch.from_numpy(exact.latent_posterior).float()
        torch.testing.assert_close(posterior.latent_posterior()[0], wanted, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("sharpness", [1e3, 1e6, 1e30])
    def test_very_peaked_evidence_leaves_its_token(self, make_circuit, sharpness):
        circuit = make_circuit(num_positions=6, num_latents=8, vocab_size=40, dtype=torch.float32)
        log_evidence, _ = random_evidence(circuit, 3, 0, sharpness=sharpness)
        answers = all_answers(circuit, log_evidence, None)
        assert all(answer.isfinite().all() for answer in answers.values())
        # The product is peaked on the evidence's token, up to ties at this scale.
        assert answers["token_marginals"].argmax(-1).equal(log_evidence.argmax(-1))

    # The evidence's favourite is emitted by latent 0 alone, which the neighbour's token, or the start, rules out.
    @pytest.mark.parametrize(("initial", "next_token"), [([0.5, 0.5], 2), ([0.0, 1.0], -1)])
    def test_mass_deeper_than_float32_reaches_is_not_impossible(self, enumerate_exactly, initial, next_token):
        emission = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.4, 0.6]])
        circuit = HMM(torch.tensor(initial), torch.eye(2), emission, 2)
        log_evidence = torch.tensor([[[0.0, -200.0, -300.0], [0.0, 0.0, 0.0]]])
        observed = torch.tensor([[-1, next_token]])
        posterior = circuit.evaluate(log_evidence, observed)
        exact = enumerate_exactly(circuit, log_evidence[0], observed[0])
        assert not posterior.impossible.any()
        assert abs(posterior.log_partition.item() - exact.log_partition) < 1e-4
        torch.testing.assert_close(posterior.token_marginals()[0].double(), torch.as_tensor(exact.token_marginals))
        assert posterior.sample().tolist() == posterior.max().tolist() == [[1, 1]]

    @pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
    def test_a_draw_at_either_end_is_a_latent_of_positive_probability(self, uniform):
        circuit = HMM(torch.tensor([0.0, 1.0, 0.0]), torch.eye(3), torch.ones(3, 1), 2)
        assert circuit.sample_latents(torch.zeros(1, 2, 1), uniforms=torch.full((1, 2), uniform)).tolist() == [[1, 1]]

    def test_a_running_sum_that_rises_over_a_zero_weight_does_not_draw_it(self, monkeypatch):
        # As a sum taken as a tree may, by rounding.
        def cumsum(weights, dim, plain=torch.Tensor.cumsum):
            return plain(weights, dim) + 1e-6 * (weights == 0)

        circuit = HMM(torch.tensor([0.5, 0.0, 0.5]), torch.eye(3), torch.ones(3, 1), 1)
        posterior = circuit.evaluate(torch.zeros(1, 1, 1))
        monkeypatch.setattr(torch.Tensor, "cumsum", cumsum)
        assert posterior.sample(uniforms=torch.tensor([[0.5000007]])).tolist() == [[2]]

    def test_a_banned_token_has_no_probability_and_no_nan(self, make_circuit):
        circuit = make_circuit(num_positions=5, dtype=torch.float32)
        log_evidence, _ = random_evidence(circuit, 2, 0, banned=0.7)
        answers = all_answers(circuit, log_evidence, None)
        assert (answers["token_marginals"][log_evidence == -INF] == 0).all()
        coupled = circuit.couple(log_evidence, answers["sample"])
        assert not coupled.isnan().any()
        assert (coupled[log_evidence == -INF] == -INF).all()

    @pytest.mark.parametrize("spoil", ["all banned", "nan", "infinite", "contradiction"])
    def test_an_impossible_row_is_flagged_and_others_are_untouched(self, make_circuit, spoil):
        circuit = make_circuit(num_positions=5, dtype=torch.float32)
        if spoil == "contradiction":
            emission = circuit.emission.clone()
            emission[:, 3] = 0
            circuit = HMM(circuit.initial, circuit.transition, emission / emission.sum(-1, keepdim=True), 5)
        log_evidence, observed = random_evidence(circuit, 3, 0, share_observed=0)
        clean = all_answers(circuit, log_evidence, observed)
        if spoil == "contradiction":
            observed[1, 2] = 3
        else:
            log_evidence[1, 2] = {"all banned": -INF, "nan": math.nan, "infinite": INF}[spoil]
        posterior = circuit.evaluate(log_evidence, observed)
        spoiled = all_answers(circuit, log_evidence, observed)
        assert posterior.impossible.tolist() == [False, True, False]
        assert spoiled["log_partition"][1] == -INF
        for name, answer in spoiled.items():
            torch.testing.assert_close(answer[[0, 2]], clean[name][[0, 2]])
            assert name == "log_partition" or answer.isfinite().all()
        torch.testing.assert_close(spoiled["token_marginals"].sum(-1), torch.ones(3, 5))
        prior = all_answers(circuit, torch.zeros(1, 5, 4), None)
        torch.testing.assert_close(spoiled["latent_posterior"][1:2], prior["latent_posterior"])

    def test_evidence_of_none_of_the_tokens_that_a_circuit_has_gives_none_of_them(self):
        emission = torch.tensor([[[0.4, 0.6], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])  # token 1 alone at the end
        circuit = HMM(torch.tensor([0.5, 0.5]), torch.full((2, 2), 0.5), emission)
        log_evidence = torch.zeros(1, 2, 1)  # of a model that has token 0 alone
        assert circuit.evaluate(log_evidence).impossible
        assert circuit.token_marginals(log_evidence)[0, :, 0].tolist() == [1, 0]


class TestRowsAreAlone:
    def test_answers_do_not_depend_on_batch_mates(self, make_circuit):
        circuit = make_circuit(num_positions=8, num_latents=16, vocab_size=50, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 9, 0, sharpness=5)
        together = all_answers(circuit, log_evidence, observed)
        for row in range(9):
            alone = all_answers(circuit, log_evidence[row : row + 1], observed[row : row + 1])
            for name, answer in alone.items():
                torch.testing.assert_close(answer, together[name][row : row + 1], rtol=1e-5, atol=1e-6)

    def test_many_rows_are_taken_in_parts(self, make_circuit):
        circuit = make_circuit(num_positions=8, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 100, 0, share_observed=0.1)
        assert (observed < 0).sum() > 512
        torch.testing.assert_close(
            circuit.token_marginals(log_evidence, observed)[:5], circuit.token_marginals(log_evidence[:5], observed[:5])
        )


class TestInterface:
    def test_it_is_a_circuit_of_the_decoding_loop(self, make_circuit):
        assert isinstance(make_circuit(), Circuit)

    def test_masked_evidence_alone_gives_the_same(self, make_circuit):
        for tied in (True, False):
            circuit = make_circuit(tied=tied)
            log_evidence, observed = random_evidence(circuit, 4, 0)
            dense, compact = (circuit.evaluate(e, observed) for e in (log_evidence, log_evidence[observed < 0]))
            assert compact.log_partition.equal(dense.log_partition)
            assert compact.token_marginals().equal(dense.token_marginals())
            latents = dense.max()
            coupled = circuit.couple(log_evidence, latents)[observed < 0]
            assert compact.couple_masked(latents).equal(coupled)
            assert dense.couple_masked(latents).equal(coupled)

    def test_a_backbone_may_know_fewer_tokens(self, make_circuit):
        circuit = make_circuit(vocab_size=6)
        log_evidence, observed = random_evidence(circuit, 2, 0)
        fewer, padded = log_evidence[..., :4], log_evidence.clone()
        padded[..., 4:] = -INF
        observed = observed.clamp(max=3)
        torch.testing.assert_close(circuit.log_partition(fewer, observed), circuit.log_partition(padded, observed))
        torch.testing.assert_close(
            circuit.token_marginals(fewer, observed), circuit.token_marginals(padded, observed)[..., :4]
        )
        assert circuit.couple(fewer, circuit.max_latents(fewer, observed)).shape == fewer.shape

    def test_bfloat16_evidence_and_emission_are_close(self, make_circuit):
        circuit = make_circuit(num_positions=8, num_latents=16, vocab_size=50, dtype=torch.float32)
        log_evidence, observed = random_evidence(circuit, 4, 0)
        exact = circuit.token_marginals(log_evidence.bfloat16().float(), observed)
        torch.testing.assert_close(circuit.token_marginals(log_evidence.bfloat16(), observed), exact)
        narrow = circuit.to(torch.bfloat16)
        assert narrow.emission.dtype == torch.bfloat16
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.token_marginals(log_evidence, observed), exact, rtol=0, atol=2e-2)

    def test_a_double_circuit_answers_in_double(self, make_circuit):
        circuit = make_circuit(dtype=torch.float32).to(torch.float64)
        log_evidence, observed = random_evidence(circuit, 2, 0)
        for name, answer in all_answers(circuit, log_evidence.float(), observed).items():
            assert answer.dtype == (torch.int64 if name in ("max", "sample") else torch.float64)

    def test_evidence_is_left_unchanged(self, make_circuit):
        circuit = make_circuit()
        log_evidence, observed = random_evidence(circuit, 2, 0)
        before = log_evidence.clone(), observed.clone()
        all_answers(circuit, log_evidence, observed)
        circuit.couple(log_evidence, torch.zeros(2, 4, dtype=torch.long))
        assert log_evidence.equal(before[0])
        assert observed.equal(before[1])

    def test_identity_follows_the_tables_and_not_the_dtype(self, make_circuit):
        circuit = make_circuit(dtype=torch.float32)
        assert circuit.to(torch.float64).identity == circuit.identity == make_circuit(dtype=torch.float32).identity
        assert make_circuit(1, dtype=torch.float32).identity != circuit.identity

    @pytest.mark.parametrize(
        ("shape", "observed"),
        [((2, 5, 4), None), ((2, 4, 5), None), ((3, 4), None), ((3, 4), (2, 4)), ((2, 4, 4), (1, 4))],
    )
    def test_evidence_of_another_shape_is_refused(self, make_circuit, shape, observed):
        observed = observed and torch.full(observed, -1)
        with pytest.raises(ValueError, match="evidence"):
            make_circuit().evaluate(torch.zeros(shape), observed)

    @pytest.mark.parametrize(
        "tables",
        [
            ((3,), (3, 3), (3, 4), None),
            ((3,), (2, 3, 3), (4, 3, 4), None),
            ((3,), (3, 2), (3, 4), 5),
            ((3,), (3, 3), (4, 4), 5),
            ((3,), (4, 3, 3), (3, 4), 3),
        ],
    )
    def test_tables_that_do_not_belong_together_are_refused(self, tables):
        *shapes, num_positions = tables
        with pytest.raises(ValueError, match="circuit"):
            HMM(*(torch.ones(shape) for shape in shapes), num_positions)
