"""Gaussian noise under the ids, and the two losses on it, against the official code and against what they are."""

import math

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.dit.transform import alpha_of

from .conftest import distance, random_dit

# Name -> ids and range of the official table of 100,000 nodes, and the ids of its alpha.
TABLES = {"gpt2": (50257, -5, -1, 50257), "bert-base-uncased": (30523, -4, 6, 30522)}


@pytest.mark.parametrize("name", TABLES)
def test_the_integral_is_the_official_table(golden, name):
    size, low, high, of_alpha = TABLES[name]
    data, spacing = golden("diffusion_transform"), (high - low) / 99_999
    p, slope = codd.diffusion_transform(data[f"{name}_gamma"], size)
    # The table answers for the nearest node.
    assert ((p - data[f"{name}_pt"]).abs() <= slope.abs() * spacing / 2 * 1.01 + 1e-9).all()
    node = low + ((data[f"{name}_gamma"] - low) / spacing + torch.tensor([[-1e-6], [1e-6]])).round() * spacing
    nearest = codd.diffusion_transform(node, size)[0]  # on both sides of a tie
    off = (nearest - data[f"{name}_pt"]).abs().amin(dim=0)
    assert float(off.max()) < 5e-12
    best = nearest.gather(0, (nearest - data[f"{name}_pt"]).abs().argmin(dim=0)[None])[0]
    assert torch.allclose(alpha_of(best, of_alpha), data[f"{name}_alpha"], atol=1e-11, rtol=0)


@pytest.mark.parametrize("size", [2, 32, 50258])
def test_it_is_a_probability_at_all_ends(size):
    p, _ = codd.diffusion_transform(torch.tensor([-100.0, -12, -8, -5, 40, 80, 100]), size)
    assert ((p >= 1 / size) & (p <= 1)).all()


@pytest.mark.parametrize("size", [2, 32, 50258])
def test_the_derivative_is_that_of_the_integral(size):
    gamma = torch.linspace(-5, 3, 9, dtype=torch.float64)
    step = 1e-5
    difference = codd.diffusion_transform(gamma + step, size)[0] - codd.diffusion_transform(gamma - step, size)[0]
    assert torch.allclose(codd.diffusion_transform(gamma, size)[1], difference / (2 * step), atol=1e-8)


def test_of_two_ids_it_is_the_normal_distribution():
    """The clean one wins where the difference of two normal numbers is below mu: Phi(mu / sqrt 2)."""
    gamma = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    mu = torch.exp(-gamma / 2)
    assert torch.allclose(codd.diffusion_transform(gamma, 2)[0], torch.special.ndtr(mu / math.sqrt(2)), atol=1e-12)


@pytest.fixture
def table(golden):
    """p of the recorded toy table, at the nearest node in the dtype that is asked in."""
    data = golden("train_curriculum")

    def p(gamma):
        return data["toy_pt"][(gamma[..., None] - data["toy_gammas"].to(gamma.dtype)).abs().argmin(-1)]

    return p


class TestCurriculum:
    def loss(self, model, data, **options):
        ends = (float(data[name]) for name in ("gamma_min", "gamma_max", "tau"))
        return codd.curriculum_loss(model, data["x0"], data["t"], data["eps"], *ends, **options)

    def test_it_is_the_official_one_with_the_recorded_table(self, golden, load, table):
        data = golden("train_curriculum")
        assert distance(self.loss(load("hf-duo-tiny"), data, p=table), data["loss_per_token"]) < 1e-4

    def test_it_is_not_with_the_integral(self, golden, load):
        """The table is coarser than the difference that is taken of it."""
        data = golden("train_curriculum")
        assert float(self.loss(load("hf-duo-tiny"), data).mean()) == pytest.approx(3.55, abs=0.01)

    def test_a_finer_table_comes_to_the_integral(self, golden, load):
        data, model = golden("train_curriculum"), load("hf-duo-tiny", dtype="float64")
        data = data | {"t": data["t"].double(), "eps": data["eps"].double()}
        exact = self.loss(model, data)
        assert distance(self.loss(model, data, p=lambda gamma: codd.diffusion_transform(gamma, 31)[0]), exact) < 2e-3

    def test_a_sharp_softmax_gives_the_bound_of_the_ids_themselves(self):
        model = random_dit("duo", vocab_size=7, length=5)
        generator = torch.Generator().manual_seed(0)
        x0, eps = torch.randint(7, (3, 5), generator=generator), torch.randn(3, 5, 7, generator=generator).double()
        t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
        loss = codd.curriculum_loss(model, x0, t, eps, -4.0, 4.0, 1e-9)
        gamma = -4 + 8 * t
        p, slope = codd.diffusion_transform(gamma, 7)
        alpha, slope = alpha_of(p, 7), 8 * 7 / 6 * slope
        signal, noise = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
        z = (signal[:, None, None] * torch.nn.functional.one_hot(x0, 7) + noise[:, None, None] * eps).argmax(-1)
        # The bound is linear in the derivative of alpha, and is told t by alpha alone.
        model.schedule = type("At", (), {"alpha": lambda self, t: alpha, "slope": lambda self, t: slope})()
        assert torch.allclose(loss, model.nelbo(x0, z, t), atol=1e-9)

    @pytest.mark.parametrize("size", [5, 50])
    def test_ends_without_noise_and_without_signal_cost_nothing(self, size):
        model = random_dit("duo", vocab_size=size, length=3)
        eps = torch.randn(2, 3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        t = torch.tensor([0.0, 1.0], dtype=torch.float64)
        loss = codd.curriculum_loss(model, torch.tensor([[1, 2, 3], [0, 4, 4]]), t, eps, -12, 80, 1e-3)
        assert torch.allclose(loss, torch.zeros(2, 3, dtype=torch.float64), atol=1e-6)

    def test_another_algorithm_is_refused(self):
        model = random_dit("mdlm", vocab_size=7, length=5)
        with pytest.raises(ValueError, match="DUO's alone"):
            codd.curriculum_loss(model, torch.zeros(1, 5).long(), torch.ones(1), torch.zeros(1, 5, 7), -4, 4, 1e-3)


class TestDistillation:
    @pytest.fixture
    def teacher(self, folder, golden):
        model = codd.load_dit(folder("hf-duo-tiny"), dtype="float32", device="cpu")
        for weight in model.network.parameters():
            weight.mul_(float(golden("train_dcd")["teacher_scale"]))
        return model

    @pytest.mark.parametrize("kind", ["kl-bwd", "kl-fwd"])
    @pytest.mark.parametrize("has_table", [True, False])
    def test_it_is_the_official_one(self, golden, load, teacher, table, kind, has_table):
        data = golden("train_dcd")
        numbers = (float(data["dt"]), data["eps"], float(data["gamma_min"]), float(data["gamma_max"]))
        p = table if has_table else None
        loss = codd.distillation_loss(load("hf-duo-tiny"), teacher, data["x0"], data["t"], *numbers, kind, p)
        assert distance(loss, data[f"loss_{kind}"]) < (1e-5 if has_table else 1e-3)

    def test_only_the_student_has_a_gradient(self, golden, folder, teacher):
        data, student = golden("train_dcd"), codd.load_dit(folder("hf-duo-tiny"), device="cpu")
        for model in (student, teacher):
            model.network.requires_grad_(True)
        codd.distillation_loss(student, teacher, data["x0"], data["t"], 0.1, data["eps"], -4, -1).mean().backward()
        assert student.network.vocab_embed.embedding.grad is not None
        assert teacher.network.vocab_embed.embedding.grad is None

    def test_an_unknown_kind_is_named(self, load):
        model = load("hf-duo-tiny")
        with pytest.raises(ValueError, match="`kind=kl` is not known"):
            codd.distillation_loss(model, model, torch.zeros(1, 5), torch.ones(1), 0.1, torch.zeros(1), -4, -1, "kl")
