"""An evaluation that is asked again: what its journal has is not decoded again, and what changed is."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from lm_eval_codd import decoding
from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.llada import LLaDA
from tests.models.journals import PROMPTS, SHORT, num_whole_answers

COUNTS = ("requests", "nfe", "circuit_calls", "answer_tokens", "truncated_prompts")


class TestResume:
    @pytest.fixture(params=[LLaDA, Dream])
    def load(self, request, checkpoints, tmp_path):
        """`load(**arguments)`: a model that keeps its journal in one folder."""
        model = request.param
        return lambda **arguments: model(
            checkpoints[model.family], **{**SHORT, "journal": str(tmp_path / "journal"), **arguments}
        )

    @pytest.mark.parametrize("again", [{}, {"batch_size": 7}, {"batch_size": "auto"}, {"max_length": 200}])
    def test_nothing_is_decoded_again_and_the_counts_are_of_all(self, load, ask, decoded, again):
        first = load()
        expected = ask(first, PROMPTS)
        decoded.clear()
        second = load(**again)
        assert ask(second, PROMPTS) == expected
        assert decoded == []
        then, now = first.get_model_info(), second.get_model_info()
        assert [now[name] for name in COUNTS] == [then[name] for name in COUNTS]
        assert now["decoding_seconds"] == pytest.approx(then["decoding_seconds"], abs=2e-3)
        assert (then["journalled_answers"], now["journalled_answers"]) == (0, 7)
        assert now["warnings"] == []

    def test_it_goes_on_where_it_stopped(self, load, ask, decoded):
        expected = ask(load(journal=None), PROMPTS)
        ask(load(), PROMPTS[:3])
        decoded.clear()
        lm = load(batch_size=1)
        assert ask(lm, PROMPTS) == expected
        assert len(decoded) == 4
        assert (lm.get_model_info()["requests"], lm.get_model_info()["journalled_answers"]) == (7, 3)

    @pytest.mark.parametrize(
        ("decoder", "changed"),
        [
            ({"decoder": "p2", "eta": 0.5}, {"kappa": "sine"}),
            ({"decoder": "open_dllm"}, {"variant": "p2_upgraded_remdm"}),
            ({"decoder": "corrective", "threshold": 0.01}, {"threshold": 0.9}),
        ],
        ids=str,
    )
    def test_so_do_decoders_that_mask_again_each_by_its_options(self, load, ask, decoded, decoder, changed):
        given = {"block_length": 32, **decoder}  # its default, since they read none
        expected = ask(load(journal=None, **given), PROMPTS)
        ask(load(**given), PROMPTS[:3])
        decoded.clear()
        lm = load(batch_size=7, **given)
        assert ask(lm, PROMPTS) == expected
        assert (len(decoded), lm.get_model_info()["journalled_answers"]) == (4, 3)
        decoded.clear()
        ask(load(**{**given, **changed}), PROMPTS[:2])
        assert len(decoded) == 2

    @pytest.mark.parametrize(
        "changed",
        [
            {"num_steps": 8},
            {"seed": 1},
            {"alg": "margin"},
            {"temperature": 0.5},
            {"dtype": "bfloat16"},
            {"mask_id": 5},
            {"eos_id": 6},
            {"stop_at_eos": False},
        ],
        ids=str,
    )
    def test_a_changed_setting_starts_anew_and_the_old_answers_stay(self, load, ask, decoded, changed):
        ask(load(), PROMPTS[:2])
        decoded.clear()
        ask(load(**changed), PROMPTS[:2])
        assert len(decoded) == 2
        ask(load(), PROMPTS[:2])
        assert len(decoded) == 2

    def test_steps_given_the_other_way_are_the_same_setting(self, load, ask, decoded):
        ask(load(), PROMPTS[:2])
        decoded.clear()
        ask(load(num_steps=None, tokens_per_step=4), PROMPTS[:2])
        assert decoded == []

    def test_steps_do_not_matter_where_confidence_sets_the_pace(self, load, ask, decoded):
        ask(load(alg="low_confidence", threshold=0.5), PROMPTS[:2])
        decoded.clear()
        ask(load(alg="low_confidence", threshold=0.5, num_steps=4), PROMPTS[:2])
        assert decoded == []

    def test_repeats_are_answers_of_their_own(self, load, ask, decoded):
        expected = ask(load(temperature=1.0, journal=None), PROMPTS[:2], repeats=3)
        ask(load(temperature=1.0), PROMPTS[:2])
        decoded.clear()
        assert ask(load(temperature=1.0), PROMPTS[:2], repeats=3) == expected
        assert len(decoded) == 4

    def test_other_stop_words_need_no_decoding(self, load, ask, decoded):
        (text,) = ask(load(), ["a"])
        decoded.clear()
        assert ask(load(), ["a"], until=[text[2:4]]) == [text.partition(text[2:4])[0]]
        assert decoded == []

    def test_changed_weights_or_code_start_anew(self, load, ask, decoded, checkpoints, tmp_path, monkeypatch):
        lm = load()
        ask(lm, PROMPTS[:1])
        copy = tmp_path / "copy"
        shutil.copytree(checkpoints[lm.family], copy)
        decoded.clear()
        ask(type(lm)(str(copy), **SHORT, journal=tmp_path / "journal"), PROMPTS[:1])
        assert decoded == []  # the same files elsewhere are the same checkpoint
        weights = load_file(copy / "model.safetensors")
        next(iter(weights.values()))[0] += 1
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        ask(type(lm)(str(copy), **SHORT, journal=tmp_path / "journal"), PROMPTS[:1])
        assert len(decoded) == 1
        monkeypatch.setattr("lm_eval_codd.models.masked_setup.code_version", lambda room: "another")
        ask(load(), PROMPTS[:1])
        assert len(decoded) == 2

    def test_an_answer_is_in_the_journal_before_the_next_one_is_asked_for(self, load, ask, tmp_path, monkeypatch):
        stream, seen = decoding.stream, []

        def look_first(*args, **kwargs):
            for finished in stream(*args, **kwargs):
                seen.append(num_whole_answers(tmp_path / "journal"))
                yield finished

        monkeypatch.setattr(decoding, "stream", look_first)
        ask(load(batch_size=3), PROMPTS)
        assert seen == list(range(len(PROMPTS)))

    def test_answers_made_elsewhere_are_a_warning_in_the_result(self, load, ask, monkeypatch):
        ask(load(), PROMPTS[:3])
        monkeypatch.setattr("lm_eval_codd.models.record._device_name", lambda device: "another GPU")
        lm = load()
        ask(lm, PROMPTS)
        (warning,) = lm.get_model_info()["warnings"]
        assert warning.startswith("3 of 7 answers come out of a journal and were made on other hardware")

    def test_the_bar_starts_at_what_is_there(self, load, ask, make_request, capfd):
        ask(load(), PROMPTS[:3])
        lm = load(batch_size=4)
        capfd.readouterr()
        lm.generate_until([make_request(prompt, index) for index, prompt in enumerate(PROMPTS)])
        shown = capfd.readouterr().err
        assert "3/7" in shown
        assert "7/7" in shown

    def test_with_use_cache_both_are_filled(self, load, evaluate, decoded, tmp_path):
        evaluate(load())
        decoded.clear()
        evaluate(load(), use_cache=str(tmp_path / "cache"))
        cached = evaluate(load(journal=None), use_cache=str(tmp_path / "cache"))
        assert decoded == []
        assert cached["config"]["requests"] == 0
