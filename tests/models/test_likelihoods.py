"""lm-eval's likelihood requests, on its own task files: multiple choice, perplexity, and both beside answers."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

import lm_eval_codd as codd
from lm_eval_codd.circuits.files import save_circuit
from lm_eval_codd.models import masked_setup
from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.models.likelihood_record import LikelihoodTotals
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.pairs import fit, pair_of, reads_greedy, windows_of
from tests.conftest import random_circuit
from tests.models.stock_tasks import same, values

SETTINGS = {"gen_length": 16, "block_length": 16, "num_steps": 4, "num_samples": 8, "device": "cpu"}


class TestStockTasks:
    def test_a_circuit_takes_part(self, checkpoints, run_stock, tmp_path):
        path = tmp_path / "circuit.safetensors"
        circuit = random_circuit(0, num_positions=16, num_latents=2, vocab_size=512, dtype=torch.float32)
        save_circuit(circuit, path)
        settings = {**SETTINGS, "pc": str(path), "pc_frac": 1.1}
        coupled = run_stock(CoddLLaDA(checkpoints["llada"], **settings), ["arc_easy", "wikitext"])
        alone = run_stock(LLaDA(checkpoints["llada"], **SETTINGS), ["arc_easy", "wikitext"])
        said = coupled["config"]["likelihoods"]
        assert said["circuit_calls"] > 0 and "not a bound" in said["what"]
        assert not same(values(coupled), values(alone))
        lm = CoddLLaDA(checkpoints["llada"], **settings)
        sample = coupled["samples"]["arc_easy"][0]
        pair = pair_of(SimpleNamespace(args=sample["arguments"][0]), lm.tok_encode)
        config = codd.LikelihoodConfig(num_samples=8, pc_frac=1.1, seed=said["settings"]["seed"])
        (expected,) = codd.log_likelihood(lm.backbone, [pair], config, lm.circuit)
        assert values(coupled)["arc_easy", 0][0] == pytest.approx(expected.value, abs=2e-3)

    def test_values_are_those_of_the_python_api(self, checkpoints, run_stock):
        lm = LLaDA(checkpoints["llada"], **SETTINGS, cfg_scale=0.5)
        result = run_stock(lm, ["arc_easy"], torch_random_seed=5)
        for sample in result["samples"]["arc_easy"]:
            pairs = [pair_of(SimpleNamespace(args=arguments), lm.tok_encode) for arguments in sample["arguments"]]
            config = codd.LikelihoodConfig(num_samples=8, cfg_scale=0.5, seed=5)
            expected = [one.value for one in codd.log_likelihood(lm.backbone, pairs, config)]
            assert values(result)["arc_easy", sample["doc_id"]] == pytest.approx(expected, abs=2e-3)

    def test_a_result_says_what_the_values_are(self, checkpoints, run_stock):
        result = run_stock(LLaDA(checkpoints["llada"], **SETTINGS), ["arc_easy"])
        said = result["config"]["likelihoods"]
        assert said["what"] == "lower bound of the log-likelihood, over 8 random masks"
        assert (said["settings"]["estimator"], said["settings"]["num_samples"]) == ("mc", 8)
        assert said["likelihoods"] == 15 and said["root_mean_square_stderr"] > 0
        assert result["config"]["requests"] == 0
        json.dumps(said)

    def test_lambadas_accuracy_is_of_greedy_decoding(self, checkpoints, run_stock):
        lm = LLaDA(checkpoints["llada"], **SETTINGS)
        result = run_stock(lm, ["lambada_openai"])
        sample = result["samples"]["lambada_openai"][0]
        prompt, target = pair_of(SimpleNamespace(args=sample["arguments"][0]), lm.tok_encode)
        config = codd.LikelihoodConfig(num_samples=1, is_greedy=True)
        (expected,) = codd.log_likelihood(lm.backbone, [(prompt, target)], config)
        assert bool(sample["acc"]) is expected.is_greedy
        with pytest.raises(ValueError, match="`is_greedy=False`, but a metric of task lambada_openai reads"):
            run_stock(LLaDA(checkpoints["llada"], **SETTINGS, is_greedy=False), ["lambada_openai"])

    def test_other_projects_names(self, checkpoints, run_stock):
        settings = "device=cpu,gen_length=16,block_length=16,num_steps=4"
        args = f"pretrained={checkpoints['llada']},{settings}"
        official = run_stock("llada", ["arc_easy"], model_args=f"{args},mc_num=8,cfg=0.5,is_check_greedy=False,seed=3")
        own = LLaDA(checkpoints["llada"], **SETTINGS, cfg_scale=0.5, seed=3)
        assert same(values(official), values(run_stock(own, ["arc_easy"])))
        typed = run_stock("llada", ["arc_easy"], model_args=args, gen_kwargs="mc_num=8,cfg=0.5,seed=3")
        assert same(values(official), values(typed))
        args = f"pretrained={checkpoints['dream']},{settings},nll_type=ar_ftb"
        chain = run_stock("dream", ["arc_easy"], model_args=args, limit=1)
        assert chain["config"]["likelihoods"]["settings"]["estimator"] == "chain"


class TestBesideAnswers:
    def test_likelihoods_and_answers_in_one_evaluation(self, checkpoints, make_tasks, monkeypatch, load_mixed):
        lm = LLaDA(checkpoints["llada"], **SETTINGS)
        both = load_mixed(lm, ["tiny", "other"])
        assert both["config"]["requests"] == 3 and both["config"]["likelihoods"]["likelihoods"] == 3
        again = load_mixed(lm, ["tiny", "other"])
        assert again["config"]["requests"] == 3 and again["config"]["likelihoods"]["likelihoods"] == 3
        alone = load_mixed(lm, ["tiny"])
        assert alone["config"]["requests"] == 3 and "likelihoods" not in alone["config"]
        assert values({"samples": {"other": both["samples"]["other"]}}) == values(
            {"samples": {"other": again["samples"]["other"]}}
        )

    @pytest.fixture
    def load_mixed(self, make_tasks):
        folder = make_tasks(num_rows=3)
        text = (folder / "tiny.yaml").read_text()
        lines = [line for line in text.splitlines() if not line.startswith("generation_kwargs")]
        other = "\n".join(lines).replace("task: tiny", "task: other").replace("generate_until", "loglikelihood")
        other = other.partition("metric_list")[0].replace("repeats: 1", "")
        (folder / "other.yaml").write_text(
            other + "metric_list:\n  - metric: perplexity\n    aggregation: perplexity\n    higher_is_better: false\n"
        )
        manager = TaskManager(include_defaults=False, include_path=str(folder))
        return lambda lm, tasks: simple_evaluate(lm, tasks=tasks, task_manager=manager, bootstrap_iters=0)


class TestMasksInTargets:
    MASK = "<|mdm_mask|>"

    def test_are_counted_by_task_and_said_once(self, checkpoints, harness_log, tmp_path):
        settings = {**SETTINGS, "journal": str(tmp_path)}
        asked = [
            request("a", f"b{self.MASK}"),
            request("a", f"b{self.MASK}", name="other"),
            request(f"a{self.MASK}", "b"),
            request("a", "b", index=1),
            request("a", f"c{self.MASK}", index=2),
        ]
        for _ in range(2):  # the second time out of the journal
            lm = LLaDA(checkpoints["llada"], **settings)
            lm.loglikelihood(asked, disable_tqdm=True)
            said = lm.get_model_info()
            assert said["likelihoods"]["with_mask"] == {"tiny": 2, "other": 1}
            (line,) = [line for line in said["warnings"] if "hold the mask token" in line]
            assert line.startswith("3 targets hold the mask token (id 490)") and "tiny (2), other (1)" in line
        assert said["likelihoods"]["journalled"] == 4
        # Of each of the two models, by task, and nowhere else.
        assert [message for message in harness_log.messages if "hold the mask token" in message] == [line, line]

    def test_of_windows_too(self, checkpoints):
        lm = LLaDA(checkpoints["llada"], **SETTINGS)
        lm.loglikelihood_rolling([request(f"ab{self.MASK}"), request("ab")], disable_tqdm=True)
        assert lm.get_model_info()["likelihoods"]["with_mask"] == {"tiny": 1}

    def test_over_ranks_they_add_up(self):
        parts = [LikelihoodTotals(likelihoods=1, with_mask=found) for found in ({"a": 1}, {"a": 2, "b": 1}, {})]
        assert LikelihoodTotals.over_ranks(parts).with_mask == {"a": 3, "b": 1}


class TestJournal:
    def test_what_is_journalled_is_not_computed_again(self, checkpoints, run_stock, tmp_path, monkeypatch):
        folder = tmp_path / "journal"
        settings = {**SETTINGS, "journal": str(folder)}
        first = run_stock(LLaDA(checkpoints["llada"], **settings), ["arc_easy", "lambada_openai"])
        (file,) = folder.iterdir()
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:-4]) + lines[-1][:30])
        again = run_stock(LLaDA(checkpoints["llada"], **settings, batch_size=5), ["arc_easy", "lambada_openai"])
        assert same(values(first), values(again))
        said = again["config"]["likelihoods"]
        assert said["likelihoods"] == 19 and said["journalled"] == 15
        other = run_stock(LLaDA(checkpoints["llada"], **{**settings, "num_samples": 9}), ["arc_easy"])
        assert other["config"]["likelihoods"]["journalled"] == 0


class TestCache:
    def test_lm_evals_cache_is_read_and_refused_under_other_settings(self, checkpoints, run_stock, tmp_path):
        cache = str(tmp_path / "cache")
        first = run_stock(LLaDA(checkpoints["llada"], **SETTINGS), ["lambada_openai"], use_cache=cache)
        again = run_stock(LLaDA(checkpoints["llada"], **SETTINGS), ["lambada_openai"], use_cache=cache)
        assert values(first) == values(again) and "likelihoods" not in again["config"]
        with pytest.raises(ValueError, match=r"made with num_samples of likelihoods=8 \(now 9\)"):
            run_stock(
                LLaDA(checkpoints["llada"], **{**SETTINGS, "num_samples": 9}), ["lambada_openai"], use_cache=cache
            )

    def test_likelihoods_of_other_code_are_not_read_back(self, checkpoints, run_stock, tmp_path, monkeypatch):
        cache = str(tmp_path / "cache")
        run_stock(LLaDA(checkpoints["llada"], **SETTINGS), ["lambada_openai"], use_cache=cache)
        version = masked_setup.code_version
        monkeypatch.setattr(
            masked_setup, "code_version", lambda room: "changed" if room == "likelihood" else version(room)
        )
        with pytest.raises(ValueError, match=r"made with code of likelihoods=\w+ \(now changed\); give another path"):
            run_stock(LLaDA(checkpoints["llada"], **SETTINGS), ["lambada_openai"], use_cache=cache)


def request(*arguments, name="tiny", index=0):
    kind = "loglikelihood" if len(arguments) == 2 else "loglikelihood_rolling"
    return Instance(kind, {}, arguments, idx=0, metadata=(name, index, 1), task_name=name, doc_id=index)


def letters(text):
    return [ord(letter) for letter in text]


class TestPairs:
    def test_spaces_belong_to_the_continuation(self):
        assert pair_of(request("a b ", "c"), letters) == (letters("a b"), letters(" c"))

    def test_an_empty_context_is_none(self, checkpoints):
        assert pair_of(request("", "c"), letters) == ([], letters("c"))
        lm = LLaDA(checkpoints["llada"], **SETTINGS)
        ((value, _),) = lm.loglikelihood([request("", "abc")], disable_tqdm=True)
        config = codd.LikelihoodConfig(num_samples=8, seed=lm.likelihoods.seed)
        (expected,) = codd.log_likelihood(lm.backbone, [([], lm.tok_encode("abc"))], config)
        assert value == pytest.approx(expected.value, abs=1e-3)

    def test_an_empty_continuation_is_an_error_that_names_the_document(self):
        with pytest.raises(ValueError, match="task arc, document 7: the continuation '' has no tokens of its own"):
            pair_of(request("a", "", name="arc", index=7), letters)

    def test_a_context_loses_its_left_end(self):
        assert fit([1, 2, 3, 4], [5, 6], 5, request("", "")) == [2, 3, 4]
        assert fit([1, 2], [5, 6], 4, request("", "")) == [1, 2]
        assert fit([1, 2], [5, 6], 2, request("", "")) == []

    def test_a_continuation_longer_than_the_model_is_an_error(self, checkpoints):
        lm = LLaDA(checkpoints["llada"], **SETTINGS, max_length=20)
        with pytest.raises(ValueError, match="task tiny, document 3: a continuation of 21 tokens exceeds"):
            lm.loglikelihood([request("a", "b" * 21, index=3)], disable_tqdm=True)

    @pytest.mark.parametrize("length", [0, 1, 6, 7, 8, 13, 40])
    def test_windows_have_every_token_once_and_fit(self, length):
        text = "".join(chr(97 + i % 26) for i in range(length))
        windows = list(windows_of(request(text), letters, 8))
        assert [token for _, target in windows for token in target] == letters(text)
        assert all(len(prompt) + len(target) <= 8 for prompt, target in windows)
        done = 0
        for prompt, target in windows:
            assert prompt == letters(text)[done - len(prompt) : done]
            assert prompt or not done
            done += len(target)

    def test_a_bos_stands_before_the_first_window_alone(self):
        def encode(text):
            return [1, *letters(text)]

        windows = list(windows_of(request("abcdefghij"), encode, 6))
        assert windows[0][0] == [1] and 1 not in [token for prompt, _ in windows[1:] for token in prompt]
        assert [token for _, target in windows for token in target] == letters("abcdefghij")

    def test_an_empty_text_is_certain(self, checkpoints):
        lm = LLaDA(checkpoints["llada"], **SETTINGS)
        empty, other = lm.loglikelihood_rolling([request(""), request("ab")], disable_tqdm=True)
        assert empty == 0 and other < 0 and math.isfinite(other)


class TestWhoReadsGreedy:
    def test_metrics_say_it(self, stock_manager):
        names = ["arc_easy", "lambada_openai", "wikitext"]
        tasks = stock_manager.load(names)["tasks"]
        assert [reads_greedy(tasks[name]) for name in names] == [False, True, None]
        assert reads_greedy(None) is None
