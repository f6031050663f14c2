"""The checkpoint and circuit of the coupling demo: small, of the tasks' words, and what its script makes."""

import dataclasses
import itertools

import build_coupling_demo
import pytest
import tiny_llada
import torch

import lm_eval_codd as codd
from lm_eval_codd.coupling_tasks.items import prompt, score, test_items, training_items
from lm_eval_codd.coupling_tasks.registry import COUPLED_TASKS
from lm_eval_codd.demo.packaged import CHECKPOINTS, CIRCUITS

CHECKPOINT, CIRCUIT = CHECKPOINTS["demo_coupling"], CIRCUITS["demo_coupling"]
test_items.__test__ = False


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The script, writing into a temporary folder."""
    monkeypatch.setattr(build_coupling_demo, "CHECKPOINT", tmp_path / "checkpoint")
    return build_coupling_demo


class TestFiles:
    def test_are_small_enough_to_commit(self):
        assert sum(file.stat().st_size for folder in (CHECKPOINT, CIRCUIT) for file in folder.iterdir()) < 3e6

    def test_are_found_by_name(self):
        backbone, circuit = codd.load_backbone("demo_coupling"), codd.load_circuit("demo_coupling")
        assert (backbone.source, circuit.source) == ("demo_coupling", "demo_coupling")
        assert (circuit.num_positions, circuit.vocab_size) == (20, backbone.vocab_size)

    @pytest.mark.parametrize("task", COUPLED_TASKS)
    def test_no_item_has_an_unknown_word_or_an_answer_that_does_not_fit(self, tokenizer, task):
        for item in [*test_items(task), *itertools.islice(training_items(task), 200)]:
            ids = tokenizer(prompt(task, item) + item.answer)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            answer = tokenizer(item.answer, add_special_tokens=False)["input_ids"]
            assert len(answer) < 20
            assert score(task, item, tokenizer.decode(answer))["correct"] == 1


class TestTheCircuit:
    def test_ties_the_words_of_a_phrasing_together_in_four_steps(self, tokenizer):
        items = test_items("phrasing")[:40]
        chats = [[{"role": "user", "content": prompt("phrasing", item)}] for item in items]
        texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        prompts = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        backbone, circuit = codd.load_backbone("demo_coupling", device="cpu"), codd.load_circuit("demo_coupling")
        config = codd.DecodingConfig(gen_length=20, block_length=20, num_steps=4, pc_frac=1.1)
        in_form = []
        for coupled in (None, circuit):
            outputs = codd.generate(backbone, prompts, config, coupled, batch_size=40)
            answers = [
                tokenizer.decode(one.tokens[: one.num_answer_tokens], skip_special_tokens=True) for one in outputs
            ]
            scores = [score("phrasing", item, answer) for item, answer in zip(items, answers, strict=True)]
            in_form.append(sum(one["form"] for one in scores))
        # 6 and 40 where docs/coupling.md was made.
        assert in_form[0] <= 14
        assert in_form[1] >= 36


class TestBuild:
    def test_it_makes_the_shipped_tokenizer_again(self, build):
        build.build_tokenizer()
        for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
            assert (build.CHECKPOINT / name).read_text() == (CHECKPOINT / name).read_text()

    def test_no_question_that_is_trained_on_is_evaluated(self, build):
        evaluated = {prompt(task, item) for task in COUPLED_TASKS for item in test_items(task)}
        drawn = [question for question, _ in itertools.islice(build.pairs(7), 500)]
        assert not evaluated & set(drawn)
        assert sum(question.startswith("Say who owns what") for question in drawn) == 50

    def test_a_question_without_examples_is_its_instruction_and_its_item(self, build):
        item = next(training_items("copy"))
        short = build.without_examples(prompt("copy", item))
        assert short.startswith("Write the list again as it is.")
        assert short.endswith(f"\n\n{item.asked}\nAnswer:")
        assert short.count("Answer:") == 1

    def test_what_it_trains_is_what_the_package_loads(self, build, monkeypatch):
        trained, stages = [], []
        for stage in build.STAGES[2:4]:
            stages.append(dataclasses.replace(stage, schedule=dataclasses.replace(stage.schedule, steps=2, batch=10)))
        monkeypatch.setattr(build, "STAGES", stages)
        monkeypatch.setattr(
            build, "train", lambda model, *rest: (tiny_llada.train(model, *rest), trained.append(model))
        )
        build.build_tokenizer()
        build.build_backbone()
        assert len(trained) == 2
        backbone = codd.load_backbone(build.CHECKPOINT)
        tokens = torch.arange(20)[None]
        with torch.inference_mode():
            expected = trained[0].eval()(tokens).logits
        # Stored in half precision.
        assert (backbone.logits(tokens) - expected).abs().max() < 0.02

    def test_the_layers_matrices_are_muons_and_all_else_adamws(self, build):
        build.build_tokenizer()
        tokenizer = tiny_llada.PreTrainedTokenizerFast.from_pretrained(build.CHECKPOINT)
        model = build.make_model(build.SHAPE, tokenizer, 0)
        adamw, muon = tiny_llada.make_optimizers(model, build.STAGES[0].schedule)
        counts = [sum(len(group["params"]) for group in one.param_groups) for one in (adamw, muon)]
        assert counts == [1 + 2 * 4 + 1, 7 * 4]
