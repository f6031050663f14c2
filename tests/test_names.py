"""What other projects call a setting is understood, and what is not is explained."""

import inspect

import pytest

from lm_eval_codd import DecodingConfig, LikelihoodConfig
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.names import EXPLAINED, READ_AS, as_typed, near_names, read_as, translate, unknown_name

SETTINGS = {*DecodingConfig.__dataclass_fields__, *LikelihoodConfig.__dataclass_fields__}
ARGUMENTS = SETTINGS | {*inspect.signature(LLaDA).parameters}


class TestTable:
    def test_every_name_leads_to_one_that_exists(self):
        assert {elsewhere.here for elsewhere in READ_AS.values()} <= ARGUMENTS | {"until"}

    def test_no_name_of_the_own_is_taken_for_another(self):
        assert not ARGUMENTS & (READ_AS.keys() | EXPLAINED.keys())
        assert not READ_AS.keys() & EXPLAINED.keys()


class TestTranslate:
    @pytest.mark.parametrize(
        ("typed", "here"),
        [
            ({"steps": 64}, {"num_steps": 64}),
            ({"diffusion_steps": 64}, {"num_steps": 64}),
            ({"max_new_tokens": 256}, {"gen_length": 256}),
            ({"remasking": "random"}, {"alg": "random"}),
            ({"cfg": 0.5}, {"cfg_scale": 0.5}),
            ({"model_path": "a/b"}, {"pretrained": "a/b"}),
            ({"parallelize": True}, {"device_map": "auto"}),
            ({"parallelize": False}, {"device_map": None}),
        ],
    )
    def test_a_name_with_one_meaning_is_read_as_that_and_said(self, typed, here):
        ((name, value),) = typed.items()
        translated, (said,) = translate(typed, ARGUMENTS)
        ((own, read),) = here.items()
        assert translated == here
        assert said.startswith(f"`{name}={value}` (")
        assert said.endswith(f"is read as `{own}={read}`")

    def test_own_names_pass_without_a_word(self):
        assert translate({"num_steps": 4, "alg": "margin"}, ARGUMENTS) == ({"num_steps": 4, "alg": "margin"}, [])

    @pytest.mark.parametrize("typed", [{"steps": 4, "num_steps": 8}, {"num_steps": 8, "steps": 4}])
    def test_two_values_for_one_thing_are_an_error(self, typed):
        with pytest.raises(ValueError, match=r"both say `num_steps`; leave out one of them"):
            translate(typed, ARGUMENTS)

    def test_one_value_said_twice_is_none(self):
        assert translate({"steps": 4, "num_steps": 4}, ARGUMENTS)[0] == {"num_steps": 4}

    def test_two_foreign_names_for_one_thing_clash_as_well(self):
        with pytest.raises(ValueError, match="`steps=4` and `diffusion_steps=8` both say `num_steps`"):
            translate({"steps": 4, "diffusion_steps": 8}, ARGUMENTS)

    def test_a_place_may_have_names_of_its_own(self):
        flags, here = {"llada_ckpt", "num_steps"}, {"pretrained": "llada_ckpt"}
        for name in ("pretrained", "model_path", "llada_ckpt"):
            assert translate({name: "a"}, flags, kind="flag", here=here)[0] == {"llada_ckpt": "a"}
        with pytest.raises(ValueError, match="unknown flag `pc`"):
            translate({"pc": "a"}, flags, kind="flag", here=here)


class TestAsTyped:
    def raised(self, message, given):
        with (
            pytest.raises(KeyError if message is KeyError else ValueError) as caught,
            as_typed(read_as(given, ARGUMENTS)),
        ):
            raise message if message is KeyError else ValueError(message)
        return caught.value

    def test_an_error_that_names_a_setting_ends_with_how_it_was_read(self):
        error = self.raised("`num_steps=0` is out of range", {"steps": 0, "cfg": 1})
        assert str(error) == (
            "`num_steps=0` is out of range; `steps=0` (LLaDA, Fast-dLLM, dLLM) is read as `num_steps=0`"
        )

    @pytest.mark.parametrize("message", ["`max_num_steps=0` is out of range", "`alg=x` is not known", KeyError])
    def test_another_error_stays(self, message):
        assert "read as" not in str(self.raised(message, {"steps": 0}))


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("name", "known", "hint"),
        [
            ("num_step", ARGUMENTS, "did you mean `num_steps`"),
            ("use_cache", ARGUMENTS, "`cache=prefix` here, or `cache=dual`"),
            ("sampling_eps", ARGUMENTS, "has Dream's 0.001"),
            ("classifier_free_guidance", ARGUMENTS, "smaller by 1"),
            ("stop", ARGUMENTS, "here it is `until`, and it belongs into --gen_kwargs"),
            ("model_path", SETTINGS, "here it is `pretrained`, and it is an argument of the model"),
            ("zzz", ("a", "b"), "known are a, b"),
        ],
    )
    def test_are_explained_in_one_line(self, name, known, hint):
        message = unknown_name(name, known)
        assert message.startswith(f"unknown argument `{name}`; ")
        assert hint in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        ("name", "hint"), [("num_step", "did you mean `num_steps`"), ("steps", "it is `num_steps`")]
    )
    def test_a_config_explains_them_as_well(self, name, hint):
        with pytest.raises(ValueError, match=f"unknown setting `{name}`; .*{hint}"):
            DecodingConfig(**{name: 4})

    def test_a_config_shows_its_own_signature(self):
        assert "num_steps" in inspect.signature(DecodingConfig).parameters


def test_names_are_near_in_capitals_too():
    assert unknown_name("GSM8K", ["gsm8k", "arc"], kind="task") == "unknown task `GSM8K`; did you mean `gsm8k`?"
    assert near_names("LLADA", ["llada", "LLaDA", "dream"], most=1) == ["llada"]


def test_thousands_of_names_are_not_listed():
    said = unknown_name("x", [f"name_{number}" for number in range(14_000)], kind="task")
    assert said == "unknown task `x`; none of the 14000 known is like it"
