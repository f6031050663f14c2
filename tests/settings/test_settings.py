"""What settings mean, and what is refused."""

import subprocess
import sys

import pytest

from lm_eval_codd import DecodingConfig, LikelihoodConfig
from lm_eval_codd.backbones.experts.schedules import SCHEDULES
from lm_eval_codd.settings import EC_SCHEDULES, extensions_of

SCHEDULE = {"router": "ec", "ec_schedule": "linear", "ec_k_min": 2, "ec_k_max": 8}


class TestNames:
    @pytest.mark.parametrize(
        ("alias", "name"),
        [
            ("maskgit_plus", "low_confidence"),
            ("topk_margin", "margin"),
            ("origin", "random"),
            ("entropy", "entropy"),
        ],
    )
    def test_aliases_become_one_name(self, alias, name):
        assert DecodingConfig(alg=alias) == DecodingConfig(alg=name)

    def test_topprob_is_a_rule_of_its_own_only_in_a_circuits_best_windows_where_candidates_are_cut_or_drawn(self):
        assert DecodingConfig(alg="topprob").alg == "topprob"
        dream = DecodingConfig.for_family("dream", alg="topprob")
        assert dream.tells_topprob_apart(coupled=True)
        assert not dream.tells_topprob_apart(coupled=False)
        for equal in ({"paradigm": "block"}, {"pc_windows": "cover"}, {"cache": "dual"}):
            assert not DecodingConfig.for_family("dream", alg="topprob", **equal).tells_topprob_apart(coupled=True)
        plain = {"temperature": 0, "top_p": None, "top_k": None}
        assert not DecodingConfig.for_family("dream", alg="topprob", **plain).tells_topprob_apart(coupled=True)
        for cut in ({"top_k": 5}, {"top_p": 0.9}, {"temperature": 0.1}):
            given = {"alg": "topprob", **plain, **cut}
            assert DecodingConfig.for_family("dream", **given).tells_topprob_apart(coupled=True)

    @pytest.mark.parametrize(
        ("settings", "coupled", "draws"),
        [
            ({}, False, False),
            ({"temperature": 0.1}, False, True),
            ({"alg": "random"}, False, True),
            ({"alg_temp": 0.5}, False, True),
            ({"decoder": "cad", "selection": "random"}, False, True),
            ({"decoder": "p2", "score": "random"}, False, True),
            ({"decoder": "corrective"}, False, False),
            ({}, True, True),
            ({"pc_sampling": "map"}, True, False),
            ({"pc_sampling": "any_order"}, True, False),
        ],
    )
    def test_answers_to_a_prompt_differ_where_something_is_drawn(self, settings, coupled, draws):
        assert DecodingConfig(**settings).draws(coupled=coupled) is draws

    def test_ways_to_say_off_are_one(self):
        assert DecodingConfig(top_p=1, top_k=0, alg_temp=0) == DecodingConfig()
        assert DecodingConfig(temperature=1) == DecodingConfig(temperature=1.0)

    def test_an_unknown_setting_names_the_nearest(self):
        with pytest.raises(ValueError, match="unknown setting `num_step`; did you mean `num_steps`"):
            DecodingConfig.for_family("llada", num_step=3)


class TestFamilies:
    def test_dream_defaults_are_those_the_published_numbers_had(self):
        config = DecodingConfig.for_family("dream")
        assert (config.paradigm, config.alg) == ("full", "entropy")
        assert (config.temperature, config.top_p, config.top_k) == (0.2, 0.95, 50)
        assert DecodingConfig.for_family("dream", top_k=None).top_k is None

    def test_llada_defaults_are_the_papers(self):
        config = DecodingConfig.for_family("llada")
        assert config == DecodingConfig()
        assert (config.gen_length, config.block_length, config.num_steps, config.temperature) == (512, 32, 256, 0.0)


class TestSteps:
    def test_tokens_per_step_gives_the_steps(self):
        assert DecodingConfig(tokens_per_step=4).num_steps == 128
        assert DecodingConfig(tokens_per_step=2, num_steps=256).num_steps == 256

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_steps": 100}, r"`num_steps=100` cannot be split over 16 blocks of 32; .* \(96 or 112\)"),
            ({"num_steps": 8}, r"use a multiple of 16 \(16\)"),
            ({"num_steps": 100, "tokens_per_step": 4}, r"disagrees with `tokens_per_step=4`.* use num_steps=128"),
            ({"tokens_per_step": 3}, r"`tokens_per_step=3` does not divide `gen_length=512`; use 2 or 4"),
            ({"gen_length": 100}, r"`gen_length=100` cannot be cut.*use a gen_length of 96 or 128"),
        ],
    )
    def test_what_cannot_be_split_names_the_nearest_that_can(self, settings, message):
        with pytest.raises(ValueError, match=message):
            DecodingConfig.for_family("llada", **settings)

    @pytest.mark.parametrize("settings", [{"num_steps": 100}, {"gen_length": 100}])
    def test_without_a_family_they_must_divide_where_no_family_splits_otherwise(self, settings):
        DecodingConfig(**settings)  # an A2D checkpoint takes it
        with pytest.raises(ValueError, match="cannot be"):
            DecodingConfig(**settings, counts="even")

    def test_the_full_paradigm_takes_any_number(self):
        assert DecodingConfig(paradigm="full", num_steps=100, gen_length=77).num_steps == 100


class TestApproximations:
    def test_they_are_named_and_an_exact_decode_has_none(self):
        assert DecodingConfig().approximations == ()
        assert DecodingConfig(cache="prefix").approximations == ("cache=prefix",)
        assert DecodingConfig(cache="dual", threshold=0.9).approximations == ("cache=dual", "threshold=0.9")
        assert DecodingConfig(factor=1).approximations == ("factor=1",)

    def test_with_a_cache_the_full_paradigm_goes_by_blocks_too(self):
        assert not DecodingConfig(paradigm="full").goes_by_blocks
        assert DecodingConfig(paradigm="full", cache="dual").goes_by_blocks
        with pytest.raises(ValueError, match="`gen_length=77` cannot be cut into blocks"):
            DecodingConfig(paradigm="full", cache="dual", gen_length=77)
        with pytest.raises(ValueError, match="`num_steps=100` cannot be split over 16 blocks"):
            DecodingConfig(paradigm="full", cache="dual", num_steps=100)

    @pytest.mark.parametrize("rule", [{"threshold": 0.9}, {"factor": 1.0}])
    def test_steps_that_follow_confidence_need_not_be_split_over_the_blocks(self, rule):
        assert DecodingConfig(num_steps=100, **rule).steps_follow_confidence
        assert DecodingConfig(num_steps=100, cache="dual", paradigm="full", **rule).steps_follow_confidence
        with pytest.raises(ValueError, match="`gen_length=100` cannot be cut into blocks"):
            DecodingConfig(gen_length=100, **rule)

    def test_dream_names_the_alg_to_set(self):
        with pytest.raises(ValueError, match=r"`alg=entropy`.*set alg=low_confidence"):
            DecodingConfig.for_family("dream", threshold=0.9)
        assert DecodingConfig.for_family("dream", threshold=0.9, alg="maskgit_plus").threshold == 0.9


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"alg": "lowconfidence"}, "did you mean low_confidence"),
            ({"paradigm": "blocks"}, "did you mean block"),
            ({"temperature": -1}, "`temperature=-1`.*0 or more"),
            ({"temperature": float("nan")}, "`temperature=nan`"),
            ({"top_p": 1.5}, "`top_p=1.5`.*at most 1"),
            ({"top_k": -3}, "`top_k=-3`"),
            ({"pc_temperature": 0}, "`pc_temperature=0`"),
            ({"pc_temperature": 1.2}, "`pc_temperature=1.2`"),
            ({"pc_frac": -1}, "`pc_frac=-1`"),
            ({"pc_frac": 30}, r"`pc_frac=30` is out of range; it must be 0 to 2 \(a mask ratio"),
            ({"num_steps": 1.5}, "`num_steps=1.5` must be a whole number"),
            ({"num_steps": True}, "`num_steps=True` must be a whole number"),
            ({"stop_at_eos": "no"}, "`stop_at_eos='no'` must be True or False"),
            ({"cache": True}, "`cache=True` must be one of none, prefix, dual"),
            ({"cache": "duel"}, r"`cache=duel` is not known.*did you mean dual"),
            ({"threshold": 0}, "`threshold=0` is out of range; it must be above 0 and at most 1"),
            ({"threshold": 1.01}, "`threshold=1.01`.*at most 1"),
            ({"factor": 0}, "`factor=0` is out of range; it must be above 0"),
            ({"cache": "dual", "cfg_scale": 1.5}, "`cache=dual` does not go with guidance.*cfg_scale=1.5"),
            (
                {"cache": "prefix", "paradigm": "full", "alg": "origin"},
                "`cache=prefix` does not go with `alg=random` in the full paradigm.*use paradigm=block",
            ),
            ({"threshold": 0.9, "factor": 2}, "`threshold=0.9` and `factor=2` both say how many.*leave out one"),
            (
                {"threshold": 0.9, "alg": "entropy"},
                "`threshold=0.9`.*`alg=entropy`.*; set alg=low_confidence or margin or topprob",
            ),
            (
                {"factor": 1.5, "alg": "random"},
                "`factor=1.5`.*`alg=random`.*set alg=low_confidence or margin or topprob",
            ),
            ({"threshold": 0.9, "alg_temp": 0.1}, "`threshold=0.9` does not go with `alg_temp=0.1`"),
        ],
    )
    def test_one_line_says_what_is_wrong(self, settings, message):
        with pytest.raises(ValueError, match=message) as refusal:
            DecodingConfig(**settings)
        assert "\n" not in str(refusal.value)


def test_importing_the_package_and_its_settings_does_not_import_torch():
    code = "import sys, lm_eval_codd; lm_eval_codd.DecodingConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestRouter:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ec_k": 2}, "`ec_k=2` is read by router=ec, not by `router=tc`; leave out one of them"),
            ({"router": "er"}, "`router=er` is not known; use one of tc, ec"),
            ({"router": "ec", "cache": "dual"}, "`cache=dual` does not go with `router=ec`, where a later token"),
            ({"router": "ec", "ec_k_min": 2}, "`ec_k_min=2` is of a schedule, and `ec_schedule=static` has ec_k; set"),
            ({"router": "ec", "ec_schedule": "bell"}, "`ec_schedule=bell` goes from ec_k_min to ec_k_max experts of a"),
            ({**SCHEDULE, "ec_k": 3}, "`ec_k=3` is of ec_schedule=static, not of `ec_schedule=linear`; leave out"),
            ({**SCHEDULE, "ec_k_min": 9}, "`ec_k_min=9` is more than `ec_k_max=8`; lower it, or turn the schedule"),
            ({**SCHEDULE, "ec_sigma": 0.3}, "`ec_sigma=0.3` is of the Gaussian schedules, not of `ec_schedule=linear`"),
            ({**SCHEDULE, "ec_gates": "pre"}, "`ec_gates=pre` takes one number of experts for all rows, and"),
            (
                {"router": "ec", "decoder": "block_diffusion", "rule": "llada2"},
                "`router=ec` does not go with `decoder=block_diffusion`, which keeps finished blocks",
            ),
            ({"ec_scope": "sequence"}, "`ec_scope=sequence` is read by router=ec, not by `router=tc`; leave out one"),
            ({"router": "ec", "ec_scope": "row"}, "`ec_scope=row` is not known; use one of sequence, batch"),
            ({"compat": True}, "`compat=True` is read by decoder=cad"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, settings, message):
        with pytest.raises(ValueError) as error:
            DecodingConfig(**settings)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)

    def test_blocks_go_with_it_where_the_window_is_said(self):
        said = DecodingConfig(router="ec", ec_scope="sequence", decoder="block_diffusion", rule="llada2")
        assert extensions_of(vars(said), coupled=False) == ("router=ec",)
        assert DecodingConfig(router="ec", compat=True).compat

    def test_likelihoods_refuse_the_same(self):
        with pytest.raises(ValueError, match="`ec_k=2` is read by router=ec, not by `router=tc`"):
            LikelihoodConfig(ec_k=2)

    def test_the_schedules_are_those_of_the_router(self):
        assert ("static", *SCHEDULES) == EC_SCHEDULES
