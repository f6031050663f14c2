"""What a caller of `generate` mixes up."""

import pytest

import lm_eval_codd as codd

CONFIG = codd.DecodingConfig(gen_length=8, block_length=8, num_steps=2)


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            {"prompts": "two and two"},
            "`prompts` holds text, and decoding takes token ids; give [tokenizer.enc",
        ),
        ({"prompts": ["two", "and two"]}, "`prompts` holds text"),
        ({"prompts": [1, 2, 3]}, "`prompts` is one prompt, and decoding takes a list of them; give [prompt]"),
        (
            {"config": {"num_steps": 4}},
            "`config` is a dict, and decoding takes settings that are checked; give DecodingConfig(num_steps=4)",
        ),
        ({"config": None}, "`config` is a NoneType; give a DecodingConfig"),
        ({"circuit": "demo"}, "`circuit=demo` is a name, and decoding takes what is loaded; give load_circuit('demo')"),
        (
            {"backbone": "demo"},
            "`backbone=demo` is a name, and decoding takes what is loaded; give load_backbone('demo')",
        ),
    ],
)
def test_is_said_in_one_sentence(load, changed, message):
    arguments = {"backbone": load("llada-tiny"), "prompts": [[1, 2]], "config": CONFIG, **changed}
    with pytest.raises(TypeError) as error:
        codd.generate(**arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_no_prompts_are_no_answers_but_wrong_settings_are_said_even_then(load):
    assert codd.generate(load("llada-tiny"), [], CONFIG) == []
    with pytest.raises(TypeError, match="`config` is a dict"):
        codd.generate(load("llada-tiny"), [], {})


def test_dir_shows_the_public_names_before_they_are_imported():
    assert {*codd.__all__} <= {*dir(codd)}
