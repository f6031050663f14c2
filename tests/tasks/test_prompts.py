"""Prompts against golden/tasks/stock_prompts.json.

The golden was rendered by lm-eval 0.4.13's own tasks (gsm8k, minerva_math500, gpqa_main_generative_n_shot,
mbpp_instruct, humaneval_instruct; zero-shot) on the rows in golden/tasks/data, with the paper's prompt as
`system_instruction`: the messages handed to the chat template, the text that LLaDA's and Qwen2.5's templates make of
them, and the text without.
"""

import json
from functools import partial

import pytest

TASKS = ("codd_gsm8k", "codd_math500", "codd_gpqa", "codd_mbpp", "codd_humaneval")


@pytest.fixture(params=TASKS)
def task_and_golden(request, load_task, invented_dir, golden_dir):
    golden = json.loads((golden_dir / "tasks" / "stock_prompts.json").read_text())
    return load_task(request.param, invented_dir), golden[request.param]


def contexts(task, chat_template=None):
    task.build_all_requests(apply_chat_template=chat_template is not None, chat_template=chat_template)
    return [request.args[0] for request in task.instances]


class TestPrompts:
    def test_messages_are_those_of_the_stock_task_with_the_papers_system_prompt(self, task_and_golden):
        task, golden = task_and_golden
        seen = []

        def record(messages, add_generation_prompt):
            seen.append((messages, add_generation_prompt))
            return ""

        contexts(task, record)
        assert seen == [(row["messages"], row["add_generation_prompt"]) for row in golden["prompts"]]

    def test_without_a_chat_template_the_text_is_the_stock_one(self, task_and_golden):
        task, golden = task_and_golden
        assert contexts(task) == [row["plain"] for row in golden["prompts"]]

    @pytest.mark.parametrize("template", ["llada", "qwen"])
    def test_rendered_prompts_are_the_stock_ones(self, task_and_golden, template, shared_dir):
        task, golden = task_and_golden
        tokenizer = tokenizer_with_template(template, shared_dir / "data" / "tokenizers")
        assert contexts(task, partial(render, tokenizer)) == [row[template] for row in golden["prompts"]]

    def test_stop_strings_are_the_stock_ones(self, task_and_golden):
        task, golden = task_and_golden
        assert task.config.generation_kwargs["until"] == golden["until"]

    def test_is_zero_shot_whatever_the_command_line_says(self, task_and_golden):
        # lm-eval leaves a task's own 0 alone, and overrides None.
        assert task_and_golden[0].config.num_fewshot == 0


def tokenizer_with_template(name, folder):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    config = json.loads(
        (folder / {"llada": "llada_config_only", "qwen": "qwen2.5"}[name] / "tokenizer_config.json").read_text()
    )
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token=config.get("bos_token"))
    tokenizer.chat_template = config["chat_template"]
    return tokenizer


def render(tokenizer, messages, add_generation_prompt):
    return tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=not add_generation_prompt,
    )
