"""Models of the DiT family in lm-eval: bounds, samples, journal, ranks, and what is refused."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

import lm_eval_codd as codd
from lm_eval_codd.carried import TokenText
from lm_eval_codd.circuits.files import save_circuit
from lm_eval_codd.dit import likelihood, log_likelihood_bounds
from lm_eval_codd.models.dit_lm import DLM, DUO, MDLM, DiTAR
from tests.conftest import random_circuit
from tests.models import tiny_dit
from tests.models.processes import evaluate_as, start_ranks
from tests.models.tiny_dit import ALGO, BEGIN, NAMES

SETTINGS = {"num_steps": 6, "num_samples": 3, "device": "cpu", "seed": 7}
TASKS = ("windows", "samples", "choices", "texts", "prompts")


def of(name):
    """Settings of a model; ar reads none of diffusions."""
    unread = ("num_steps", "num_samples") if name == "dit_ar" else ()
    return {**{key: value for key, value in SETTINGS.items() if key not in unread}, **ALGO.get(name, {})}


@pytest.fixture(scope="module")
def folders(golden_dir, tmp_path_factory):
    """name -> a checkpoint with its begin token and a tokenizer."""
    root = tmp_path_factory.mktemp("dit")
    made = {name: tiny_dit.write_checkpoint(golden_dir, root / name, name) for name in NAMES}
    for folder in made.values():
        tiny_dit.write_tokenizer(folder)
        path = f"{folder}/config.json"
        with open(path) as file:
            fields = json.load(file)
        with open(path, "w") as file:
            json.dump({**fields, "bos_token_id": BEGIN, "eos_token_id": BEGIN}, file)
    return made


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return tiny_dit.write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def one_thread():
    """As forked processes have: how a sum is split over threads shows in its last bit."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


@pytest.fixture
def run(tasks):
    """(model, its tasks, arguments of `simple_evaluate`) -> lm-eval's result."""

    def run(model, names=TASKS, **arguments):
        manager = TaskManager(include_defaults=False, include_path=tasks)
        return simple_evaluate(model, tasks=list(names), task_manager=manager, bootstrap_iters=0, **arguments)

    return run


def responses(result):
    """Everything that a model answered, by task and document; lm-eval evens out ranks with copies of an answer."""
    return {
        (task, sample["doc_id"]): json.dumps([each[0] for each in sample["resps"]])
        for task, samples in result["samples"].items()
        for sample in samples
    }


def asked(kind, *arguments, index=0, repeats=1):
    return Instance(
        request_type=kind,
        doc={},
        arguments=arguments,
        idx=0,
        metadata=("tiny", index, repeats),
        task_name="tiny",
        doc_id=index,
    )


def drawn(lm, prompts, **kwargs):
    """Answers to prompts, one a document."""
    return lm.generate_until([asked("generate_until", prompt, kwargs, index=i) for i, prompt in enumerate(prompts)])


class TestThroughLmEval:
    @pytest.mark.parametrize("name", NAMES)
    def test_batches_and_ranks_change_nothing(self, folders, run, tasks, tmp_path, name, one_thread):
        one, four = (run(get_model(name)(folders[name], **of(name), batch_size=size)) for size in (1, 4))
        assert {task for task, _ in responses(one)} == set(TASKS)
        assert responses(one) == responses(four)
        if name == "mdlm":
            out = tmp_path / "out.json"
            ranks = start_ranks(2, evaluate_as, name, folders[name], of(name), tasks, TASKS, out)
            for rank in ranks:
                rank.join(120)
            assert [rank.exitcode for rank in ranks] == [0, 0]
            two = json.loads(out.read_text())
            assert responses(two) == responses(one)
            assert two["config"]["world_size"] == 2
            assert two["config"]["likelihoods"]["tokens"] >= one["config"]["likelihoods"]["tokens"]
            assert two["config"]["requests"] >= one["config"]["requests"] == 10

    def test_dlm_takes_the_algorithm_from_the_folder_or_from_its_argument(self, folders, run):
        own = run(DLM(folders["duo"], **SETTINGS), ["windows"])
        assert own["config"]["algo"] == "duo"
        assert responses(own) == responses(run(DUO(folders["duo"], **SETTINGS), ["windows"]))
        assert run(DLM(folders["duo"], algo="d3pm", **SETTINGS), ["windows"])["config"]["algo"] == "d3pm"

    def test_a_result_says_what_the_values_are(self, folders, run):
        said = run(get_model("d3pm")(folders["d3pm"], **of("d3pm")))["config"]
        assert (said["family"], said["algo"], said["bound"], said["precision"]) == ("dit", "d3pm", True, "float64")
        assert said["prompt"] == "clamped" and said["clamped_prompts"] == 5
        assert said["settings"]["gen_length"] == 12
        assert said["settings"]["num_samples"] == 3 and said["settings"]["seed"] == 7
        assert said["nfe"] == 10 * 7 and said["requests"] == 10
        assert said["likelihoods"]["what"].startswith("lower bound of the log-likelihood, of 1000 steps, over 3 draws")
        assert said["likelihoods"]["bound"] is True and said["likelihoods"]["root_mean_square_stderr"] > 0
        assert said["likelihoods"]["what"].endswith("(mode=suffix); windows of ids are scored whole (mode=joint)")
        assert said["likelihoods"]["windows_of_ids"] == "joint"
        assert "5 samples had a prompt" in "\n".join(said["warnings"])
        exact = run(DiTAR(folders["dit_ar"], **of("dit_ar")), ["windows", "choices"])["config"]
        assert exact["bound"] is False and "exact" in exact["likelihoods"]["what"]
        assert exact["likelihoods"]["root_mean_square_stderr"] == 0.0
        json.dumps([said, exact])

    def test_float32_draws_are_said(self, folders, run):
        said = run(MDLM(folders["mdlm"], use_float64=False, **SETTINGS), ["samples"])["config"]
        assert said["precision"] == "float32"
        assert "as coarsely as float32 noise is" in said["warnings"][0]


class TestBounds:
    @pytest.mark.parametrize("name", NAMES)
    def test_are_those_of_the_python_api(self, folders, name):
        lm = get_model(name)(folders[name], **of(name))
        pairs = [([BEGIN, 0, 1, 2], [0, 3]), ([BEGIN, 0, 1, 2], [1])]
        given = [asked("loglikelihood", "abc", continuation) for continuation in ("ad", "b")]
        options = {"num_samples": 3, "seed": 7, "is_greedy": True}
        expected = [one.bound for one in likelihood.stream(lm.dit, pairs, **options, batch_size=None)]
        found = lm.loglikelihood(given, disable_tqdm=True)
        batched = log_likelihood_bounds(lm.dit, pairs, **options)
        assert [value for value, _ in found] == pytest.approx([one.value for one in batched], rel=1e-5)
        assert [(float(value), greedy) for value, greedy in found] == [(one.value, one.is_greedy) for one in expected]
        assert [value.num_tokens for value, _ in found] == [one.num_tokens for one in expected]
        assert [value.stderr for value, _ in found] == [one.stderr for one in expected]

    def test_modes(self, folders):
        suffix, joint = (MDLM(folders["mdlm"], mode=mode, **SETTINGS) for mode in ("suffix", "joint"))
        given = [asked("loglikelihood", "abc", "d")]
        ((short, _),), ((long, _),) = (lm.loglikelihood(given, disable_tqdm=True) for lm in (suffix, joint))
        assert (short.num_tokens, long.num_tokens) == (1, 5)

    def test_choices_of_a_question_share_their_noise_and_windows_do_not(self, folders, monkeypatch):
        seen, real = [], likelihood.row_keys
        monkeypatch.setattr(
            likelihood, "row_keys", lambda seed, rows, *rest: seen.extend(rows) or real(seed, rows, *rest)
        )
        lm = MDLM(folders["mdlm"], **SETTINGS)
        lm.loglikelihood([asked("loglikelihood", "abc", text) for text in ("ad", "bcd")], disable_tqdm=True)
        assert set(seen) == {(BEGIN, 0, 1, 2)}
        seen.clear()
        windows = [asked("loglikelihood_rolling", TokenText("", [BEGIN, *range(10)[::step]])) for step in (1, -1)]
        lm.loglikelihood_rolling(windows, disable_tqdm=True)
        assert set(seen) == {(BEGIN, *range(10)), (BEGIN, *range(10)[::-1])}

    def test_a_text_with_ids_is_one_window_as_they_stand(self, folders):
        ids = [BEGIN, 3, 1, 4, BEGIN]
        text = asked("loglikelihood_rolling", TokenText("never read", ids))
        for name, pair, mode in (("mdlm", ([], ids), "joint"), ("dit_ar", (ids[:1], ids[1:]), "suffix")):
            lm = get_model(name)(folders[name], **of(name))
            (value,) = lm.loglikelihood_rolling([text], disable_tqdm=True)
            options = {"noise_of": [ids], "num_samples": 3, "seed": 7, "batch_size": None}
            (one,) = likelihood.stream(lm.dit, [pair], mode, **options)
            assert (value, value.num_tokens, value.num_forward) == (
                one.bound.value,
                len(pair[1]),
                one.bound.num_forward,
            )

    def test_a_text_is_cut_into_windows_behind_a_begin_token_each(self, folders):
        lm = DiTAR(folders["dit_ar"], device="cpu")
        text = "abcdefghijklmnopqrstuvwxyz"
        (value,) = lm.loglikelihood_rolling([asked("loglikelihood_rolling", text)], disable_tqdm=True)
        pieces = [list(range(26))[start : start + 11] for start in (0, 11, 22)]
        expected = log_likelihood_bounds(lm.dit, [([BEGIN], piece) for piece in pieces])
        assert value == pytest.approx(sum(one.value for one in expected))
        assert value.num_tokens == 26
        assert lm.loglikelihood_rolling([asked("loglikelihood_rolling", "")], disable_tqdm=True) == [0.0]

    def test_an_end_token_follows_on_demand(self, folders):
        lm = DiTAR(folders["dit_ar"], append_eos=True, device="cpu")
        ((value, _),) = lm.loglikelihood([asked("loglikelihood", "ab", "c")], disable_tqdm=True)
        (expected,) = log_likelihood_bounds(lm.dit, [([BEGIN, 0, 1], [2, BEGIN])])
        assert (value, value.num_tokens) == (expected.value, 2)

    def test_a_context_that_is_too_long_loses_its_left_end_but_for_the_begin_token(self, folders):
        lm = DiTAR(folders["dit_ar"], device="cpu")
        ((value, _),) = lm.loglikelihood([asked("loglikelihood", "a" * 20 + "bcd", "efg")], disable_tqdm=True)
        (expected,) = log_likelihood_bounds(lm.dit, [([BEGIN, *[0] * 5, 1, 2, 3], [4, 5, 6])])
        assert value == expected.value
        assert lm.get_model_info()["likelihoods"]["truncated_contexts"] == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_targets_that_hold_the_mask_are_counted(self, folders, harness_log, name):
        lm = get_model(name)(folders[name], **of(name))
        clean, masked = [BEGIN, 3, 1, 4], [BEGIN, 3, 30, 30]
        windows = [asked("loglikelihood_rolling", TokenText("", ids)) for ids in (clean, masked, masked)]
        values = lm.loglikelihood_rolling(windows, disable_tqdm=True)
        said = lm.get_model_info()
        assert said["likelihoods"]["with_mask"] == ({} if name == "duo" else {"tiny": 1})
        if name != "duo":
            (line,) = [line for line in said["warnings"] if "hold the mask token" in line]
            assert line.startswith("1 targets hold the mask token (id 30), which is noise to this model and never text")
            assert line.endswith(
                "mean nothing: tiny (1); take it out of these texts, or give mask_id= where it is another"
            )
            assert line in harness_log.messages
        if name in ("mdlm", "dit_ar"):
            assert values[1] < -1e6 < values[0]

    def test_a_mask_in_what_is_not_scored_is_not_counted(self, folders):
        instance = asked("loglikelihood", TokenText("", [BEGIN, 30]), "a")
        for mode, counted in (("suffix", {}), ("joint", {"tiny": 1})):
            lm = MDLM(folders["mdlm"], mode=mode, **SETTINGS)
            lm.tok_encode = lambda text, **_: [BEGIN, 30, *([0] if text else [])][: 2 if not text.endswith("a") else 3]
            lm.loglikelihood([instance], disable_tqdm=True)
            assert lm.get_model_info()["likelihoods"]["with_mask"] == counted


class TestAgainstTheReferencesWrapper:
    """Arithmetic of the official wrapper: the mean over eight draws and all tokens of the bound."""

    @pytest.fixture
    def golden(self, golden_dir):
        with np.load(golden_dir / "dit" / "harness.npz") as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}

    @pytest.mark.parametrize(("name", "key"), [("duo", "duo_base"), ("mdlm", "mdlm")])
    def test_whole_rows(self, folders, golden, monkeypatch, name, key):
        lm = get_model(name)(folders[name], mode="joint", num_samples=8, device="cpu", batch_size=8)
        times = 1e-3 + (1 - 1e-3) * ((golden[f"{key}_full_t_u"] / 8 + torch.arange(8) / 8) % 1)
        monkeypatch.setattr(likelihood, "times_of_draws", lambda *_: times)
        monkeypatch.setattr(type(lm.dit.process), "noised", lambda *_: golden[f"{key}_full_xt"])
        prefix, suffix = (golden[part].tolist() for part in ("prefix", "suffix"))
        (((value, _),),) = (lm._loglikelihood_tokens([(None, prefix, suffix)], disable_tqdm=True),)
        assert -value / 12 == pytest.approx(float(golden[f"{key}_full"]), rel=1e-4)

    def test_ar(self, folders, golden):
        lm = DiTAR(folders["dit_ar"], device="cpu")
        prefix, suffix = (golden[part].tolist() for part in ("prefix", "suffix"))
        (((value, greedy),),) = (lm._loglikelihood_tokens([(None, prefix, suffix)], disable_tqdm=True),)
        assert -value / 6 == pytest.approx(float(golden["ar_nll_mean_suffix"]), rel=1e-4)
        assert greedy is bool(golden["ar_greedy"])


class TestSamples:
    @pytest.mark.parametrize("name", NAMES)
    def test_without_a_prompt_are_those_of_the_python_api(self, folders, name):
        lm = get_model(name)(folders[name], **of(name), batch_size=2)
        answers = drawn(lm, [""] * 3)
        predictor = "analytic" if name == "sedd" else "ancestral"
        expected = codd.sample_dit(lm.dit, 3, 12, None if name == "dit_ar" else 6, predictor, seed=7)
        assert [(list(one.ids), one.num_forward) for one in answers] == [tuple(one) for one in expected]

    def test_of_a_repeated_document_all_differ_and_none_depends_on_how_many_are_asked_for(self, folders):
        lm = MDLM(folders["mdlm"], **SETTINGS)
        instances = [asked("generate_until", "", {}, index=index, repeats=2) for index in range(3)]
        answers = lm.generate_until([one for one in instances for _ in range(2)], disable_tqdm=True)
        expected = [tuple(tokens) for tokens, _ in codd.sample_dit(lm.dit, 6, 12, 6, seed=7)]
        assert [one.ids for one in answers] == expected
        assert [one.ids for one in lm.generate_until(instances[2:] * 2, disable_tqdm=True)] == expected[4:]

    def test_are_by_the_number_that_a_document_names(self, folders):
        lm = MDLM(folders["mdlm"], **SETTINGS)
        instance = asked("generate_until", "", {}, index=0)
        instance.doc = {"sample": 2}
        (answer,) = lm.generate_until([instance], disable_tqdm=True)
        assert list(answer.ids) == codd.sample_dit(lm.dit, 3, 12, 6, seed=7)[2][0]

    @pytest.mark.parametrize("name", NAMES)
    def test_begin_with_their_prompt(self, folders, name, harness_log):
        lm = get_model(name)(folders[name], **of(name), gen_length=4, batch_size=2)
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

    def test_fill_the_row_behind_their_prompt(self, folders):
        (answer,) = drawn(MDLM(folders["mdlm"], **SETTINGS), ["abc"])
        assert len(answer.ids) == 8

    def test_a_prompt_that_is_too_long_loses_its_left_end_where_gen_length_says_how_much(self, folders):
        lm = MDLM(folders["mdlm"], gen_length=6, **SETTINGS)
        long, short = drawn(lm, ["a" * 20 + "bcd", "aabcd"])
        assert long == short
        assert lm.get_model_info()["truncated_prompts"] == 1
        with pytest.raises(ValueError, match="no room for a prompt of 21 tokens and its answer; give a"):
            drawn(MDLM(folders["mdlm"], **SETTINGS), ["a" * 20])

    def test_texts_are_cut_at_stop_strings_and_leave_out_what_the_tokenizer_lacks(self, folders, tmp_path):
        tokenizer = tiny_dit.write_tokenizer(tmp_path / "tokenizer", pad_token="<eos>")
        lm = DUO(folders["duo"], **SETTINGS, noise_removal="none", tokenizer=tokenizer)
        answers = drawn(lm, [""] * 20)
        number = sum(one.ids.count(30) for one in answers)
        assert lm.get_model_info()["tokens_without_text"] == number > 0
        assert f"{number} ids of samples are not in the tokenizer" in lm.get_model_info()["warnings"][-1]
        letter = answers[0][3]
        cut = drawn(lm, [""], until=[letter])
        assert cut[0] == answers[0].partition(letter)[0]
        assert cut[0].ids == answers[0].ids

    def test_a_circuit_takes_part(self, folders, tmp_path):
        path = tmp_path / "circuit.safetensors"
        save_circuit(random_circuit(0, num_positions=4, num_latents=2, vocab_size=30, dtype=torch.float32), path)
        lm = MDLM(folders["mdlm"], pc=str(path), pc_frac=1.1, **SETTINGS)
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


class TestJournal:
    def test_what_is_journalled_is_not_computed_again(self, folders, run, tmp_path):
        settings = {**SETTINGS, "journal": str(tmp_path / "journal")}
        first = run(MDLM(folders["mdlm"], **settings))
        (file,) = (tmp_path / "journal").iterdir()
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:-3]) + lines[-1][:30])
        again = run(MDLM(folders["mdlm"], **settings, batch_size=3))
        assert responses(again) == responses(first)
        said = again["config"]
        assert said["journalled_answers"] + said["likelihoods"]["journalled"] == len(lines) - 1 - 3

    @pytest.mark.parametrize("other", [{"num_steps": 5}, {"p_nucleus": 0.9}, {"use_float64": False}, {"seed": 8}])
    def test_of_other_settings_is_not_found(self, folders, tmp_path, other):
        settings = {**SETTINGS, "journal": str(tmp_path / "journal")}
        drawn(MDLM(folders["mdlm"], **settings), [""])
        lm = MDLM(folders["mdlm"], **{**settings, **other})
        drawn(lm, [""])
        assert lm.get_model_info()["journalled_answers"] == 0
        bounds = MDLM(folders["mdlm"], **{**settings, "num_samples": 5})
        drawn(bounds, [""])
        assert bounds.get_model_info()["journalled_answers"] == 1  # what bounds alone read

    def test_a_pair_that_is_alone_is_not_found_as_a_choice(self, folders, tmp_path):
        lm = MDLM(folders["mdlm"], **SETTINGS, journal=str(tmp_path / "journal"), is_greedy=False)
        (alone,) = lm.loglikelihood_rolling([asked("loglikelihood_rolling", "abc")], disable_tqdm=True)
        ((choice, _),) = lm.loglikelihood([asked("loglikelihood", "", "abc")], disable_tqdm=True)
        assert alone != choice
        assert lm.get_model_info()["likelihoods"]["journalled"] == 0

    def test_lm_evals_cache_is_read_and_refused_under_other_settings(self, folders, run, tmp_path):
        cache = str(tmp_path / "cache")
        first, again = (
            run(MDLM(folders["mdlm"], **SETTINGS), ["windows", "choices"], use_cache=cache) for _ in range(2)
        )
        assert responses(first) == responses(again)
        with pytest.raises(ValueError, match=r"holds answers made with num_samples=3 \(now 4\); give another path"):
            run(MDLM(folders["mdlm"], **{**SETTINGS, "num_samples": 4}), ["windows"], use_cache=cache)

    def test_lm_evals_cache_has_no_one_sample_for_all(self, folders, run, tmp_path):
        cache = str(tmp_path / "cache")
        first, again = (run(MDLM(folders["mdlm"], **SETTINGS), ["samples"], use_cache=cache) for _ in range(2))
        assert responses(first) == responses(again)
        assert len(set(responses(again).values())) == 5
        lm = MDLM(folders["mdlm"], **SETTINGS)
        lm.cache_hook = CacheHook(SimpleNamespace(dbdict={}))
        with pytest.raises(ValueError, match="and 2 of task tiny have none; run it without --use_cache, or"):
            drawn(lm, ["", ""])


class TestSettings:
    def test_who_wins(self, folders, run, harness_log):
        lm = MDLM(folders["mdlm"], num_samples=2, device="cpu")
        said = run(lm, ["windows", "samples"], gen_kwargs="num_mc=4,steps=3,p_nucleus=0.9", torch_random_seed=5)[
            "config"
        ]
        settings = said["settings"]
        assert (settings["num_samples"], settings["num_steps"], settings["p_nucleus"]) == (2, 3, 0.9)
        assert settings["seed"] == 5
        assert any(
            "`num_mc=4` of --gen_kwargs does nothing beside `num_samples=2`" in one for one in harness_log.messages
        )

    def test_of_a_task_are_its_own_samples(self, folders):
        lm = MDLM(folders["mdlm"], device="cpu", seed=7)
        (answer,) = drawn(lm, [""], num_steps=2)
        assert list(answer.ids) == codd.sample_dit(lm.dit, 1, 12, 2, seed=7)[0][0]
        assert lm.get_model_info()["settings_of_tasks"] == {"tiny": {"num_steps": 2}}

    def test_noise_removal_none_is_a_word(self, folders):
        assert MDLM(folders["mdlm"], noise_removal=None, device="cpu").config.noise_removal == "none"
        assert MDLM(folders["mdlm"], p_nucleus=1, device="cpu").config.p_nucleus == 1.0


@pytest.mark.parametrize(
    ("name", "home", "settings", "said"),
    [
        ("mdlm", "duo", {}, "says that it is duo, and weights of all algorithms look alike; use --model duo, or say"),
        ("mdlm", "mdlm", {"algo": "sedd"}, "`algo=sedd` is another model's; use --model sedd"),
        ("mdlm", "mdlm", {"algo": "x"}, "`algo=x` is not known; use one of duo, mdlm, sedd, d3pm, ar"),
        ("duo", "dit_ar", {}, "use --model dit_ar, or say algo=duo"),
        ("duo", "dit_ar", {"algo": "duo"}, "sees only the positions before it (causal: true); use algo=ar"),
        ("mdlm", None, {}, "`pretrained` is missing"),
        ("mdlm", "/nowhere", {}, "/nowhere"),
        ("mdlm", "mdlm", {"num_stepz": 3}, "unknown argument `num_stepz`; did you mean `num_steps`"),
        ("mdlm", "mdlm", {"temperature": 1.0}, "unknown argument `temperature`"),
        ("mdlm", "mdlm", {"num_samples": 0}, "`num_samples=0` is out of range; it must be at least 1"),
        (
            "mdlm",
            "mdlm",
            {"mode": "sufix"},
            "`mode=sufix` is not known; use one of suffix, joint (did you mean",
        ),
        ("mdlm", "mdlm", {"predictor": "psi"}, "`predictor=psi` is not known; use one of ancestral, analytic"),
        ("duo", "duo", {"predictor": "analytic"}, "`predictor=analytic` is not one of duo; use ancestral"),
        ("mdlm", "mdlm", {"predictor": "analytic", "noise_removal": "greedy"}, "does not go with predictor=analytic"),
        ("mdlm", "mdlm", {"p_nucleus": 0}, "`p_nucleus=0` is out of range"),
        ("mdlm", "mdlm", {"gen_length": 13}, "`gen_length=13` is more than `max_length=12`; use at most that"),
        ("mdlm", "mdlm", {"max_length": 13}, "`max_length=13` is more than the checkpoint's 12"),
        ("mdlm", "mdlm", {"pc_frac": 0.5}, "`pc_frac=0.5` does nothing without a circuit; add pc="),
        ("duo", "duo", {"pc": "x.jpc"}, "a circuit does not go with algo=duo: it has no mask"),
        ("dit_ar", "dit_ar", {"pc": "x.jpc"}, "a circuit does not go with algo=ar: it draws one token at a time"),
        ("dit_ar", "dit_ar", {"num_steps": 3}, "`num_steps=3` is of diffusions, and ar draws each token after those"),
        ("dit_ar", "dit_ar", {"mode": "joint"}, "`mode=joint` is of diffusions"),
        ("mdlm", "mdlm", {"tokenizer": "/nowhere"}, "/nowhere"),
    ],
)
def test_mistakes_are_one_line_before_weights_are_loaded(folders, monkeypatch, name, home, settings, said):
    monkeypatch.setattr("lm_eval_codd.models.dit_lm.load_dit", lambda *_: pytest.fail("it loads weights"))
    with pytest.raises(ValueError) as caught:
        get_model(name)(folders.get(home, home), device="cpu", **settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_tokenizer_of_another_vocabulary_is_refused(folders, tmp_path):
    tokenizer = tiny_dit.write_tokenizer(tmp_path, more=470)
    with pytest.raises(ValueError, match=r"has 501 tokens, and `.*` 31 logit columns; use the tokenizer that"):
        MDLM(folders["mdlm"], tokenizer=tokenizer, device="cpu")


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
def test_requests_that_cannot_be_answered_are_one_line(folders, ask, said):
    with pytest.raises(ValueError) as caught:
        ask(MDLM(folders["mdlm"], **SETTINGS))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_documentation_names_every_argument():
    text = (Path(__file__).parents[2] / "docs" / "dit.md").read_text()
    usual = {"max_batch_size", "pc_revision", "trust_remote_code"}
    assert {name for name in DLM._arguments() if f"`{name}`" not in text} == usual | {"pretrained"}


def test_a_values_standard_error_is_that_of_its_draws(folders):
    lm = MDLM(folders["mdlm"], num_samples=1, device="cpu")
    ((value, _),) = lm.loglikelihood([asked("loglikelihood", "ab", "c")], disable_tqdm=True)
    assert value.stderr is None and math.isfinite(value)
