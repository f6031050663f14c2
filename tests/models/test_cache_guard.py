import pytest

from lm_eval_codd.models.cache_guard import guard_cache


class TestGuardCache:
    def test_the_same_settings_find_their_answers_again(self):
        answers = {}
        guard_cache(answers, {"num_steps": 8})
        answers["prompt"] = "answer"
        guard_cache(answers, {"num_steps": 8})
        assert answers["prompt"] == "answer"

    def test_other_settings_are_an_error_that_names_them(self):
        answers = {}
        guard_cache(answers, {"num_steps": 8, "alg": "margin"})
        with pytest.raises(ValueError, match=r"made with num_steps=8 \(now 2\); give another path"):
            guard_cache(answers, {"num_steps": 2, "alg": "margin"})

    def test_a_setting_that_is_left_out_has_its_default(self):
        answers = {}
        guard_cache(answers, {"num_steps": 8, "alg": "low_confidence", "cfg_scale": 0.0})
        guard_cache(answers, {"num_steps": 8})
        with pytest.raises(ValueError, match=r"made with alg=low_confidence \(now margin\); give another path"):
            guard_cache(answers, {"num_steps": 8, "alg": "margin"})

    def test_a_cache_of_another_model_is_an_error(self):
        with pytest.raises(ValueError, match="answers of another model"):
            guard_cache({"prompt": "answer"}, {"num_steps": 8})
