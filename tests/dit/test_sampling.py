"""Samplers: the official code's steps from the same random numbers, and the laws of this project's own draws."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.dit import psi_profile
from lm_eval_codd.dit.samplers.draws import by_inverse, by_race
from lm_eval_codd.dit.samplers.nucleus import truncated
from lm_eval_codd.dit.schedules import Schedule, sampling_times
from tests.device_waits import Operations

from .conftest import distance, random_dit

# File -> (algorithm, what is asked for beside what a setting's name says).
GOLDENS = {
    "sample_duo": ("duo", {}),
    "sample_duo_nucleus_main_x0": ("duo", {"p_nucleus": 0.9}),
    "sample_mdlm": ("mdlm", {}),
    "sample_mdlm_ch1_float32": ("mdlm", {}),
    "sample_mdlm_analytic": ("mdlm", {"predictor": "analytic"}),
    "sample_mdlm_original_repo": ("mdlm", {}),
    "sample_sedd": ("sedd", {"predictor": "analytic"}),
    "sample_d3pm": ("d3pm", {}),
    "sample_d3pm_original_repo": ("d3pm", {"noise_removal": "greedy"}),
    "sample_psi": ("", {"predictor": "psi"}),
}
# Recorded before visible tokens are carried over, and up to a scale.
UNSCALED = ("sample_mdlm_ch1_float32", "sample_d3pm", "sample_d3pm_original_repo", "sample_mdlm_original_repo")
# The chance to leave the mask is another one there (t for 1 - alpha), by 1e-3.
OTHER_CHANCE = "ddpm_cache"
MASK = 30
FIRST = torch.tensor([[1], [3]])


def settings(file: str, name: str) -> tuple[str, dict]:
    algo, options = GOLDENS[file]
    options = dict(options)
    if not algo:
        algo = "mdlm" if name.startswith("mdlm") else "duo"
    if "greedy" in name or name.startswith("ddpm"):
        options["noise_removal"] = "greedy"
    if "none" in name:
        options["noise_removal"] = "none"
    if name.startswith("analytic"):
        options["predictor"] = "analytic"
    return algo, options


def replay(model, data: dict, options: dict):
    """Samples from the recorded numbers, the weights of each step, and the ids before and after it."""
    if "timesteps" in data:
        options = options | {"psi": (data["timesteps"], data["kappas"])}
    weights, ids = [], []

    def on_step(step, q, tokens):
        assert step == len(weights)
        weights.append(q)
        ids.append(tokens)

    samples = codd.sample_dit(
        model,
        *data["tokens"].shape,
        int(data["steps"]),
        prior=data.get("prior"),
        uniforms=lambda step: data["u"][step],
        use_float64=data["u"].dtype == torch.float64,
        on_step=on_step,
        **options,
    )
    begin = data.get("prior", torch.full_like(data["tokens"], MASK))
    return samples, weights, [begin, *ids]


@pytest.mark.parametrize("file", GOLDENS)
def test_official_samples_from_the_same_numbers(golden, of_algo, file):
    arrays = golden(file)
    for name in sorted({key.split("__")[0] for key in arrays}):
        data = {key.split("__")[1]: value for key, value in arrays.items() if key.startswith(f"{name}__")}
        algo, options = settings(file, name)
        samples, weights, ids = replay(of_algo(algo), data, options)
        assert [sample.tokens for sample in samples] == data["tokens"].tolist(), name
        assert len(weights) == len(data["q"])
        for ours, theirs, before in zip(weights, data["q"], ids, strict=False):
            if file in UNSCALED:
                masked = before == MASK
                ours, theirs = (each[masked] / each[masked].sum(-1, keepdim=True) for each in (ours, theirs))
            assert not len(ours) or distance(ours, theirs) < (2e-3 if OTHER_CHANCE in name else 2e-5), name

        changes = [(before != after) for before, after in pairwise(ids)][: int(data["steps"])]
        is_cached = algo == "mdlm" and options.get("predictor", "ancestral") == "ancestral"
        seen = [1 + sum(bool(change[row].any()) for change in changes) for row in range(len(samples))]
        if is_cached and options.get("noise_removal") == "greedy":
            seen = [number + (not bool(changes[-1][row].any())) for row, number in enumerate(seen)]
        assert [sample.num_forward for sample in samples] == (seen if is_cached else [int(data["nfe"])] * len(samples))
        if is_cached and not name.startswith("ddpm_T"):  # which has no cache
            assert 1 + sum(bool(change.any()) for change in changes) == int(data["nfe"])


def test_official_samples_of_ar_from_the_same_noise(golden, of_algo):
    arrays = golden("sample_ar")
    for name in sorted({key.split("__")[0] for key in arrays}):
        tokens, noise = arrays[f"{name}__tokens"], arrays[f"{name}__gumbel"]
        samples = codd.sample_dit(
            of_algo("ar"), *tokens.shape, prior=tokens[:, :1], uniforms=lambda step, noise=noise: noise[:, step]
        )
        assert [sample.tokens for sample in samples] == tokens.tolist()
        assert [sample.num_forward for sample in samples] == [tokens.shape[1] - 1] * len(tokens)


class TestRowsAreAlone:
    SETTINGS = (
        ("duo", {}),
        ("duo", {"noise_removal": "none", "p_nucleus": 0.8}),
        ("mdlm", {}),
        ("mdlm", {"noise_removal": "greedy"}),
        ("mdlm", {"noise_removal": "none"}),
        ("mdlm", {"predictor": "analytic"}),
        ("sedd", {"predictor": "analytic"}),
        ("sedd", {}),
        ("d3pm", {}),
        ("ar", {}),
        ("mdlm", {"use_float64": False}),
        ("ar", {"use_float64": False}),
    )

    @pytest.mark.parametrize(("algo", "options"), SETTINGS)
    def test_whatever_the_batch(self, algo, options):
        model = random_dit(algo, vocab_size=11, length=9)
        together = codd.sample_dit(model, 5, 9, 7, **options)
        assert codd.sample_dit(model, 5, 9, 7, batch_size=2, **options) == together
        assert codd.sample_dit(model, 3, 9, 7, **options) == together[:3]
        assert len({tuple(sample.tokens) for sample in together}) > 1

    @pytest.mark.parametrize(("algo", "options"), [each for each in SETTINGS if each[0] != "ar"])
    def test_whoever_looks_on_changes_nothing(self, algo, options):
        model = random_dit(algo, vocab_size=11, length=9)
        seen = []
        looked_on = codd.sample_dit(
            model, 5, 9, 7, on_step=lambda step, q, tokens: seen.append((q.sum(-1), tokens)), **options
        )
        assert looked_on == codd.sample_dit(model, 5, 9, 7, **options)
        if options.get("noise_removal") != "greedy":
            assert seen[-1][1].tolist() == [sample.tokens for sample in looked_on]

    def test_another_seed_gives_others(self):
        model = random_dit("mdlm", vocab_size=11, length=9)
        assert codd.sample_dit(model, 4, 9, 7) != codd.sample_dit(model, 4, 9, 7, seed=2)

    def test_pieces_of_any_size_give_the_same(self, monkeypatch):
        model = random_dit("duo", vocab_size=11, length=9)
        whole = codd.sample_dit(model, 4, 9, 7)
        monkeypatch.setattr("lm_eval_codd.dit.model._PIECE_BYTES", 8 * 11 * 4)
        assert codd.sample_dit(model, 4, 9, 7) == whole


def plug_in(algo: str, x: torch.Tensor, z: int, a_t: float, a_s: float, mask: int) -> torch.Tensor:
    """[V] q(s | t, x) of one position by Bayes' rule, the prediction in the place of the clean token."""
    size = len(x)
    prior = torch.full((size,), 1 / size).double() if algo == "duo" else torch.eye(size).double()[mask]
    kept = a_t / a_s
    likelihood = (1 - kept) * prior[z] + kept * torch.eye(size).double()[z]
    weights = likelihood * (a_s * x + (1 - a_s) * prior)
    return weights / weights.sum()


def final_law(model, steps: int, length: int) -> dict:
    """ids -> probability after all steps and the removal of noise, by enumeration of the chain."""
    mask = model.config.ids.mask
    states = list(product(range(model.vocab_size), repeat=length))
    times = sampling_times(steps)
    alphas = [float(alpha) for alpha in Schedule("log-linear").alpha(times)] + [1.0]
    law = {z: model.vocab_size**-length for z in states} if model.algo == "duo" else {(mask,) * length: 1.0}
    for a_t, a_s in pairwise(alphas):
        noisy = torch.tensor(list(law))
        level = -torch.tensor(a_t).log().double().expand(len(noisy))
        clean = model.log_x_theta(noisy, level).exp()
        after: dict = dict.fromkeys(states, 0.0)
        for row, (z, weight) in enumerate(law.items()):
            each = [plug_in(model.algo, clean[row, i], z[i], a_t, a_s, mask) for i in range(length)]
            for s in states:
                after[s] += weight * float(torch.stack([each[i][s[i]] for i in range(length)]).prod())
        law = {z: weight for z, weight in after.items() if weight > 0}
    return law


@pytest.mark.parametrize("algo", ["mdlm", "duo"])
@pytest.mark.parametrize("steps", [1, 3])
def test_own_draws_have_the_law_of_the_chain(algo, steps, times):
    model, number = random_dit(algo, vocab_size=4, length=2, mask_id=1), times(4000, 100_000)
    law = final_law(model, steps, 2)
    counts = dict.fromkeys(law, 0)
    for sample in codd.sample_dit(model, number, 2, steps):
        counts[tuple(sample.tokens)] += 1
    expected = {ids: number * weight for ids, weight in law.items() if number * weight > 5}
    chi_square = sum((counts[ids] - mean) ** 2 / mean for ids, mean in expected.items())
    assert chi_square < len(expected) + 4 * (2 * len(expected)) ** 0.5


@pytest.mark.parametrize("use_float64", [True, False])
def test_own_draws_of_ar_have_the_law_of_the_chain(use_float64, times):
    model, number = random_dit("ar", vocab_size=4, length=3), times(2000, 100_000)
    ids = torch.tensor([(0, a, b) for a in range(4) for b in range(4)])
    law = (-model.nelbo(ids).sum(1)).exp()
    counts = torch.zeros(16)
    for sample in codd.sample_dit(model, number, 3, use_float64=use_float64):
        counts[sample.tokens[1] * 4 + sample.tokens[2]] += 1
    usual = law * number > 5
    chi_square = ((counts - law * number) ** 2 / (law * number))[usual].sum()
    assert chi_square < usual.sum() + 4 * (2 * usual.sum()) ** 0.5


@pytest.mark.parametrize(
    ("algo", "options", "waits"), [("duo", {}, 1), ("mdlm", {}, 2), ("mdlm", {"psi": "pure-pc"}, 1)]
)
def test_a_step_waits_for_the_device_where_positions_are_chosen_and_rows_are_left_out(algo, options, waits):
    model = random_dit(algo, vocab_size=7, length=6)

    def asked(steps):
        given = {"predictor": "psi", "psi": psi_profile(model.schedule, steps, options["psi"])} if options else {}
        with Operations() as operations:
            codd.sample_dit(model, 2, 6, steps, noise_removal="none", **given)
        return operations.num_waits

    assert asked(5) - asked(4) == waits


class TestDraws:
    def test_by_inverse_takes_each_id_in_its_share_and_the_mask_last(self):
        weights = torch.tensor([[0.2, 0.5, 0.1, 0.2]], dtype=torch.float64).expand(6, -1)
        uniform = torch.tensor([0.05, 0.25, 0.35, 0.45, 0.55, 0.95], dtype=torch.float64)
        assert by_inverse(weights.clone(), uniform, 1)[0].tolist() == [0, 2, 3, 3, 1, 1]
        assert by_inverse(weights, uniform, None)[0].tolist() == [0, 1, 1, 1, 1, 3]

    def test_a_mask_below_zero_is_never_drawn(self):
        weights = torch.tensor([[0.4, -0.2, 0.8]], dtype=torch.float64).expand(3, -1)
        uniform = torch.tensor([0.1, 0.5, 1 - 2**-53], dtype=torch.float64)
        assert by_inverse(weights.clone(), uniform, 1)[0].tolist() == [0, 2, 2]
        assert (by_race(weights, torch.rand(3, 3, dtype=torch.float64)) != 1).all()

    def test_an_id_without_weight_is_never_drawn(self):
        weights = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]], dtype=torch.float64).expand(2, -1)
        ends = torch.tensor([2**-53, 1 - 2**-53], dtype=torch.float64)
        assert by_inverse(weights, ends, None)[0].tolist() == [1, 3]


def test_top_p_keeps_ids_while_the_mass_before_them_is_at_most_p():
    probabilities = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    assert torch.allclose(truncated(probabilities, 0.5), torch.tensor([[0, 2 / 3, 0, 1 / 3]]))
    assert torch.allclose(truncated(probabilities, 0.4), torch.tensor([[0.0, 1, 0, 0]]))
    assert truncated(probabilities, 1.0) is probabilities


class TestResults:
    def test_a_sample_is_the_pair_and_says_its_precision(self):
        model = random_dit("mdlm", vocab_size=5, length=4)
        tokens, num_forward = codd.sample_dit(model, 1, 4, 3)[0]
        assert len(tokens) == 4 and 1 < num_forward <= 4
        assert codd.sample_dit(model, 1, 4, 3)[0].precision == "float64"
        assert codd.sample_dit(model, 1, 4, 3, use_float64=False)[0].precision == "float32"

    def test_counts_may_come_out_of_arrays(self):
        model, counts = random_dit("mdlm", vocab_size=5, length=4), np.array([2, 4, 3])
        assert codd.sample_dit(model, *counts) == codd.sample_dit(model, 2, 4, 3)

    def test_no_mask_is_left_but_without_removal(self):
        for algo, predictor in (("mdlm", "ancestral"), ("sedd", "analytic"), ("d3pm", "ancestral")):
            model = random_dit(algo, vocab_size=5, length=8)
            samples = codd.sample_dit(model, 6, 8, 1, predictor=predictor)
            assert not any(model.mask_id in sample.tokens for sample in samples)

    def test_a_row_that_did_not_change_is_not_seen_again(self):
        samples = codd.sample_dit(random_dit("mdlm", vocab_size=5, length=2), 8, 2, 64)
        assert all(2 <= sample.num_forward <= 3 for sample in samples)

    @pytest.mark.parametrize("use_float64", [True, False])
    @pytest.mark.parametrize("algo", ["duo", "mdlm", "sedd", "d3pm", "ar"])
    def test_logits_that_are_not_finite_are_an_error(self, algo, use_float64):
        model = random_dit(algo, vocab_size=5, length=3)
        model.network.output_layer.linear.bias[2] = torch.nan
        with pytest.raises(ValueError, match="not finite"):
            codd.sample_dit(model, 2, 3, 2, prior=FIRST if algo == "ar" else None, use_float64=use_float64)

    def test_logits_that_rule_tokens_out_are_none(self):
        model = random_dit("ar", vocab_size=5, length=3)
        model.network.output_layer.linear.bias[[0, 2]] = -torch.inf
        assert all({*one.tokens[1:]} <= {1, 3} for one in codd.sample_dit(model, 2, 3, prior=FIRST))


class TestPrompts:
    @pytest.mark.parametrize(
        ("algo", "options"),
        [*TestRowsAreAlone.SETTINGS, ("duo", {"noise_removal": "greedy"}), ("duo", {"predictor": "psi"})],
    )
    def test_stay_and_rows_of_other_prompts_change_nothing(self, algo, options):
        model = random_dit(algo, vocab_size=11, length=9)
        if options.get("predictor") == "psi":
            options = {**options, "psi": psi_profile(model.schedule, 7, "pure-pc")}
        prompts = [(), (3, 1), (3, 1), (5,), (1, 2, 3, 4, 5, 6, 7, 8, 9)]
        indices = [2, 0, 1, 0, 0]
        samples = codd.sample_dit(model, 5, 9, 7, prompts=prompts, indices=indices, **options)
        for sample, prompt, index in zip(samples, prompts, indices, strict=True):
            assert tuple(sample.tokens[: len(prompt)]) == prompt
            assert codd.sample_dit(model, 1, 9, 7, prompts=[prompt], indices=[index], **options) == [sample]
        assert samples[0] == codd.sample_dit(model, 3, 9, 7, **options)[2]
        if options.get("noise_removal") != "greedy":  # which may take one token everywhere
            assert samples[1].tokens != samples[2].tokens

    @pytest.mark.parametrize(("algo", "steps"), [("mdlm", 1), ("mdlm", 4), ("ar", None)])
    def test_the_rest_has_the_models_law_behind_them(self, algo, steps, times):
        model, prompt, number = random_dit(algo, vocab_size=5, length=3), [3, 1], times(2000, 50_000)
        samples = codd.sample_dit(model, number, 3, steps, prompts=[prompt] * number)
        context = torch.tensor([prompt if algo == "ar" else [*prompt, model.mask_id]])
        expected = model.log_x_theta(context)[0, -1].exp()
        found = torch.bincount(torch.tensor([one.tokens[2] for one in samples]), minlength=5) / number
        assert ((found - expected).abs() < 4 * (expected * (1 - expected) / number).sqrt() + 1e-9).all()


class TestMistakes:
    @pytest.mark.parametrize(
        ("algo", "options", "said"),
        [
            ("mdlm", {"steps": None}, "`steps=None` must be a whole number"),
            ("mdlm", {"num_samples": 0}, "`num_samples=0`"),
            ("mdlm", {"length": 9}, "`length=9` is beyond the 8 tokens"),
            ("mdlm", {"predictor": "ancestal"}, "`predictor=ancestal` is not known"),
            ("mdlm", {"noise_removal": "gredy"}, "`noise_removal=gredy` is not known"),
            ("mdlm", {"p_nucleus": 0.0}, "`p_nucleus=0.0`"),
            ("duo", {"predictor": "analytic"}, "use ancestral or psi"),
            ("d3pm", {"predictor": "psi"}, "use ancestral"),
            ("mdlm", {"predictor": "psi"}, "`psi`"),
            ("mdlm", {"psi": (torch.ones(3), torch.ones(3))}, "belong together"),
            ("duo", {"predictor": "psi", "psi": (torch.ones(3), torch.ones(2))}, "both are [T + 1]"),
            ("duo", {"predictor": "psi", "psi": (torch.tensor([1.5, 1, 0]), torch.ones(3))}, "times between 0 and 1"),
            ("duo", {"predictor": "psi", "psi": (torch.tensor([1, 0, -0.1]), torch.ones(3))}, "times between 0 and 1"),
            ("sedd", {"predictor": "analytic", "noise_removal": "greedy"}, "does not go with predictor=analytic"),
            ("sedd", {"predictor": "analytic", "p_nucleus": 0.5}, "use predictor=ancestral"),
            ("mdlm", {"prior": torch.zeros(2, 3)}, "`prior` has shape [2, 3]"),
            ("mdlm", {"prompts": [(1,)]}, "`prompts` are 1, and `num_samples=2`; give one a row"),
            ("mdlm", {"indices": [1, 2, 3]}, "`indices` are 3, and `num_samples=2`; give one a row"),
            ("mdlm", {"prompts": [(1,), [1] * 9]}, "`prompts` have up to 9 ids, and `length=8`; give a greater length"),
            ("mdlm", {"prompts": [(1,), (5,)]}, "`prompts` hold id 5; the vocabulary of"),
            ("ar", {"p_nucleus": 0.5}, "leave them out"),
            ("ar", {"prior": torch.zeros(3, 1)}, "use [2, 1]"),
            ("ar", {"prior": torch.tensor([[0], [5]])}, "`prior` holds ids from 0 to 5; the vocabulary of"),
            ("duo", {"prior": torch.full((2, 8), -1)}, "`prior` holds ids from -1 to -1; the vocabulary of"),
        ],
    )
    def test_are_said_in_one_line(self, algo, options, said):
        model = random_dit(algo, vocab_size=5, length=8)
        with pytest.raises(ValueError) as caught:
            codd.sample_dit(model, **({"num_samples": 2, "length": 8, "steps": 2} | options))
        assert said in str(caught.value) and "\n" not in str(caught.value)

    def test_ar_without_a_first_token(self, of_algo):
        with pytest.raises(ValueError, match="give `prior`"):
            codd.sample_dit(of_algo("ar"), 2, 8)
