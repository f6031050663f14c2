import pytest
from lm_eval._cli.harness import HarnessCLI

from lm_eval_codd.models.gen_kwargs import Settings, stop_strings

TASK = {"until": ["\n"], "temperature": 0.0, "do_sample": False, "max_gen_toks": 256}


class TestPrecedence:
    def test_family_defaults_fill_the_gaps(self):
        config = Settings("dream", {}).resolve({})
        assert (config.paradigm, config.alg, config.temperature) == ("full", "entropy", 0.2)
        assert (config.top_p, config.top_k) == (0.95, 50)

    def test_a_task_does_not_override_the_family(self):
        assert Settings("dream", {}).resolve({}, TASK) == Settings("dream", {}).resolve({})

    def test_a_task_made_for_diffusion_models_may_say_how_it_is_decoded(self):
        assert Settings("llada", {}).resolve({}, {**TASK, "num_steps": 64}).num_steps == 64

    def test_typed_gen_kwargs_override_family_and_task(self):
        typed = {"temperature": 0.7, "num_steps": 32}
        config = Settings("dream", {}).resolve(typed, {**TASK, "num_steps": 64, **typed})
        assert (config.temperature, config.num_steps) == (0.7, 32)

    def test_model_args_override_typed_gen_kwargs(self):
        typed = {"temperature": 0.7, "num_steps": 32}
        config = Settings("dream", {"num_steps": 16}).resolve(typed, {**TASK, **typed})
        assert (config.temperature, config.num_steps) == (0.7, 16)


class TestTypedGenKwargs:
    @pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"])
    def test_the_harness_names_of_the_length_are_understood(self, name):
        assert Settings("llada", {}).resolve({name: 256}).gen_length == 256

    def test_two_lengths_are_an_error(self):
        with pytest.raises(ValueError, match="`max_gen_toks=256` and `gen_length=128` both say `gen_length`"):
            Settings("llada", {}).resolve({"max_gen_toks": 256, "gen_length": 128})

    @pytest.mark.parametrize(
        ("typed", "here"),
        [({"steps": 64}, "num_steps"), ({"diffusion_steps": 64}, "num_steps"), ({"cfg": 1}, "cfg_scale")],
    )
    def test_other_projects_names_are_understood_and_said(self, typed, here):
        settings = Settings("llada", {})
        ((_, value),) = typed.items()
        assert getattr(settings.resolve(typed), here) == value
        (said,) = settings.remarks(typed)
        assert said.endswith(f"is read as `{here}={value}`")

    def test_settings_of_likelihoods_decode_nothing(self):
        given = Settings("llada", {"num_samples": 4, "cfg_scale": 0.5})
        assert given.resolve({"mc_num": 128}) == Settings("llada", {"cfg_scale": 0.5}).resolve({})
        likelihoods = given.resolve_likelihoods({"mc_num": 128, "ladder": "official", "ladder_size": 4}, seed=7)
        assert (likelihoods.num_samples, likelihoods.ladder) == (4, "official")
        assert (likelihoods.cfg_scale, likelihoods.seed) == (0.5, 7)

    @pytest.mark.parametrize(("typed", "asked"), [({}, None), ({"is_check_greedy": False}, False)])
    def test_whether_somebody_asked_for_greedy_targets(self, typed, asked):
        assert Settings("llada", {}).asks_for_greedy(typed) is asked
        assert Settings("llada", {"is_greedy": True}).asks_for_greedy(typed) is True

    def test_dreams_names_of_estimators(self):
        read = [Settings("dream", {}).resolve_likelihoods({"nll_type": name}).estimator for name in ("mc", "ar_ftb")]
        assert read == ["mc_bernoulli", "chain"]
        with pytest.raises(ValueError, match="`estimator=ar_btf` is not known"):
            Settings("dream", {}).resolve_likelihoods({"nll_type": "ar_btf"})

    def test_do_sample_false_asks_for_temperature_zero(self):
        assert Settings("dream", {}).resolve({"do_sample": False}).temperature == 0
        assert Settings("dream", {}).resolve({"do_sample": True}).temperature == 0.2

    def test_a_misspelt_name_is_an_error_with_the_nearest(self):
        with pytest.raises(ValueError, match=r"`num_step`; did you mean `num_steps`"):
            Settings("llada", {}).resolve({"num_step": 2})


class TestSeed:
    def test_that_of_the_evaluation_is_the_default(self):
        assert Settings("llada", {}).resolve({}, seed=7).seed == 7
        assert Settings("llada", {}).resolve({}, seed=None).seed == 1234

    def test_one_given_to_the_decode_wins(self):
        assert Settings("llada", {"seed": 3}).resolve({}, seed=7).seed == 3
        assert Settings("llada", {}).resolve({"seed": 4}, seed=7).seed == 4


class TestRemarks:
    """What a user typed and what does nothing is said, in one line each."""

    @pytest.mark.parametrize(
        ("given", "typed", "said"),
        [
            (
                {"gen_length": 32, "num_steps": 4},
                {"max_gen_toks": 100},
                ["`max_gen_toks=100` of --gen_kwargs does nothing beside `gen_length=32`"],
            ),
            (
                {"temperature": 0.5},
                {"do_sample": False},
                ["`do_sample=False` of --gen_kwargs does nothing beside `temperature=0.5`"],
            ),
            (
                {},
                {"do_sample": False, "temperature": 0.5},
                ["`temperature=0.5` of --gen_kwargs does nothing beside `do_sample=False`"],
            ),
            ({}, {"do_sample": True}, ["`do_sample=True` does nothing at `temperature=0`"]),
            ({"num_steps": 64}, {"threshold": 0.9}, ["`num_steps=64` does nothing beside `threshold=0.9`"]),
            ({"factor": 1.5}, {"tokens_per_step": 2}, ["`tokens_per_step=2` does nothing beside `factor=1.5`"]),
            ({"num_steps": 64}, {"num_steps": 64}, []),
            ({"threshold": 0.9}, {"temperature": 0.5}, []),
            ({"num_steps": 64}, {}, []),
        ],
    )
    def test_what_loses_is_said(self, given, typed, said):
        lines = list(Settings("llada", given).remarks(typed))
        assert len(lines) == len(said)
        assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))


class TestStopStrings:
    def test_a_task_says_until(self):
        assert stop_strings(TASK) == ["\n"]

    @pytest.mark.parametrize("name", ["stop", "stop_strings", "stop_sequences"])
    def test_a_user_may_call_it_otherwise(self, name):
        assert stop_strings({**TASK, name: ["x"]}) == ["x"]


class TestSpellingsOfNone:
    @pytest.mark.parametrize("spelling", [None, "none", "None"])
    def test_none_switches_a_default_of_the_family_off(self, spelling):
        assert Settings("dream", {"top_p": spelling}).resolve({}).top_p is None
        assert Settings("dream", {}).resolve({"top_k": spelling}).top_k is None

    @pytest.mark.parametrize("spelling", [None, "none", "None"])
    def test_none_that_the_harness_parsed_away_is_put_back(self, spelling):
        assert Settings("llada", {"cache": spelling}).resolve({}).cache == "none"
        assert Settings("llada", {}).resolve({"cache": spelling, "threshold": spelling}).approximations == ()

    def test_none_is_no_way_to_leave_a_setting_out_that_cannot_be_off(self):
        with pytest.raises(ValueError, match="`eps=None` must be a number"):
            Settings("llada", {"eps": None}).resolve({})


class TestApproximations:
    @pytest.mark.parametrize("option", ["--model_args", "--gen_kwargs"])
    def test_are_understood_as_the_harness_parses_them(self, option):
        given = ["--model", "llada", "--tasks", "tiny", option, "cache=dual,threshold=1,factor=None"]
        parsed = HarnessCLI()._parser.parse_args(["run", *given])
        values = parsed.model_args if option == "--model_args" else parsed.gen_kwargs
        assert Settings("llada", values).resolve({}).approximations == ("cache=dual", "threshold=1")
        assert Settings("llada", {}).resolve(values) == Settings("llada", values).resolve({})
