"""What a model knows of the evaluation that it runs in: lm-eval itself is asked, on tiny checkpoints."""

import json
import sys
from pathlib import Path

import pytest
from lm_eval import evaluator
from lm_eval._cli.harness import HarnessCLI
from lm_eval.tasks import TaskManager
from tokenizers.processors import TemplateProcessing

from lm_eval_codd.models import evaluation
from lm_eval_codd.models.evaluation import running_evaluation
from lm_eval_codd.models.llada import LLaDA

SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 16, "device": "cpu"}
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def answers(result):
    return [sample["resps"] for sample in result["samples"]["tiny"]]


@pytest.fixture
def seen(monkeypatch):
    """Every evaluation that a model saw while it answered."""
    evaluations = []

    def spy():
        evaluations.append(running_evaluation())
        return evaluations[-1]

    monkeypatch.setattr("lm_eval_codd.models.harness_lm.running_evaluation", spy)
    return evaluations


class TestWhatIsSeen:
    def test_outside_of_an_evaluation_there_is_none(self):
        assert running_evaluation() is None

    def test_what_was_asked_for(self, checkpoints, evaluate, seen):
        lm = LLaDA(checkpoints["llada"], **SHORT)
        evaluate(lm, gen_kwargs="temperature=0.5", torch_random_seed=7, system_instruction="Be brief.")
        assert seen[-1].gen_kwargs == {"temperature": 0.5}
        assert (seen[-1].torch_seed, seen[-1].system_instruction, seen[-1].chat_template) == (7, "Be brief.", False)
        assert list(seen[-1].tasks) == ["tiny"]

    def test_evaluate_alone_is_one_as_well(self, checkpoints, make_tasks, seen):
        manager = TaskManager(include_defaults=False, include_path=str(make_tasks()))
        lm = LLaDA(checkpoints["llada"], **SHORT)
        evaluator.evaluate(lm, manager.load(["tiny"]), limit=1, bootstrap_iters=0)
        assert list(seen[-1].tasks) == ["tiny"]
        assert (seen[-1].gen_kwargs, seen[-1].torch_seed) == ({}, None)

    @pytest.mark.parametrize("name", ["gen_kwargs", "torch_random_seed", "apply_chat_template"])
    def test_a_version_of_lm_eval_that_calls_it_otherwise_is_refused(self, checkpoints, evaluate, monkeypatch, name):
        """Not taken for an evaluation in which nothing was typed."""
        lm = LLaDA(checkpoints["llada"], **SHORT)
        parameters_of = evaluation._parameters_of
        monkeypatch.setattr(evaluation, "_parameters_of", lambda function: parameters_of(function) - {name})
        with pytest.raises(RuntimeError, match=rf"has no argument `{name}`\); install lm_eval 0.4.13"):
            evaluate(lm)


class TestDevice:
    @pytest.fixture
    def device_given(self, monkeypatch, make_tasks):
        """`device_given(*words)`: the device that lm-eval's own command line gives to the model."""
        given = []

        class Stop(Exception):
            pass

        def create(arguments, additional):
            given.append(running_evaluation().typed_device)
            raise Stop

        monkeypatch.setattr(LLaDA, "create_from_arg_obj", create)
        monkeypatch.setattr("lm_eval.api.registry.get_model", lambda name: LLaDA)

        def run(*words):
            command = ["lm_eval", "run", "--model", "llada", "--model_args", "pretrained=x", "--tasks", "tiny"]
            monkeypatch.setattr(sys, "argv", [*command, "--include_path", str(make_tasks()), *words])
            monkeypatch.setattr("lm_eval.tasks.TaskManager", _without_defaults)
            cli = HarnessCLI()
            with pytest.raises(Stop):
                cli.execute(cli.parse_args())
            return given[-1]

        return run

    def test_the_default_of_the_command_line_was_typed_by_nobody(self, device_given):
        assert device_given() is None

    @pytest.mark.parametrize("words", [("--device", "cuda:0"), ("--device=cuda:0",), ("--devic", "cuda:0")])
    def test_the_same_device_in_so_many_words_was(self, device_given, words):
        assert device_given(*words) == "cuda:0"

    def test_a_config_file_is_somebodys_word_too(self, device_given, tmp_path):
        (tmp_path / "config.yaml").write_text("device: cuda:0\n")
        assert device_given("--config", str(tmp_path / "config.yaml")) == "cuda:0"

    def test_one_that_is_not_there_is_an_error(self, checkpoints, evaluate, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("lm_eval.api.registry.get_model", lambda name: LLaDA)
        with pytest.raises(ValueError, match="`device=cuda:0` needs GPU 0, and no GPU is visible"):
            evaluate(
                "llada",
                model_args={"pretrained": checkpoints["llada"], "gen_length": 32, "num_steps": 1},
                device="cuda:0",
            )


def _without_defaults(**arguments):
    return TaskManager(**arguments, include_defaults=False)


class TestTwoEvaluationsOfOneModel:
    @pytest.fixture
    def checkpoint(self, make_checkpoint):
        return make_checkpoint("llada", TEMPLATE)

    def test_the_second_is_like_that_of_a_new_model(self, checkpoint, evaluate):
        used = LLaDA(checkpoint, **SHORT)
        evaluate(used, apply_chat_template=True)
        again, fresh = evaluate(used), evaluate(LLaDA(checkpoint, **SHORT))
        assert answers(again) == answers(fresh)
        assert again["config"]["requests"] == 9
        assert again["config"]["warnings"] == fresh["config"]["warnings"] != []
        assert again["config"]["nfe"] == fresh["config"]["nfe"]

    def test_its_prompts_get_their_bos_back(self, checkpoint, evaluate, decoded):
        lm = LLaDA(checkpoint, **SHORT)
        lm.tokenizer.bos_token = "<|eot_id|>"
        lm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|eot_id|> $A", special_tokens=[("<|eot_id|>", 480)]
        )
        evaluate(lm, apply_chat_template=True)
        assert [prompt[0] == 480 for prompt in decoded] == [False] * 9
        evaluate(lm)
        assert [prompt[0] == 480 for prompt in decoded[9:]] == [True] * 9

    def test_an_evaluation_that_broke_off_leaves_nothing_behind(self, checkpoint, evaluate):
        lm = LLaDA(checkpoint, **SHORT)
        lm.apply_chat_template([{"role": "user", "content": "a prompt that is never asked"}])
        assert answers(evaluate(lm)) == answers(evaluate(LLaDA(checkpoint, **SHORT)))

    def test_the_warnings_are_said_again(self, checkpoint, evaluate, harness_log):
        lm = LLaDA(checkpoint, **SHORT)
        evaluate(lm)
        evaluate(lm)
        assert harness_log.text.count("the prompts were made without it") == 2

    def test_gen_kwargs_of_the_first_are_not_those_of_the_second(self, checkpoint, evaluate):
        lm = LLaDA(checkpoint, **SHORT)
        assert evaluate(lm, gen_kwargs="temperature=0.5")["config"]["settings"]["temperature"] == 0.5
        assert evaluate(lm)["config"]["settings"]["temperature"] == 0

    def test_a_cache_of_the_first_is_not_written_by_the_second(self, checkpoint, evaluate, tmp_path):
        lm = LLaDA(checkpoint, **SHORT)
        evaluate(lm, use_cache=str(tmp_path / "cache"))
        everything_cached = evaluate(lm, use_cache=str(tmp_path / "cache"))
        assert everything_cached["config"]["requests"] == 0
        evaluate(lm)
        assert lm.cache_hook.dbdict is None


class TestSeed:
    def test_seeds_of_the_harness_reach_the_decoding(self, checkpoints, evaluate):
        lm = LLaDA(checkpoints["llada"], **SHORT, temperature=1.0)
        seven, eight, seven_again = (evaluate(lm, torch_random_seed=seed) for seed in (7, 8, 7))
        assert [result["config"]["settings"]["seed"] for result in (seven, eight)] == [7, 8]
        assert answers(seven) == answers(seven_again) != answers(eight)

    def test_without_one_nothing_changes(self, checkpoints, evaluate):
        lm = LLaDA(checkpoints["llada"], **SHORT)
        assert evaluate(lm)["config"]["settings"]["seed"] == 1234
        assert evaluate(lm, torch_random_seed=None)["config"]["settings"]["seed"] == 1234


class TestChatTemplates:
    @pytest.fixture
    def lm(self, make_checkpoint):
        lm = LLaDA(make_checkpoint("llada", TEMPLATE), **SHORT)
        lm.tokenizer.chat_template = {"default": TEMPLATE, "loud": "{{ messages[-1].content | upper }}!"}
        return lm

    def test_the_one_that_is_named_is_used(self, lm, evaluate):
        samples = evaluate(lm, apply_chat_template="loud")["samples"]["tiny"]
        assert samples[0]["arguments"][0][0] == "QQQ0!"
        assert evaluate(lm, apply_chat_template=True)["samples"]["tiny"][0]["arguments"][0][0] == "[user]qqq0"
        assert lm.chat_template("loud").endswith("upper }}!")

    def test_one_that_is_not_there_is_an_error_that_names_those_that_are(self, lm, evaluate):
        with pytest.raises(ValueError, match=r"`--apply_chat_template quiet`: .*use one of default, loud"):
            evaluate(lm, apply_chat_template="quiet")

    def test_arguments_reach_the_template(self, make_checkpoint):
        template = "{% if thinking %}hm{% endif %}{{ messages[0].content }}"
        for given in ({"thinking": True}, '{"thinking": true}'):
            lm = LLaDA(make_checkpoint("llada", template), **SHORT, chat_template_args=given)
            assert lm.apply_chat_template([{"role": "user", "content": "a"}]) == "hma"
            assert lm.get_model_info()["chat_template_args"] == {"thinking": True}


class TestFrontDoor:
    @pytest.fixture
    def run(self, checkpoints, make_tasks, decoded):
        """`run(yaml, **arguments)`: the tasks `tiny` and `other`, the latter with some more lines."""

        def run(more: str, **arguments):
            folder = make_tasks(num_rows=2)
            text = (folder / "tiny.yaml").read_text().replace("task: tiny", "task: other")
            (folder / "other.yaml").write_text(text.replace("output_type: generate_until\n", "") + more)
            manager = TaskManager(include_defaults=False, include_path=str(folder))
            lm = LLaDA(checkpoints["llada"], **SHORT)
            tasks = ["tiny", "other"]
            return evaluator.simple_evaluate(lm, tasks=tasks, task_manager=manager, bootstrap_iters=0, **arguments)

        return run

    OWN = "output_type: generate_until\ndescription: You are a helpful assistant.\n"

    @pytest.mark.parametrize("given", ["You are a helpful assistant.", " You are a helpful assistant.\n"])
    def test_the_tasks_own_system_prompt_is_refused(self, run, decoded, given):
        with pytest.raises(ValueError, match="repeats the system prompt that task other has already; leave it out"):
            run(self.OWN, system_instruction=given)
        assert decoded == []

    def test_another_system_prompt_is_said(self, run, harness_log):
        run(self.OWN, system_instruction="Be brief.")
        assert "`--system_instruction` is put in front of the system prompt that task other has" in harness_log.text

    def test_where_a_task_has_none_there_is_nothing_to_say(self, run, harness_log):
        run("output_type: generate_until\n", system_instruction="Be brief.")
        assert "--system_instruction" not in harness_log.text


class TestBos:
    @pytest.fixture
    def folder(self, make_checkpoint):
        return make_checkpoint("llada")

    def test_a_tokenizer_without_one_is_an_error(self, folder):
        with pytest.raises(ValueError, match=r"`add_bos_token=True`: the tokenizer of .* has no bos token"):
            LLaDA(folder, **SHORT, add_bos_token=True)

    def test_every_prompt_begins_with_it_once(self, make_checkpoint, tmp_path):
        folder = Path(make_checkpoint("llada"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": "<|eot_id|>"}))
        lm = LLaDA(str(folder), **SHORT, add_bos_token=True)
        plain = LLaDA(str(folder), **SHORT, add_bos_token=False)
        assert lm.tok_encode("a") == lm.tok_encode("<|eot_id|>a") == [480, *plain.tok_encode("a")]
        assert lm.get_model_info()["add_bos_token"] is True

    def test_another_tokenizer_is_taken_where_it_is_named(self, folder, make_checkpoint):
        other = make_checkpoint("llada", TEMPLATE)
        lm = LLaDA(folder, **SHORT, tokenizer=other)
        assert lm.tokenizer.chat_template == TEMPLATE
        assert (lm.get_model_info()["tokenizer"], lm.tokenizer_name) == (other, other.replace("/", "__"))
