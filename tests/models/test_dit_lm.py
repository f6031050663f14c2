"""Models of the DiT family through lm-eval: batches, ranks, results, journal, settings, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

import lm_eval_codd as codd
from lm_eval_codd.models.dit_lm import DLM, DUO, MDLM, DiTAR
from tests.forked import PATIENCE
from tests.models import tiny_dit
from tests.models.processes import evaluate_as, start_ranks
from tests.models.tiny_dit import NAMES, SETTINGS, asked, drawn, of

TASKS = ("windows", "samples", "choices", "texts", "prompts")


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


class TestThroughLmEval:
    @pytest.mark.parametrize("name", NAMES)
    def test_batches_and_ranks_change_nothing(self, dit_folders, run, tasks, tmp_path, name, one_thread):
        one, four = (run(get_model(name)(dit_folders[name], **of(name), batch_size=size)) for size in (1, 4))
        assert {task for task, _ in responses(one)} == set(TASKS)
        assert responses(one) == responses(four)
        if name == "mdlm":
            out = tmp_path / "out.json"
            ranks = start_ranks(2, evaluate_as, name, dit_folders[name], of(name), tasks, TASKS, out)
            for rank in ranks:
                rank.join(PATIENCE)
            assert [rank.exitcode for rank in ranks] == [0, 0]
            two = json.loads(out.read_text())
            assert responses(two) == responses(one)
            assert two["config"]["world_size"] == 2
            assert two["config"]["likelihoods"]["tokens"] >= one["config"]["likelihoods"]["tokens"]
            assert two["config"]["requests"] >= one["config"]["requests"] == 10

    def test_dlm_takes_the_algorithm_from_the_folder_or_from_its_argument(self, dit_folders, run):
        own = run(DLM(dit_folders["duo"], **SETTINGS), ["windows"])
        assert own["config"]["algo"] == "duo"
        assert responses(own) == responses(run(DUO(dit_folders["duo"], **SETTINGS), ["windows"]))
        assert run(DLM(dit_folders["duo"], algo="d3pm", **SETTINGS), ["windows"])["config"]["algo"] == "d3pm"

    def test_a_result_says_what_the_values_are(self, dit_folders, run):
        said = run(get_model("d3pm")(dit_folders["d3pm"], **of("d3pm")))["config"]
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
        exact = run(DiTAR(dit_folders["dit_ar"], **of("dit_ar")), ["windows", "choices"])["config"]
        assert exact["bound"] is False and "exact" in exact["likelihoods"]["what"]
        assert exact["likelihoods"]["root_mean_square_stderr"] == 0.0
        json.dumps([said, exact])

    def test_float32_draws_are_said(self, dit_folders, run):
        said = run(MDLM(dit_folders["mdlm"], use_float64=False, **SETTINGS), ["samples"])["config"]
        assert said["precision"] == "float32"
        assert "as coarsely as float32 noise is" in said["warnings"][0]


class TestJournal:
    def test_what_is_journalled_is_not_computed_again(self, dit_folders, run, tmp_path):
        settings = {**SETTINGS, "journal": str(tmp_path / "journal")}
        first = run(MDLM(dit_folders["mdlm"], **settings))
        (file,) = (tmp_path / "journal").iterdir()
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:-3]) + lines[-1][:30])
        again = run(MDLM(dit_folders["mdlm"], **settings, batch_size=3))
        assert responses(again) == responses(first)
        said = again["config"]
        assert said["journalled_answers"] + said["likelihoods"]["journalled"] == len(lines) - 1 - 3

    @pytest.mark.parametrize("other", [{"num_steps": 5}, {"p_nucleus": 0.9}, {"use_float64": False}, {"seed": 8}])
    def test_of_other_settings_is_not_found(self, dit_folders, tmp_path, other):
        settings = {**SETTINGS, "journal": str(tmp_path / "journal")}
        drawn(MDLM(dit_folders["mdlm"], **settings), [""])
        lm = MDLM(dit_folders["mdlm"], **{**settings, **other})
        drawn(lm, [""])
        assert lm.get_model_info()["journalled_answers"] == 0
        bounds = MDLM(dit_folders["mdlm"], **{**settings, "num_samples": 5})
        drawn(bounds, [""])
        assert bounds.get_model_info()["journalled_answers"] == 1  # what bounds alone read

    def test_a_pair_that_is_alone_is_not_found_as_a_choice(self, dit_folders, tmp_path):
        lm = MDLM(dit_folders["mdlm"], **SETTINGS, journal=str(tmp_path / "journal"), is_greedy=False)
        (alone,) = lm.loglikelihood_rolling([asked("loglikelihood_rolling", "abc")], disable_tqdm=True)
        ((choice, _),) = lm.loglikelihood([asked("loglikelihood", "", "abc")], disable_tqdm=True)
        assert alone != choice
        assert lm.get_model_info()["likelihoods"]["journalled"] == 0

    def test_lm_evals_cache_is_read_and_refused_under_other_settings(self, dit_folders, run, tmp_path):
        cache = str(tmp_path / "cache")
        first, again = (
            run(MDLM(dit_folders["mdlm"], **SETTINGS), ["windows", "choices"], use_cache=cache) for _ in range(2)
        )
        assert responses(first) == responses(again)
        with pytest.raises(ValueError, match=r"holds answers made with num_samples=3 \(now 4\); give another path"):
            run(MDLM(dit_folders["mdlm"], **{**SETTINGS, "num_samples": 4}), ["windows"], use_cache=cache)

    def test_lm_evals_cache_has_no_one_sample_for_all(self, dit_folders, run, tmp_path):
        cache = str(tmp_path / "cache")
        first, again = (run(MDLM(dit_folders["mdlm"], **SETTINGS), ["samples"], use_cache=cache) for _ in range(2))
        assert responses(first) == responses(again)
        assert len(set(responses(again).values())) == 5
        lm = MDLM(dit_folders["mdlm"], **SETTINGS)
        lm.cache_hook = CacheHook(SimpleNamespace(dbdict={}))
        with pytest.raises(ValueError, match="and 2 of task tiny have none; run it without --use_cache, or"):
            drawn(lm, ["", ""])


class TestSettings:
    def test_who_wins(self, dit_folders, run, harness_log):
        lm = MDLM(dit_folders["mdlm"], num_samples=2, device="cpu")
        said = run(lm, ["windows", "samples"], gen_kwargs="num_mc=4,steps=3,p_nucleus=0.9", torch_random_seed=5)[
            "config"
        ]
        settings = said["settings"]
        assert (settings["num_samples"], settings["num_steps"], settings["p_nucleus"]) == (2, 3, 0.9)
        assert settings["seed"] == 5
        assert any(
            "`num_mc=4` of --gen_kwargs does nothing beside `num_samples=2`" in one for one in harness_log.messages
        )

    def test_of_a_task_are_its_own_samples(self, dit_folders):
        lm = MDLM(dit_folders["mdlm"], device="cpu", seed=7)
        (answer,) = drawn(lm, [""], num_steps=2)
        assert list(answer.ids) == codd.sample_dit(lm.dit, 1, 12, 2, seed=7)[0][0]
        assert lm.get_model_info()["settings_of_tasks"] == {"tiny": {"num_steps": 2}}

    def test_noise_removal_none_is_a_word(self, dit_folders):
        assert MDLM(dit_folders["mdlm"], noise_removal=None, device="cpu").config.noise_removal == "none"
        assert MDLM(dit_folders["mdlm"], p_nucleus=1, device="cpu").config.p_nucleus == 1.0


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
        ("mdlm", "mdlm", {"predictor": "psy"}, "`predictor=psy` is not known; use one of ancestral, analytic, psi"),
        ("mdlm", "mdlm", {"predictor": "psi"}, "`predictor=psi` needs `psi_modes`"),
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
def test_mistakes_are_one_line_before_weights_are_loaded(dit_folders, monkeypatch, name, home, settings, said):
    monkeypatch.setattr("lm_eval_codd.models.dit_lm.load_dit", lambda *_: pytest.fail("it loads weights"))
    with pytest.raises(ValueError) as caught:
        get_model(name)(dit_folders.get(home, home), device="cpu", **settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_documentation_names_every_argument():
    text = (Path(__file__).parents[2] / "docs" / "dit.md").read_text()
    usual = {"max_batch_size", "pc_revision", "trust_remote_code"}
    assert {name for name in DLM._arguments() if f"`{name}`" not in text} == usual | {"pretrained"}
