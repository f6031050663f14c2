import itertools

import pytest
import torch
from lm_eval.api.registry import get_model
from tokenizers.processors import TemplateProcessing

import lm_eval_codd
from lm_eval_codd import decoding
from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.llada import LLaDA

MODELS = {"llada": LLaDA, "dream": Dream}
SHORT = {"num_steps": 8, "gen_length": 16, "block_length": 8, "device": "cpu"}
PROMPTS = ["a", "bb bb", "c" * 9, "d" * 9, "e", "ff ff", "g" * 20]


@pytest.fixture(scope="session")
def load(checkpoints):
    """`load(family, **arguments)`: a model that gives short answers in few steps."""
    return lambda family, **arguments: MODELS[family](checkpoints[family], **{**SHORT, **arguments})


@pytest.fixture(params=MODELS)
def family(request):
    return request.param


class TestEvaluation:
    def test_the_harness_evaluates_it_and_the_result_says_how(self, load, family, evaluate):
        result = evaluate(load(family, batch_size=4), log_samples=True)
        info = result["config"]
        assert result["results"]["tiny"]["sample_len"] == 9
        alg = {"llada": "low_confidence", "dream": "entropy"}[family]
        assert info["settings"].items() >= {"num_steps": 8, "gen_length": 16, "alg": alg}.items()
        assert info["requests"] == 9
        assert 0 < info["nfe"] <= 9 * 8
        assert info["mean_nfe"] == round(info["nfe"] / 9, 3)
        assert 0 < info["answer_tokens"] <= 9 * 16
        assert info["decoding_seconds"] > 0
        assert info["circuit_calls"] == 0
        assert info["checkpoint_identity"].startswith("sha256:")
        assert (info["model_dtype"], info["model_revision"], info["model_sha"]) == ("torch.float32", "main", "")
        assert info["versions"]["lm_eval_codd"] == lm_eval_codd.__version__
        assert info["warnings"] == []

    def test_it_can_be_made_from_a_string_of_model_args(self, checkpoints, family):
        text = f"pretrained={checkpoints[family]},num_steps=4,gen_length=32,top_p=none,cache=none"
        lm = MODELS[family].create_from_arg_string(
            text, {"batch_size": "auto", "device": "cuda:0", "max_batch_size": 3}
        )
        assert (lm.config.num_steps, lm.config.gen_length, lm.config.top_p) == (4, 32, None)
        assert lm.max_gen_toks == 32

    def test_the_tasks_own_sampling_settings_change_nothing(self, load, family, evaluate):
        lm = load(family)
        theirs = {"temperature": 1.0, "do_sample": True, "max_gen_toks": 4, "top_p": 0.5}
        usual, with_theirs = (evaluate(lm, task)["samples"]["tiny"] for task in ({}, theirs))
        assert [sample["resps"] for sample in usual] == [sample["resps"] for sample in with_theirs]

    def test_typed_gen_kwargs_reach_the_decoding(self, load, evaluate):
        result = evaluate(load("dream"), gen_kwargs="temperature=0.0,num_steps=4")
        assert (result["config"]["settings"]["temperature"], result["config"]["settings"]["num_steps"]) == (0.0, 8)

    def test_a_task_made_for_diffusion_models_is_decoded_its_way_and_the_result_says_so(self, load, evaluate):
        assert evaluate(load("llada"), {"alg": "margin"})["config"]["settings_of_tasks"] == {"tiny": {"alg": "margin"}}

    def test_a_commit_of_the_hub_is_in_the_result_as_in_those_of_other_models(self, load):
        lm = load("llada", revision=None)
        lm.backbone.identity = f"{'a' * 40}+{'b' * 40}"
        info = lm.get_model_info()
        assert (info["model_sha"], info["peft_sha"]) == ("a" * 40, "b" * 40)

    def test_a_result_says_by_itself_what_is_approximate_in_it(self, load, evaluate):
        assert load("llada").get_model_info()["approximations"] == []
        assert load("llada", cache="dual", threshold=0.9).get_model_info()["approximations"] == [
            "cache=dual",
            "threshold=0.9",
        ]
        config = evaluate(load("llada"), {"threshold": 0.9})["config"]
        assert (config["approximations"], config["approximations_of_tasks"]) == ([], {"tiny": ["threshold=0.9"]})


class TestBatches:
    @pytest.mark.parametrize(
        "settings", [{}, {"temperature": 0.7, "alg": "random"}, {"alg": "margin", "alg_temp": 0.5}]
    )
    def test_one_at_a_time_and_seven_at_a_time_give_the_same_answers(self, load, family, ask, settings):
        one, seven = (ask(load(family, batch_size=size, **settings), PROMPTS) for size in (1, 7))
        assert one == seven
        assert len(set(one)) > 1

    def test_answers_come_in_the_order_of_the_requests(self, load, family, ask):
        lm = load(family, batch_size=3)
        assert ask(lm, PROMPTS) == [ask(lm, [prompt])[0] for prompt in PROMPTS]

    def test_running_out_of_memory_changes_no_answer(self, load, family, ask, monkeypatch):
        expected = ask(load(family), PROMPTS)
        stream, sizes = decoding.stream, []

        def one_at_a_time_at_most(*args, batch_size, **kwargs):
            sizes.append(batch_size)
            for number, finished in enumerate(stream(*args, batch_size=batch_size, **kwargs)):
                if batch_size > 1 and number == 2:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                yield finished

        monkeypatch.setattr(decoding, "stream", one_at_a_time_at_most)
        lm = load(family, batch_size="auto", max_batch_size=7)
        assert ask(lm, PROMPTS) == expected
        assert sizes == [7, 2, 1]
        assert lm.batch_sizes == {"generate_until": 1}


class TestRepeats:
    def test_repeats_of_a_sampled_answer_differ_and_are_the_same_every_time(self, load, ask):
        lm = load("dream", temperature=1.0)
        answers = ask(lm, ["one", "two"], repeats=3)
        assert len(set(answers)) == 6
        assert ask(lm, ["two", "one"], repeats=3) == answers[3:] + answers[:3]

    @pytest.mark.parametrize(
        "settings", [{}, {"decoder": "open_dllm", "block_length": 32}, {"decoder": "cad", "num_steps": None}]
    )
    def test_of_a_row_depend_neither_on_batches_nor_on_the_rows_beside_it(self, load, ask, settings):
        lm = load("llada", temperature=1.0, **settings)
        alone = [ask(lm, [prompt], repeats=4) for prompt in PROMPTS[:3]]
        together = ask(load("llada", temperature=1.0, batch_size=7, **settings), PROMPTS[:3], repeats=4)
        assert together == [answer for answers in alone for answer in answers]
        assert all(len(set(answers)) == 4 for answers in alone)

    @pytest.mark.parametrize("settings", [{}, {"decoder": "p2", "block_length": 32}])
    def test_that_cannot_differ_are_decoded_once_and_said_to_be_equal(self, load, ask, decoded, harness_log, settings):
        lm = load("llada", temperature=0.0, **settings)
        answers = ask(lm, ["one", "two"], repeats=3)
        assert answers == [answer for prompt in ("one", "two") for answer in ask(lm, [prompt]) * 3]
        assert len(decoded) == 4
        said = [record.message for record in harness_log.records if "answers to a row are equal" in record.message]
        assert said == [
            "tiny: nothing is drawn at `temperature=0`, so the 3 answers to a row are equal and one is decoded; give a "
            "temperature above 0, such as 0.8"
        ]

    def test_the_first_repeat_is_the_answer_without_repeats(self, load, ask):
        lm = load("dream", temperature=1.0)
        assert ask(lm, ["one"], repeats=3)[0] == ask(lm, ["one"])[0]

    def test_copies_that_even_out_the_ranks_cost_nothing(self, load, make_request):
        lm = load("dream", temperature=1.0)
        instance = make_request("one", repeats=2)
        first, second, *copies = lm.generate_until([instance] * 6, disable_tqdm=True)
        assert copies == [first, second] * 2
        assert lm.get_model_info()["requests"] == 2


class TestText:
    WHOLE = "4\n\nQuestion: 5"

    @pytest.mark.parametrize(
        ("until", "text"), [([], WHOLE), (["Question:", "\n\n"], "4"), ("Q", "4\n\n"), (["<|eot_id|>"], WHOLE)]
    )
    def test_the_answer_is_cut_at_until(self, load, ask, monkeypatch, until, text):
        lm = load("llada")
        ids = [*lm.tok_encode(self.WHOLE), 480, 480]
        answer = decoding.Finished(0, decoding.Generation(ids, len(ids) - 2, 1), 0.1)
        monkeypatch.setattr(decoding, "stream", lambda *_, **__: iter([answer]))
        assert ask(lm, ["x"], until=until) == [text]

    @pytest.mark.parametrize(("stop_at_eos", "text"), [(True, "ab"), (False, "abcd")])
    def test_text_after_the_end_is_kept_only_by_the_official_protocol(self, load, ask, monkeypatch, stop_at_eos, text):
        lm = load("llada", stop_at_eos=stop_at_eos)
        ids = [*lm.tok_encode("ab"), lm.eot_token_id, *lm.tok_encode("cd")]
        answer = decoding.Finished(0, decoding.Generation(ids, 2, 1), 0.1)
        monkeypatch.setattr(decoding, "stream", lambda *_, **__: iter([answer]))
        assert ask(lm, ["x"]) == [text]


class TestLongPrompts:
    def test_a_prompt_that_is_too_long_loses_its_left_end_and_is_counted(self, load, ask, harness_log):
        lm = load("llada", max_length=24)
        assert ask(lm, ["x" * 50 + "12345678", "short"])[0] == ask(lm, ["12345678"])[0]
        info = lm.get_model_info()
        assert info["truncated_prompts"] == 1
        assert any("1 prompts lost their left end" in warning for warning in info["warnings"])
        assert "1 prompts lost their left end" in harness_log.text

    def test_an_answer_as_long_as_the_model_is_an_error_that_names_both(self, load):
        with pytest.raises(ValueError, match=r"`gen_length=1024` leaves no room for a prompt in `max_length=1024`"):
            load("llada", gen_length=1024, num_steps=1024)

    def test_more_than_the_checkpoint_was_made_for_is_an_error(self, load):
        with pytest.raises(ValueError, match=r"`max_length=9999` is more than the checkpoint's 1024"):
            load("llada", max_length=9999)


class TestChat:
    CONVERSATION = ({"role": "user", "content": "hello"},)

    @pytest.fixture
    def instruct(self, make_checkpoint):
        template = "{{ '<|endoftext|>' }}{% for m in messages %}{{ m.content }}{% endfor %}"
        return LLaDA(make_checkpoint("llada", template), **SHORT)

    def test_the_tokenizers_template_is_applied(self, instruct):
        assert instruct.apply_chat_template(list(self.CONVERSATION)) == "<|endoftext|>hello"

    def test_a_tokenizer_without_one_is_an_error_that_says_what_to_do(self, load):
        lm = load("llada")
        with pytest.raises(ValueError, match=r"--apply_chat_template: .* has no chat template; leave the option out"):
            lm.apply_chat_template(list(self.CONVERSATION))
        with pytest.raises(ValueError, match=r"--apply_chat_template"):
            lm.chat_template(True)

    def test_an_instruct_tokenizer_without_it_is_warned_about_once(self, instruct, evaluate, harness_log):
        result = evaluate(instruct)
        assert ["--apply_chat_template" in warning for warning in result["config"]["warnings"]] == [True]
        assert harness_log.text.count("the prompts were made without it") == 1

    def test_with_the_template_there_is_nothing_to_warn_about(self, instruct, evaluate):
        assert evaluate(instruct, apply_chat_template=True)["config"]["warnings"] == []


class TestSpecialTokens:
    @pytest.fixture
    def lm(self, make_checkpoint):
        """A tokenizer that puts a bos in front of every text by itself."""
        lm = LLaDA(make_checkpoint("llada", "{% for m in messages %}{{ m.content }}{% endfor %}"), **SHORT)
        lm.tokenizer.bos_token = "<|eot_id|>"
        lm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|eot_id|> $A", special_tokens=[("<|eot_id|>", 480)]
        )
        return lm

    def test_a_plain_prompt_gets_the_tokenizers_own(self, lm):
        assert lm.tok_encode("a")[0] == 480

    def test_a_prompt_that_has_a_bos_gets_no_second(self, lm):
        assert lm.tok_encode("<|eot_id|>a").count(480) == 1

    def test_a_prompt_out_of_a_chat_template_gets_none(self, lm):
        prompt = lm.apply_chat_template([{"role": "user", "content": "a"}])
        assert 480 not in lm.tok_encode(prompt)

    def test_who_asks_decides(self, lm):
        assert 480 not in lm.tok_encode("a", add_special_tokens=False)


class TestCache:
    def test_a_second_run_finds_the_answers_and_other_settings_are_refused(self, load, evaluate, tmp_path):
        cache = str(tmp_path / "cache")
        first = evaluate(load("llada"), use_cache=cache)
        second = evaluate(load("llada"), use_cache=cache)
        assert second["config"]["requests"] == 0
        assert [s["resps"] for s in first["samples"]["tiny"]] == [s["resps"] for s in second["samples"]["tiny"]]
        with pytest.raises(ValueError, match=r"made with num_steps=8 \(now 4\)"):
            evaluate(load("llada", num_steps=4), use_cache=cache)

    def test_an_answer_is_in_the_cache_as_soon_as_it_is_done(self, load, evaluate, tmp_path, monkeypatch):
        stream = decoding.stream

        def four_then_die(*args, **kwargs):
            yield from itertools.islice(stream(*args, **kwargs), 4)
            raise KeyboardInterrupt

        monkeypatch.setattr(decoding, "stream", four_then_die)
        with pytest.raises(KeyboardInterrupt):
            evaluate(load("llada", batch_size=2), use_cache=str(tmp_path / "cache"))
        monkeypatch.setattr(decoding, "stream", stream)
        resumed = evaluate(load("llada"), use_cache=str(tmp_path / "cache"))
        assert resumed["config"]["requests"] == 9 - 4

    def test_sampled_repeats_are_refused(self, load, evaluate, tmp_path):
        with pytest.raises(ValueError, match="draws 2; run it without --use_cache"):
            evaluate(load("dream"), {"repeats": 2}, use_cache=str(tmp_path / "cache"))


class TestNeighbours:
    def test_importing_it_leaves_the_harness_own_models_alone(self):
        assert get_model("dummy").__name__ == "DummyLM"
