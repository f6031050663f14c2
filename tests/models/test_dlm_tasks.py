"""Perplexities of corpora and of samples, from the command's arguments to its results, on the golden models."""

import json
import os
from pathlib import Path

import pytest
import torch
from lm_eval import evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

import lm_eval_codd as codd
from lm_eval_codd.carried import TokenText
from lm_eval_codd.dit.likelihood import stream
from lm_eval_codd.models.dit_lm import MDLM
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.pairs import windows_of
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.runs import record
from lm_eval_codd.runs.make_run import parse_run
from tests import dlm_results
from tests.dlm_results import NUM_SAMPLES, SETTINGS
from tests.forked import PATIENCE
from tests.models.processes import start_ranks

PPL, GEN = dlm_results.TASKS
TASKS_DIR = Path(__file__).parents[2] / "tasks"


@pytest.fixture(scope="module")
def run(golden_dir, word_tokenizer, tmp_path_factory):
    """(model, metadata, settings) -> results with samples; each evaluated once."""
    root = tmp_path_factory.mktemp("dlm")
    data = dlm_results.write_corpus(root / "data")
    scorer, done = str(golden_dir / "dit" / "tiny-gpt2"), {}

    def evaluate(model="mdlm", given=None, ranks=1, **settings):
        key = json.dumps([model, given, ranks, settings])
        if key not in done:
            checkpoint = root / model
            if not checkpoint.is_dir():
                dlm_results.write_checkpoint(golden_dir, checkpoint, model)
            arguments = (model, str(checkpoint), str(word_tokenizer), scorer)
            with pytest.MonkeyPatch.context() as patch:
                # `datasets` puts a copy in the place of `os.environ` when it works in processes; this one comes back.
                patch.setattr(os, "environ", os.environ)
                patch.setenv("CODD_DATA_DIR", str(data))
                out = root / f"results{len(done)}"
                if ranks == 1:
                    done[key] = dlm_results.evaluate(*arguments, out, given or {}, {**SETTINGS, **settings})
                else:
                    done[key] = _on_ranks(ranks, arguments, out, given or {}, {**SETTINGS, **settings})
        return done[key]

    return evaluate


def _on_ranks(number, arguments, out, given, settings):
    started = start_ranks(number, dlm_results.evaluate, *arguments, out, given, settings)
    for one in started:
        one.join(PATIENCE)
    assert [one.exitcode for one in started] == [0] * number
    (results,) = out.glob("*/results_*.json")
    samples = {
        task: [json.loads(line) for path in out.glob(f"*/samples_{task}_*.jsonl") for line in path.open()]
        for task in dlm_results.TASKS
    }
    return {**json.loads(results.read_text()), "samples": samples}


def answers(results):
    """What the model said of each document, by task and number; ranks are evened out with copies."""
    return {
        (task, one["doc_id"]): json.loads(json.dumps(one["resps"][0][0]))
        for task, samples in results["samples"].items()
        for one in samples
    }


def figures(results):
    return {
        (task, name): value
        for task in dlm_results.TASKS
        for name, value in results["results"][task].items()
        if isinstance(value, float)
    }


class TestMDLM:
    def test_one_command_measures_both(self, run):
        results = run()
        scores, packing = results["results"], results["configs"][PPL]["metadata"]["packing"]
        assert packing["length"] == 12 and packing["windows"] == len(results["samples"][PPL]) > 5
        assert scores[PPL]["token_perplexity,none"] > 1 and scores[PPL]["token_perplexity_stderr,none"] > 0
        assert scores[GEN]["gen_ppl,none"] > 1 and 0 < scores[GEN]["entropy,none"] < 2.5
        assert len(results["samples"][GEN]) == NUM_SAMPLES
        assert scores[GEN]["nfe,none"] == results["config"]["mean_nfe"] <= SETTINGS["num_steps"] + 1

    def test_batch_four_and_two_ranks_are_batch_one(self, run):
        one, four, two = run(), run(batch_size=4), run(ranks=2)
        assert answers(one) == answers(four) == answers(two)
        assert figures(four) == pytest.approx(figures(one), rel=1e-9)
        assert figures(two) == pytest.approx(figures(one), rel=1e-9)
        assert two["config"]["world_size"] == 2

    def test_eight_workers_make_the_windows_of_one(self, run):
        one, eight = run(), run(given={"workers": 8})
        assert one["configs"][PPL]["metadata"]["packing"] == eight["configs"][PPL]["metadata"]["packing"]
        assert answers(one) == answers(eight)


@pytest.mark.parametrize("task", dlm_results.TASKS)
def test_a_masked_model_is_refused_before_its_first_answer(
    checkpoints, golden_dir, word_tokenizer, tmp_path, monkeypatch, task
):
    monkeypatch.setenv("CODD_DATA_DIR", str(dlm_results.write_corpus(tmp_path)))
    scorer, words = str(golden_dir / "dit" / "tiny-gpt2"), str(word_tokenizer)
    metadata = {"tokenizer": words, "scorer": scorer, "length": 12, "samples": 2}
    manager = TaskManager(include_defaults=False, include_path=str(TASKS_DIR), metadata=metadata)
    model = LLaDA(checkpoints["llada"], num_steps=4, gen_length=16, block_length=16, device="cpu")
    for method in ("generate_until", "loglikelihood_rolling"):
        monkeypatch.setattr(model, method, lambda requests: pytest.fail("it was asked"))
    with pytest.raises(ValueError, match=rf"^{task}: it measures token ids, and this model \(LLaDA\) reads and"):
        evaluate(lm=model, task_dict=manager.load([task]), bootstrap_iters=0)


@pytest.mark.parametrize("model", ["mdlm", "duo", "dit_ar"])
def test_bounds_and_samples_are_the_public_functions_of_the_same_ids(run, golden_dir, tmp_path, model):
    settings = {"num_steps": None, "num_samples": None} if model == "dit_ar" else {}
    results = run(model, **settings)
    dit = codd.load_dit(dlm_results.write_checkpoint(golden_dir, tmp_path / model, model))
    windows = [one["doc"]["ids"] for one in results["samples"][PPL]][:3]
    if model == "dit_ar":
        nats = dit.nelbo(torch.tensor(windows)).sum(dim=1).tolist()
        perplexity_tokens = 11
    else:
        pairs = [((), ids) for ids in windows]
        found = stream(dit, pairs, "joint", SETTINGS["num_samples"], 1234, noise_of=windows)
        nats = [-value for _, value in sorted((one.index, one.bound.value) for one in found)]
        perplexity_tokens = 12
    said = {one["doc_id"]: float(one["resps"][0][0]) for one in results["samples"][PPL]}
    assert [-said[number] for number in range(3)] == pytest.approx(nats, rel=1e-5)
    per_token = sum(-value for value in said.values()) / len(said) / perplexity_tokens
    assert results["results"][PPL]["token_perplexity,none"] == pytest.approx(
        torch.tensor(per_token).exp().item(), rel=1e-5
    )


def test_a_rolling_request_is_its_text_with_an_empty_context_before_it_or_without(golden_dir, word_tokenizer, tmp_path):
    checkpoint = dlm_results.write_checkpoint(golden_dir, tmp_path / "mdlm")
    model = MDLM(checkpoint, tokenizer=str(word_tokenizer), **SETTINGS)
    window = TokenText("w1 w2", [29, 1, 2, 29])
    of_0_4, of_0_5 = (
        model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, args, 0)], disable_tqdm=True)
        for args in ((window,), ("", window))
    )
    assert of_0_4 == of_0_5
    texts = [
        list(windows_of(Instance("loglikelihood_rolling", {}, args, 0), list, 4)) for args in (("ab",), ("", "ab"))
    ]
    assert texts[0] == texts[1]


def test_results_in_a_folder_of_the_launcher_are_read_as_lm_evals(run, golden_dir, tmp_path):
    results = run()
    checkpoint = results["config"]["model_args"]["pretrained"]
    text = f"--model_alias mdlm --dit_ckpt '{checkpoint}' --task dlm_gen_ppl --num_steps {SETTINGS['num_steps']}"
    planned = parse_run(text)
    written = {name: value for name, value in results.items() if name != "samples"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results_x.json").write_text(json.dumps(written, default=str))
    about = {"status": "finished", "task": planned.task, "results": "results_x.json", "identity": planned.identity()}
    record.write(tmp_path / "run", about)
    folder = read_folder(tmp_path)
    assert not folder.problems and [one.task for one in folder.measured] == [GEN]
    (measured,) = folder.measured
    assert measured.score().startswith("gen_ppl ") and "entropy " in measured.score()
    assert {one.name for one in measured.values} >= {"gen_ppl", "entropy", "nfe"}
