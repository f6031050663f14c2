"""Samples of the DiT family in lm-eval: unconditional, behind a prompt, with a circuit, without a tokenizer."""

import pytest
import torch
from lm_eval.api.registry import get_model

import lm_eval_codd as codd
from lm_eval_codd.carried import TokenText
from lm_eval_codd.circuits.files import save_circuit
from lm_eval_codd.dit import psi_profile
from lm_eval_codd.models.dit_lm import DUO, MDLM
from tests.conftest import random_circuit
from tests.models import tiny_dit
from tests.models.tiny_dit import BEGIN, NAMES, SETTINGS, asked, drawn, of


class TestSamples:
    @pytest.mark.parametrize("name", NAMES)
    def test_without_a_prompt_are_those_of_the_python_api(self, dit_folders, name):
        lm = get_model(name)(dit_folders[name], **of(name), batch_size=2)
        answers = drawn(lm, [""] * 3)
        predictor = "analytic" if name == "sedd" else "ancestral"
        expected = codd.sample_dit(lm.dit, 3, 12, None if name == "dit_ar" else 6, predictor, seed=7)
        assert [(list(one.ids), one.num_forward) for one in answers] == [tuple(one) for one in expected]

    @pytest.mark.parametrize("name", ["duo", "mdlm"])
    def test_of_psi_samplers_are_those_of_their_profile(self, dit_folders, name):
        words = "predictor=psi,psi_modes=pure-posterior/constant-0.5/pure-pc,psi_shares=0.2/0.6"
        shown = ",".join(f"{name}={value}" for name, value in {**of(name), "pretrained": dit_folders[name]}.items())
        lm = get_model(name).create_from_arg_string(f"{shown},{words}", {"batch_size": 2})
        psi = psi_profile(lm.dit.schedule, 6, ("pure-posterior", "constant-0.5", "pure-pc"), (0.2, 0.6))
        expected = codd.sample_dit(lm.dit, 3, 12, 6, "psi", seed=7, psi=psi)
        assert [(list(one.ids), one.num_forward) for one in drawn(lm, [""] * 3)] == [tuple(one) for one in expected]
        assert expected != codd.sample_dit(lm.dit, 3, 12, 6, seed=7)
        info = lm.get_model_info()
        assert (info["settings"]["psi_modes"], info["extensions"]) == ("pure-posterior/constant-0.5/pure-pc", [])

    def test_of_a_repeated_document_all_differ_and_none_depends_on_how_many_are_asked_for(self, dit_folders):
        lm = MDLM(dit_folders["mdlm"], **SETTINGS)
        instances = [asked("generate_until", "", {}, index=index, repeats=2) for index in range(3)]
        answers = lm.generate_until([one for one in instances for _ in range(2)], disable_tqdm=True)
        expected = [tuple(tokens) for tokens, _ in codd.sample_dit(lm.dit, 6, 12, 6, seed=7)]
        assert [one.ids for one in answers] == expected
        assert [one.ids for one in lm.generate_until(instances[2:] * 2, disable_tqdm=True)] == expected[4:]

    def test_are_by_the_number_that_a_document_names(self, dit_folders):
        lm = MDLM(dit_folders["mdlm"], **SETTINGS)
        instance = asked("generate_until", "", {}, index=0)
        instance.doc = {"sample": 2}
        (answer,) = lm.generate_until([instance], disable_tqdm=True)
        assert list(answer.ids) == codd.sample_dit(lm.dit, 3, 12, 6, seed=7)[2][0]

    @pytest.mark.parametrize("name", NAMES)
    def test_begin_with_their_prompt(self, dit_folders, name, harness_log):
        lm = get_model(name)(dit_folders[name], **of(name), gen_length=4, batch_size=2)
        answers = drawn(lm, ["abc", "de", "abc"])
        assert all(len(one.ids) == 4 for one in answers)
        assert answers[0] == answers[2]
        prompts = [[BEGIN, 0, 1, 2], [BEGIN, 3, 4]]
        for prompt, answer in zip(prompts, answers, strict=False):
            predictor = "analytic" if name == "sedd" else "ancestral"
            ((tokens, _),) = codd.sample_dit(
                lm.dit,
                1,
                len(prompt) + 4,
                None if name == "dit_ar" else 6,
                predictor,
                seed=7,
                prompts=[prompt],
            )
            assert tokens == [*prompt, *answer.ids]
        said = [line for line in harness_log.messages if "samples had a prompt" in line]
        assert len(said) == 1 and ("heuristic" in said[0]) is (name == "duo")

    def test_fill_the_row_behind_their_prompt(self, dit_folders):
        (answer,) = drawn(MDLM(dit_folders["mdlm"], **SETTINGS), ["abc"])
        assert len(answer.ids) == 8

    def test_a_prompt_that_is_too_long_loses_its_left_end_where_gen_length_says_how_much(self, dit_folders):
        lm = MDLM(dit_folders["mdlm"], gen_length=6, **SETTINGS)
        long, short = drawn(lm, ["a" * 20 + "bcd", "aabcd"])
        assert long == short
        assert lm.get_model_info()["truncated_prompts"] == 1
        with pytest.raises(ValueError, match="no room for a prompt of 21 tokens and its answer; give a"):
            drawn(MDLM(dit_folders["mdlm"], **SETTINGS), ["a" * 20])

    def test_texts_are_cut_at_stop_strings_and_leave_out_what_the_tokenizer_lacks(self, dit_folders, tmp_path):
        tokenizer = tiny_dit.write_tokenizer(tmp_path / "tokenizer", pad_token="<eos>")
        lm = DUO(dit_folders["duo"], **SETTINGS, noise_removal="none", tokenizer=tokenizer)
        answers = drawn(lm, [""] * 20)
        number = sum(one.ids.count(30) for one in answers)
        assert lm.get_model_info()["tokens_without_text"] == number > 0
        assert f"{number} ids of samples are not in the tokenizer" in lm.get_model_info()["warnings"][-1]
        letter = answers[0][3]
        cut = drawn(lm, [""], until=[letter])
        assert cut[0] == answers[0].partition(letter)[0]
        assert cut[0].ids == answers[0].ids

    def test_a_circuit_takes_part(self, dit_folders, tmp_path):
        path = tmp_path / "circuit.safetensors"
        save_circuit(random_circuit(0, num_positions=4, num_latents=2, vocab_size=30, dtype=torch.float32), path)
        lm = MDLM(dit_folders["mdlm"], pc=str(path), pc_frac=1.1, **SETTINGS)
        answers = drawn(lm, [""] * 3)
        expected = codd.sample_dit(lm.dit, 3, 12, 6, seed=7, circuit=lm.circuit, pc_frac=1.1)
        assert [list(one.ids) for one in answers] == [one[0] for one in expected]
        said = lm.get_model_info()
        assert said["circuit_calls"] > 0 and said["extensions"] == ["a circuit in the samplers of the DiT family"]


class TestWithoutATokenizer:
    @pytest.fixture
    def bare(self, golden_dir, tmp_path):
        return tiny_dit.write_checkpoint(golden_dir, tmp_path / "bare", "duo")

    def test_ids_are_answered_and_text_is_refused(self, bare):
        lm = DUO(bare, **SETTINGS)
        (answer,) = drawn(lm, [""])
        assert answer == " ".join(map(str, answer.ids))
        window = asked("loglikelihood_rolling", TokenText("", range(12)))
        assert lm.loglikelihood_rolling([window], disable_tqdm=True)[0] < 0
        for ask in (
            lambda: drawn(lm, ["abc"]),
            lambda: lm.loglikelihood([asked("loglikelihood", "a", "b")]),
            lambda: lm.chat_template(True),
        ):
            with pytest.raises(ValueError, match="has no tokenizer, so only requests of ids can be answered; give tok"):
                ask()

    def test_one_that_is_named_is_taken(self, bare, tmp_path):
        lm = DUO(bare, tokenizer=tiny_dit.write_tokenizer(tmp_path / "tokenizer"), **SETTINGS)
        assert lm.tok_encode("abc") == [BEGIN, 0, 1, 2]  # which the config does not name
        assert lm.tok_encode("abc", add_special_tokens=False) == [0, 1, 2]
        assert lm.tokenizer_name.endswith("tokenizer")


def test_a_tokenizer_of_another_vocabulary_is_refused(dit_folders, tmp_path):
    tokenizer = tiny_dit.write_tokenizer(tmp_path, more=470)
    with pytest.raises(ValueError, match=r"has 501 tokens, and `.*` 31 logit columns; use the tokenizer that"):
        MDLM(dit_folders["mdlm"], tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (
            lambda lm: lm.loglikelihood([asked("loglikelihood", "a", "")]),
            "has no tokens of its own, and nothing has",
        ),
        (
            lambda lm: lm.loglikelihood([asked("loglikelihood", "a", "b" * 12)]),
            "a continuation of 12 tokens does not",
        ),
        (
            lambda lm: lm.loglikelihood_rolling([asked("loglikelihood_rolling", TokenText("", range(13)))]),
            "a window of 13 tokens is longer than `max_length=12`; pack the text for this model",
        ),
        (
            lambda lm: lm.loglikelihood_rolling([asked("loglikelihood_rolling", TokenText("", [31]))]),
            "`tokens` hold ids from 31 to 31; the vocabulary",
        ),
        (lambda lm: drawn(lm, [TokenText("", [31])]), "`prompts` hold id 31; the vocabulary of"),
    ],
)
def test_requests_that_cannot_be_answered_are_one_line(dit_folders, ask, said):
    with pytest.raises(ValueError) as caught:
        ask(MDLM(dit_folders["mdlm"], **SETTINGS))
    assert said in str(caught.value) and "\n" not in str(caught.value)
