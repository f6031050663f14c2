"""Samples: the authors' seeded sets from a handed generator, and rows that draw for themselves."""

import math

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.latent.noise import OfRows
from lm_eval_codd.latent.planned import lowest

from .conftest import cases


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ids(samples) -> list[list[int]]:
    return [sample.tokens for sample in samples]


class TestOfficialSets:
    @pytest.mark.parametrize("case", [*cases("v3.sample"), *cases("lm1b.sample")], ids=lambda case: case["name"])
    def test_of_one_step(self, load, golden, case):
        model = load(case["name"].split(".")[0])
        options = {name: case[name] for name in ("temperature", "top_p", "z_scale")}
        samples = codd.sample_coupling(model, 4, generator=seeded(case["seed"]), **options)
        assert ids(samples) == golden[f"{case['name']}.tokens"].tolist()
        assert [sample.num_forward for sample in samples] == [1] * 4

    @pytest.mark.parametrize("case", cases("v3.p2"), ids=lambda case: case["name"])
    def test_of_path_planning(self, load, golden, case):
        options = {name: case[name] for name in ("steps", "tau", "eta", "z_scale")}
        samples = codd.sample_coupling(load("latent_mdm"), 4, generator=seeded(case["seed"]), **options)
        assert ids(samples) == golden[f"{case['name']}.tokens"].tolist()
        assert [sample.num_forward for sample in samples] == [case["steps"]] * 4

    @pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.7, 0.95), (1.0, 1.0)])
    def test_of_a_flow(self, load, golden, temperature, top_p):
        samples = codd.sample_coupling(load("stage_a"), 4, temperature, top_p, 0.8, seeded(38))
        assert ids(samples) == golden[f"v3.nf.sample_t{temperature}_p{top_p}"].tolist()

    def test_what_is_masked_again(self, golden):
        assert torch.equal(lowest(golden["v3.topk.scores"], golden["v3.topk.cutoff"][:, 0]), golden["v3.topk.mask"])


SETTINGS = [
    ("v3", {}),
    ("v3", {"temperature": 0.0}),
    ("lm1b", {"top_p": 1.0, "temperature": 1.0}),
    ("stage_a", {}),
    ("latent_mdm", {"steps": 4, "tau": 0.7, "eta": 1.5}),
]


class TestRowsAreAlone:
    @pytest.mark.parametrize(("kind", "options"), SETTINGS)
    def test_whatever_the_batch_and_by_their_index(self, load, kind, options):
        model = load(kind)
        together = codd.sample_coupling(model, 5, **options)
        assert codd.sample_coupling(model, 5, batch_size=2, **options) == together
        assert codd.sample_coupling(model, 2, indices=[3, 1], **options) == [together[3], together[1]]
        assert len({tuple(sample.tokens) for sample in together}) == 5
        assert codd.sample_coupling(model, 5, seed=7, **options) != together

    def test_draws_have_the_law_of_their_weights(self, times):
        number = times(4000, 100_000)
        weights = torch.tensor([0.5, 0.0, 0.3, 0.2]).expand(number, 1, 4)
        noise = OfRows(1, range(number), torch.device("cpu"))
        drawn = noise.choose(weights)[:, 0].bincount(minlength=4) / number
        error = 4 * 0.5 / math.sqrt(number)
        assert drawn[1] == 0 and torch.allclose(drawn, weights[0, 0], atol=error)
        latents = noise.gaussian(2, 3).double()
        assert latents.shape == (number, 2, 3)
        assert latents.mean().abs() < error and abs(latents.var() - 1) < 2 * error
        assert (latents.flatten(1).T.corrcoef() - torch.eye(6)).abs().max() < 4 * error


class TestWhatIsGiven:
    def test_stays(self, load):
        model = load("latent_mdm")
        start = torch.full((2, 16), model.mask_id)
        start[0, 3:6], start[1, 0] = torch.tensor([5, 6, 7]), 9
        for eta in (0.0, 3.0):
            samples = codd.sample_coupling(model, 2, steps=6, tau=1.0, eta=eta, start=start)
            assert samples[0].tokens[3:6] == [5, 6, 7] and samples[1].tokens[0] == 9
            assert all(model.mask_id not in sample.tokens for sample in samples)

    def test_logits_that_are_no_numbers_are_bounded(self, edited):
        def spoil(content):
            content["ema_state_dict"]["out_proj.bias"][:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])

        model = codd.load_coupling(edited("v3", spoil), device="cpu")
        assert ids(codd.sample_coupling(model, 1, temperature=0.0)) == [[1] * 16]


class TestMistakes:
    @pytest.mark.parametrize(
        ("kind", "options", "said"),
        [
            ("v3", {"temperature": -1}, "`temperature=-1` is out of range; it must be 0 or more"),
            ("v3", {"top_p": 0}, "`top_p=0` is out of range; it must be above 0"),
            ("v3", {"z_scale": float("nan")}, "`z_scale=nan`"),
            ("v3", {"num_samples": 0}, "`num_samples=0`"),
            ("v3", {"batch_size": 0}, "`batch_size=0`"),
            ("v3", {"steps": 4}, "`steps=4` is not read by"),
            ("lm1b", {"eta": 2.0}, "a lm1b; it has z_scale, temperature, top_p"),
            ("latent_mdm", {}, "`steps` is needed"),
            ("latent_mdm", {"steps": 0}, "`steps=0`"),
            ("latent_mdm", {"steps": 4, "top_p": 0.5}, "`top_p=0.5` is not read by"),
            ("latent_mdm", {"steps": 4, "start": torch.zeros(2, 3)}, "`start` has shape [2, 3]; use [2, 16]"),
            ("v3", {"start": torch.zeros(2, 16)}, "`start` is of latent_mdm"),
            ("v3", {"indices": [1]}, "give one a row"),
            ("v3", {"generator": seeded(1), "batch_size": 2}, "do not go with `generator`"),
        ],
    )
    def test_are_said_in_one_line(self, load, kind, options, said):
        with pytest.raises(ValueError) as caught:
            codd.sample_coupling(load(kind), **({"num_samples": 2} | options))
        assert said in str(caught.value) and "\n" not in str(caught.value)

    def test_of_logits(self, load):
        with pytest.raises(ValueError, match=r"`z` has shape \[2, 16, 11\]"):
            load("v3").logits(torch.zeros(2, 16, 11))
        with pytest.raises(ValueError, match="read by latent_mdm alone"):
            load("v3").logits(torch.zeros(2, 16, 12), torch.zeros(2, 16))
        with pytest.raises(ValueError, match="`tokens` are missing"):
            load("latent_mdm").logits(torch.zeros(2, 16, 12))
        with pytest.raises(ValueError, match="ids from 0 to 211"):
            load("latent_mdm").logits(torch.zeros(1, 16, 12), torch.tensor([[0] * 15 + [211]]))


class TestWhatItIsNot:
    @pytest.mark.parametrize("name", ["v3", "latent_mdm"])
    def test_a_prompt_or_a_likelihood_is_an_error_of_one_line(self, load, name):
        message = r"^`backbone` is a CouplingModel, which answers no prompts .*\(a Coupling Model is sampled by [^\n]*$"
        with pytest.raises(TypeError, match=message):
            codd.generate(load(name), [[1]], codd.DecodingConfig())
        with pytest.raises(TypeError, match=message):
            codd.log_likelihood(load(name), [([1], [2])], codd.LikelihoodConfig())
