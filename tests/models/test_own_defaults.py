"""Decoding defaults in a checkpoint's generation_config.json."""

import json

import pytest

from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.own_defaults import read_own_defaults


@pytest.fixture
def checkpoint(make_checkpoint, tmp_path):
    """`checkpoint({...})`: a folder whose generation_config.json has this under `lm_eval_codd`."""

    def make(own, **beside):
        folder = make_checkpoint("llada")
        with open(f"{folder}/generation_config.json", "w") as file:
            json.dump({"lm_eval_codd": own, **beside}, file)
        return folder

    return make


def load(folder, **arguments):
    return LLaDA(folder, device="cpu", **arguments)


class TestWhoWins:
    def test_the_checkpoint_wins_over_the_family_and_says_so_in_the_result(self, checkpoint):
        lm = load(checkpoint({"gen_length": 32, "alg": "margin"}), num_steps=4)
        assert (lm.config.gen_length, lm.config.num_steps, lm.config.alg) == (32, 4, "margin")
        info = lm.get_model_info()
        assert info["own_defaults"] == {"gen_length": 32, "alg": "margin"}
        assert info["settings"]["gen_length"] == 32

    def test_what_a_user_types_wins_over_the_checkpoint(self, checkpoint, evaluate):
        folder = checkpoint({"gen_length": 32, "temperature": 0.5})
        assert load(folder, num_steps=4, gen_length=64).config.gen_length == 64
        arguments = {"pretrained": folder, "num_steps": 4, "device": "cpu"}
        config = evaluate("llada", {"temperature": 1.0}, model_args=arguments, gen_kwargs="gen_length=64")["config"]
        assert (config["settings"]["gen_length"], config["settings"]["temperature"]) == (64, 0.5)

    def test_one_way_to_say_the_steps_displaces_the_other(self, checkpoint):
        folder = checkpoint({"gen_length": 32, "tokens_per_step": 4})
        assert load(folder).config.num_steps == 8
        assert load(folder, num_steps=16).config.num_steps == 16

    def test_they_can_be_left_unread(self, checkpoint):
        lm = load(checkpoint({"gen_length": 32}), own_defaults=False)
        assert (lm.config.gen_length, lm.get_model_info()["own_defaults"]) == (512, {})

    def test_nothing_else_of_that_file_is_read(self, checkpoint):
        assert load(checkpoint({}, temperature=0.9, max_new_tokens=7)).config == load(checkpoint({})).config

    def test_the_demo_brings_the_length_of_its_answers(self):
        assert read_own_defaults("demo") == ({"gen_length": 32}, 256)
        assert LLaDA("demo", num_steps=4, device="cpu").config.gen_length == 32


class TestLength:
    @pytest.mark.parametrize(
        "arguments",
        [{"gen_length": 4096}, {"gen_length": 4096, "num_steps": 100}, {"gen_length": 256}, {"own_defaults": False}],
    )
    def test_an_answer_that_the_checkpoint_has_no_room_for_is_said_before_its_steps_and_blocks(self, arguments):
        with pytest.raises(
            ValueError, match=r"`gen_length=\d+` leaves no room for a prompt in `max_length=256`; use a"
        ):
            load("demo", **arguments)

    def test_as_gen_kwargs_too(self, evaluate):
        arguments = {"pretrained": "demo", "device": "cpu"}
        with pytest.raises(ValueError, match="`gen_length=4096` leaves no room for a prompt in `max_length=256`"):
            evaluate("llada", model_args=arguments, gen_kwargs="max_gen_toks=4096")

    def test_a_smaller_max_length_counts(self):
        with pytest.raises(ValueError, match="`gen_length=64` leaves no room for a prompt in `max_length=48`"):
            load("demo", gen_length=64, num_steps=3, max_length=48)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "own, message",
        [
            ({"gen_lenght": 32}, "`lm_eval_codd` in generation_config.json has an unknown setting `gen_lenght`; did"),
            ([32], "must be an object of settings"),
            ({"gen_length": 100}, "`gen_length=100` cannot be cut into blocks"),
        ],
    )
    def test_what_is_no_setting(self, checkpoint, own, message):
        with pytest.raises(ValueError, match=message):
            load(checkpoint(own))

    def test_an_impossible_setting_is_named_before_a_missing_checkpoint(self):
        with pytest.raises(ValueError, match="`num_steps=3` cannot be split"):
            load("no/such-checkpoint", num_steps=3)
