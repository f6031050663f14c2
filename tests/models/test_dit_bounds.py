"""Bounds of the DiT family in lm-eval: against the Python API and the reference, windows, masks, standard errors."""

import math

import numpy as np
import pytest
import torch
from lm_eval.api.registry import get_model

from lm_eval_codd.carried import TokenText
from lm_eval_codd.dit import likelihood, log_likelihood_bounds
from lm_eval_codd.models.dit_lm import MDLM, DiTAR
from tests.models.tiny_dit import BEGIN, NAMES, SETTINGS, asked, of


class TestBounds:
    @pytest.mark.parametrize("name", NAMES)
    def test_are_those_of_the_python_api(self, dit_folders, name):
        lm = get_model(name)(dit_folders[name], **of(name))
        pairs = [([BEGIN, 0, 1, 2], [0, 3]), ([BEGIN, 0, 1, 2], [1])]
        given = [asked("loglikelihood", "abc", continuation) for continuation in ("ad", "b")]
        options = {"num_samples": 3, "seed": 7, "is_greedy": True}
        expected = [one.bound for one in likelihood.stream(lm.dit, pairs, **options, batch_size=None)]
        found = lm.loglikelihood(given, disable_tqdm=True)
        batched = log_likelihood_bounds(lm.dit, pairs, **options)
        assert [value for value, _ in found] == pytest.approx([one.value for one in batched], rel=1e-5)
        assert [(float(value), greedy) for value, greedy in found] == [(one.value, one.is_greedy) for one in expected]
        assert [value.num_tokens for value, _ in found] == [one.num_tokens for one in expected]
        assert [value.stderr for value, _ in found] == [one.stderr for one in expected]

    def test_modes(self, dit_folders):
        suffix, joint = (MDLM(dit_folders["mdlm"], mode=mode, **SETTINGS) for mode in ("suffix", "joint"))
        given = [asked("loglikelihood", "abc", "d")]
        ((short, _),), ((long, _),) = (lm.loglikelihood(given, disable_tqdm=True) for lm in (suffix, joint))
        assert (short.num_tokens, long.num_tokens) == (1, 5)

    def test_choices_of_a_question_share_their_noise_and_windows_do_not(self, dit_folders, monkeypatch):
        seen, real = [], likelihood.row_keys
        monkeypatch.setattr(
            likelihood, "row_keys", lambda seed, rows, *rest: seen.extend(rows) or real(seed, rows, *rest)
        )
        lm = MDLM(dit_folders["mdlm"], **SETTINGS)
        lm.loglikelihood([asked("loglikelihood", "abc", text) for text in ("ad", "bcd")], disable_tqdm=True)
        assert set(seen) == {(BEGIN, 0, 1, 2)}
        seen.clear()
        windows = [asked("loglikelihood_rolling", TokenText("", [BEGIN, *range(10)[::step]])) for step in (1, -1)]
        lm.loglikelihood_rolling(windows, disable_tqdm=True)
        assert set(seen) == {(BEGIN, *range(10)), (BEGIN, *range(10)[::-1])}

    def test_a_text_with_ids_is_one_window_as_they_stand(self, dit_folders):
        ids = [BEGIN, 3, 1, 4, BEGIN]
        text = asked("loglikelihood_rolling", TokenText("never read", ids))
        for name, pair, mode in (("mdlm", ([], ids), "joint"), ("dit_ar", (ids[:1], ids[1:]), "suffix")):
            lm = get_model(name)(dit_folders[name], **of(name))
            (value,) = lm.loglikelihood_rolling([text], disable_tqdm=True)
            options = {"noise_of": [ids], "num_samples": 3, "seed": 7, "batch_size": None}
            (one,) = likelihood.stream(lm.dit, [pair], mode, **options)
            assert (value, value.num_tokens, value.num_forward) == (
                one.bound.value,
                len(pair[1]),
                one.bound.num_forward,
            )

    def test_a_text_is_cut_into_windows_behind_a_begin_token_each(self, dit_folders):
        lm = DiTAR(dit_folders["dit_ar"], device="cpu")
        text = "abcdefghijklmnopqrstuvwxyz"
        (value,) = lm.loglikelihood_rolling([asked("loglikelihood_rolling", text)], disable_tqdm=True)
        pieces = [list(range(26))[start : start + 11] for start in (0, 11, 22)]
        expected = log_likelihood_bounds(lm.dit, [([BEGIN], piece) for piece in pieces])
        assert value == pytest.approx(sum(one.value for one in expected))
        assert value.num_tokens == 26
        assert lm.loglikelihood_rolling([asked("loglikelihood_rolling", "")], disable_tqdm=True) == [0.0]

    def test_an_end_token_follows_on_demand(self, dit_folders):
        lm = DiTAR(dit_folders["dit_ar"], append_eos=True, device="cpu")
        ((value, _),) = lm.loglikelihood([asked("loglikelihood", "ab", "c")], disable_tqdm=True)
        (expected,) = log_likelihood_bounds(lm.dit, [([BEGIN, 0, 1], [2, BEGIN])])
        assert (value, value.num_tokens) == (expected.value, 2)

    def test_a_context_that_is_too_long_loses_its_left_end_but_for_the_begin_token(self, dit_folders):
        lm = DiTAR(dit_folders["dit_ar"], device="cpu")
        ((value, _),) = lm.loglikelihood([asked("loglikelihood", "a" * 20 + "bcd", "efg")], disable_tqdm=True)
        (expected,) = log_likelihood_bounds(lm.dit, [([BEGIN, *[0] * 5, 1, 2, 3], [4, 5, 6])])
        assert value == expected.value
        assert lm.get_model_info()["likelihoods"]["truncated_contexts"] == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_targets_that_hold_the_mask_are_counted(self, dit_folders, harness_log, name):
        lm = get_model(name)(dit_folders[name], **of(name))
        clean, masked = [BEGIN, 3, 1, 4], [BEGIN, 3, 30, 30]
        windows = [asked("loglikelihood_rolling", TokenText("", ids)) for ids in (clean, masked, masked)]
        values = lm.loglikelihood_rolling(windows, disable_tqdm=True)
        said = lm.get_model_info()
        assert said["likelihoods"]["with_mask"] == ({} if name == "duo" else {"tiny": 1})
        if name != "duo":
            (line,) = [line for line in said["warnings"] if "hold the mask token" in line]
            assert line.startswith("1 targets hold the mask token (id 30), which is noise to this model and never text")
            assert line.endswith(
                "mean nothing: tiny (1); take it out of these texts, or give mask_id= where it is another"
            )
            assert line in harness_log.messages
        if name in ("mdlm", "dit_ar"):
            assert values[1] < -1e6 < values[0]

    def test_a_mask_in_what_is_not_scored_is_not_counted(self, dit_folders):
        instance = asked("loglikelihood", TokenText("", [BEGIN, 30]), "a")
        for mode, counted in (("suffix", {}), ("joint", {"tiny": 1})):
            lm = MDLM(dit_folders["mdlm"], mode=mode, **SETTINGS)
            lm.tok_encode = lambda text, **_: [BEGIN, 30, *([0] if text else [])][: 2 if not text.endswith("a") else 3]
            lm.loglikelihood([instance], disable_tqdm=True)
            assert lm.get_model_info()["likelihoods"]["with_mask"] == counted


class TestAgainstTheReferencesWrapper:
    """Arithmetic of the official wrapper: the mean over eight draws and all tokens of the bound."""

    @pytest.fixture
    def golden(self, golden_dir):
        with np.load(golden_dir / "dit" / "harness.npz") as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}

    @pytest.mark.parametrize(("name", "key"), [("duo", "duo_base"), ("mdlm", "mdlm")])
    def test_whole_rows(self, dit_folders, golden, monkeypatch, name, key):
        lm = get_model(name)(dit_folders[name], mode="joint", num_samples=8, device="cpu", batch_size=8)
        times = 1e-3 + (1 - 1e-3) * ((golden[f"{key}_full_t_u"] / 8 + torch.arange(8) / 8) % 1)
        monkeypatch.setattr(likelihood, "times_of_draws", lambda *_: times)
        monkeypatch.setattr(type(lm.dit.process), "noised", lambda *_: golden[f"{key}_full_xt"])
        prefix, suffix = (golden[part].tolist() for part in ("prefix", "suffix"))
        (((value, _),),) = (lm._loglikelihood_tokens([(None, prefix, suffix)], disable_tqdm=True),)
        assert -value / 12 == pytest.approx(float(golden[f"{key}_full"]), rel=1e-4)

    def test_ar(self, dit_folders, golden):
        lm = DiTAR(dit_folders["dit_ar"], device="cpu")
        prefix, suffix = (golden[part].tolist() for part in ("prefix", "suffix"))
        (((value, greedy),),) = (lm._loglikelihood_tokens([(None, prefix, suffix)], disable_tqdm=True),)
        assert -value / 6 == pytest.approx(float(golden["ar_nll_mean_suffix"]), rel=1e-4)
        assert greedy is bool(golden["ar_greedy"])


def test_a_values_standard_error_is_that_of_its_draws(dit_folders):
    lm = MDLM(dit_folders["mdlm"], num_samples=1, device="cpu")
    ((value, _),) = lm.loglikelihood([asked("loglikelihood", "ab", "c")], disable_tqdm=True)
    assert value.stderr is None and math.isfinite(value)
