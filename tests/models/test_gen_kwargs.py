import pytest
from lm_eval._cli.harness import HarnessCLI

from lm_eval_codd.models.gen_kwargs import Settings, typed_gen_kwargs

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

    def test_the_own_name_of_the_length_wins(self):
        assert Settings("llada", {}).resolve({"max_gen_toks": 256, "gen_length": 128}).gen_length == 128

    def test_do_sample_false_asks_for_temperature_zero(self):
        assert Settings("dream", {}).resolve({"do_sample": False}).temperature == 0
        assert Settings("dream", {}).resolve({"do_sample": True}).temperature == 0.2

    def test_a_misspelt_name_is_an_error_with_the_nearest(self):
        with pytest.raises(ValueError, match=r"`num_step`; did you mean `num_steps`"):
            Settings("llada", {}).resolve({"num_step": 2})

    def test_outside_of_an_evaluation_there_are_none(self):
        assert typed_gen_kwargs() == {}


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
