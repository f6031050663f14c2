"""What a caller of `generate` mixes up."""

import numpy as np
import pytest
import torch

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
        ({"prompts": None}, "`prompts` is a NoneType, and decoding takes a list with a list of token ids a row; "),
        ({"prompts": {"input_ids": [[1]]}}, "`prompts` is a dict, and decoding takes a list"),
        ({"prompts": torch.tensor([[1, 2]])}, "`prompts` is a Tensor, and decoding takes a list"),
        ({"prompts": [[1], 1.5]}, "`prompts[1]` is a float; give a list of token ids"),
        ({"prompts": [torch.tensor([[1]])]}, "`prompts[0]` is a Tensor; give a list of token ids"),
        ({"prompts": [[1], [1, 1.5]]}, "`prompts[1][1]=1.5` is no token id; give whole numbers"),
        ({"prompts": [[None]]}, "`prompts[0][0]=None` is no token id"),
        ({"prompts": [[True]]}, "`prompts[0][0]=True` is no token id"),
        ({"prompts": [torch.tensor([1.0])]}, "`prompts[0][0]=tensor(1.)` is no token id"),
        ({"drafts": [[1, 1.5]]}, "`drafts[0][1]=1.5` is no token id"),
        ({"drafts": [1]}, "`drafts` is one draft, and decoding takes a list of them; give [draft]"),
        ({"drafts": [[1, 2]], "fixed": True}, "`fixed` is a bool; give a list with a list of bools a draft"),
        ({"drafts": [[1, 2]], "fixed": [None]}, "`fixed[0]` is a NoneType; give a list of bools, one a token"),
        ({"drafts": [[1, 2]], "fixed": [[True, "no"]]}, "`fixed[0][1]='no'` is no bool; give True or False"),
        (
            {"planner": "demo"},
            "`planner=demo` is a name, and decoding takes what is loaded; give load_backbone('demo')",
        ),
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


@pytest.mark.parametrize("rows", [[[1], [5, 6, 512]], [[1], [1, 1, -3]]])
def test_an_id_outside_the_vocabulary_is_named_with_its_place(load, rows):
    with pytest.raises(ValueError) as error:
        codd.generate(load("llada-tiny"), rows, CONFIG)
    assert str(error.value) == (
        f"`prompts[1][2]={rows[1][2]}` is outside the vocabulary of 512 tokens (0 to 511); is it of the checkpoint's "
        "own tokenizer?"
    )


def test_one_in_a_draft_too(load):
    config = codd.DecodingConfig(decoder="p2", gen_length=8, num_steps=2)
    with pytest.raises(ValueError, match=r"^`drafts\[0\]\[1\]=600` is outside the vocabulary of 512 tokens"):
        codd.generate(load("llada-tiny"), [[1]], config, drafts=[[1, 600]])


def test_a_row_may_be_a_tensor_or_an_array(load):
    answers = [
        codd.generate(load("llada-tiny"), [row], CONFIG)[0].tokens
        for row in ([1, 2], (1, 2), torch.tensor([1, 2]), np.array([1, 2]), [np.int64(1), 2])
    ]
    assert all(answer == answers[0] for answer in answers)


def test_no_prompts_are_no_answers_but_wrong_settings_are_said_even_then(load):
    assert codd.generate(load("llada-tiny"), [], CONFIG) == []
    with pytest.raises(TypeError, match="`config` is a dict"):
        codd.generate(load("llada-tiny"), [], {})


def test_dir_shows_the_public_names_before_they_are_imported():
    assert {*codd.__all__} <= {*dir(codd)}
