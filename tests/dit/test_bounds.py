"""Bounds at given noise: the official code's, and what they are by definition."""

import math

import pytest
import torch

from lm_eval_codd.dit.processes import D3PM, DUO, MDLM, SEDD, Level
from lm_eval_codd.dit.schedules import Schedule

from .conftest import distance

GOLDENS = {
    "duo": "nelbo_duo_base_ch-1",
    "mdlm": "nelbo_mdlm_ch-1",
    "sedd": "nelbo_sedd_ch-1",
    "d3pm": "nelbo_d3pm_mdlm",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algo", GOLDENS)
class TestOfficial:
    def test_log_x_theta(self, golden, of_algo, algo, dtype):
        data = golden(GOLDENS[algo])
        log_x = of_algo(algo, dtype).log_x_theta(data["xt"], data["sigma"].flatten())
        assert distance(log_x, data["log_x_theta"]) < 2e-5

    def test_nats_per_token(self, golden, of_algo, algo, dtype):
        data = golden(GOLDENS[algo])
        assert distance(of_algo(algo, dtype).nelbo(data["x0"], data["xt"], data["t"]), data["nll_per_token"]) < 1e-4

    def test_nats_and_perplexity_at_times_spread_over_the_rows(self, golden, of_algo, algo, dtype):
        data = golden(GOLDENS[algo])
        number = len(data["seeded_u_t"])
        t = (1 - 1e-3) * ((data["seeded_u_t"] + torch.arange(number)) / number % 1) + 1e-3
        if algo == "d3pm":
            t = ((t * 1000).floor() + 1) / 1000
        nats = of_algo(algo, dtype).nelbo(data["x0"], data["seeded_xt"], t)
        assert distance(nats, data["seeded_nll"]) < 1e-4
        assert float(nats.mean().exp()) == pytest.approx(float(data["seeded_ppl"]), rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_likelihood_of_ar(golden, of_algo, dtype):
    data = golden("nelbo_ar")
    nats = of_algo("ar", dtype).nelbo(data["x0"])
    assert distance(nats, data["nll_per_token"]) < 1e-4
    assert float(nats.mean().exp()) == pytest.approx(float(data["ppl"]), rel=1e-4)


@pytest.mark.parametrize("file", ["nelbo_d3pm_ch-1", "nelbo_d3pm_main"])
def test_the_official_bound_of_d3pm_is_wrong_where_a_token_is_masked(golden, of_algo, file):
    data = golden(file)
    masked = data["xt"] == 30
    nats = of_algo("d3pm").nelbo(data["x0"], data["xt"], data["t"])
    assert (nats - data["nll_per_token"])[masked].abs().min() > 0.1
    assert nats.min() >= 0


def position(row: torch.Tensor, z: int, x0: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return row.double().log()[None], torch.tensor([x0]), torch.tensor([z])


def level(t: float, schedule: Schedule) -> Level:
    time = torch.tensor([t], dtype=torch.float64)
    return Level(time, schedule.alpha(time), schedule.slope(time))


@pytest.mark.parametrize("schedule", [Schedule("log-linear"), Schedule("cosine")])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
class TestLimit:
    """The bounds in continuous time are KL(q(s|t, x0) || p_theta(s|t)) / (t - s) for s just before t."""

    STEP = 1e-6

    def rate(self, process, log_x, x0, z, t, schedule) -> float:
        time = torch.tensor(t, dtype=torch.float64)
        a_t, a_s = schedule.alpha(time), schedule.alpha(time - self.STEP)
        clean = torch.zeros_like(log_x).scatter(-1, x0[:, None], 1.0)
        true = process.posterior(clean, z, a_s, a_t)
        ours = process.posterior(process.log_clean(log_x).exp(), z, a_s, a_t)
        true, ours = true / true.sum(), ours / ours.sum()
        return float((true * (true.log() - ours.log()).where(true > 0, 0)).nansum() / self.STEP)

    @pytest.mark.parametrize(("z", "x0"), [(2, 2), (2, 0), (4, 1)])
    def test_duo(self, t, schedule, z, x0):
        process = DUO(5)
        log_x, x0, z = position(torch.tensor([0.3, 0.1, 0.25, 0.15, 0.2]), z, x0)
        bound = float(process.bound(log_x, x0, z, level(t, schedule)))
        assert bound == pytest.approx(self.rate(process, log_x, x0, z, t, schedule), rel=1e-3, abs=1e-3)

    def test_mdlm_and_sedd_of_the_same_prediction(self, t, schedule):
        process, row = MDLM(5, 3), torch.tensor([0.3, 0.1, 0.25, 1e-300, 0.35], dtype=torch.float64)
        log_x, x0, z = position(row, 3, 1)
        bound = float(process.bound(log_x, x0, z, level(t, schedule)))
        assert bound == pytest.approx(self.rate(process, log_x, x0, z, t, schedule), rel=1e-3)
        scores = process.log_score(log_x, level(t, schedule).alpha)
        assert float(SEDD(5, 3).bound(scores, x0, z, level(t, schedule))) == pytest.approx(bound, rel=1e-9)


def test_d3pm_that_knows_nothing_has_one_log_v_over_the_grid_and_one_at_its_end():
    """The mean over all steps, exactly; the official code's formula gives -8.45 in place of 1.939."""
    size, process, schedule = 7, D3PM(7, 6), Schedule("log-linear")
    log_x = torch.full((1, size), -math.log(size), dtype=torch.float64)
    x0, z = torch.tensor([2]), torch.tensor([6])
    levels = [level((step + 1) / 1000, schedule) for step in range(1, 1000)]
    mean = sum(float((1 - each.alpha) * process.bound(log_x, x0, z, each)) for each in levels) / len(levels)
    assert mean == pytest.approx(1.939, abs=5e-4)
    assert float(D3PM.reconstruction(log_x, x0)) == pytest.approx(math.log(size))


def test_a_position_without_noise_costs_nothing_under_a_mask_process(of_algo):
    x0, t = torch.tensor([[1, 2, 3]]), torch.tensor([0.4])
    for algo in ("mdlm", "sedd"):
        assert torch.equal(of_algo(algo).nelbo(x0, x0, t), torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("algo", GOLDENS)
@pytest.mark.parametrize("t", [-0.1, 0.0, 1.1, torch.nan])
def test_times_that_are_none_are_refused(of_algo, algo, t):
    x0 = torch.tensor([[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match=rf"`t` holds .*; the times of {algo} are above 0(.001)? and at most 1$"):
        of_algo(algo).nelbo(x0, x0, torch.tensor([0.5, t]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_d3pm_has_a_bound_from_its_second_step_on(of_algo, dtype):
    x0, z = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 30, 3]])
    assert of_algo("d3pm").nelbo(x0, z, torch.tensor([0.002], dtype=dtype)).isfinite().all()
    with pytest.raises(ValueError, match=r"`t` holds 0.001 to 0.001; the times of d3pm are above 0.001"):
        of_algo("d3pm").nelbo(x0, z, torch.tensor([0.001], dtype=dtype))


@pytest.mark.parametrize("algo", GOLDENS)
def test_noise_and_times_of_other_rows_are_refused(of_algo, algo):
    model, x0, two = of_algo(algo), torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([0.2, 0.4])
    for call, said in (
        (lambda: model.nelbo(x0, x0[:, :2], two), "`z` has shape [2, 2], and `x0` [2, 3]"),
        (lambda: model.nelbo(x0, x0, two[:1]), "`t` has shape [1], and there are 2 rows; give one a row"),
        (lambda: model.log_x_theta(x0, two[:1]), "`sigma` has shape [1], and there are 2 rows; give one a row"),
        (lambda: model.logits(x0, two[:1]), "`sigma` has shape [1], and there are 2 rows; give one a row"),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert said in str(caught.value)


def test_pieces_of_any_size_give_the_same(golden, of_algo, monkeypatch):
    data = golden(GOLDENS["duo"])
    for algo in GOLDENS:
        model = of_algo(algo, "float64")
        whole = model.nelbo(data["x0"], data["xt"], data["t"])
        with monkeypatch.context() as patched:
            patched.setattr("lm_eval_codd.dit.model._PIECE_BYTES", 8 * 31 * 5)
            assert model.piece == 5
            assert torch.allclose(model.nelbo(data["x0"], data["xt"], data["t"]), whole, atol=1e-12)


def test_gradients_reach_every_weight(folder, golden):
    """Training takes the same function."""
    import lm_eval_codd as codd

    data = golden(GOLDENS["duo"])
    for algo in GOLDENS:
        model = codd.load_dit(folder("hf-duo-tiny"), algo, device="cpu")
        model.network.requires_grad_(True)
        model.nelbo(data["x0"], data["xt"], data["t"]).mean().backward()
        without = [name for name, weight in model.network.named_parameters() if weight.grad is None]
        assert without == ([n for n in without if n.startswith("sigma_map.mlp.0")] if algo == "mdlm" else [])
