import pytest
import torch

from lm_eval_codd.models.arguments import argument_names, choose_device, from_harness
from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.llada import LLaDA

NOWHERE = "nowhere/at-all"  # asking for it would be an error of its own, after these


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


class TestConstructor:
    @pytest.mark.parametrize(
        ("model", "arguments", "message"),
        [
            (LLaDA, {"num_step": 8}, "unknown argument `num_step`; did you mean `num_steps`"),
            (LLaDA, {"pretraned": "x"}, "unknown argument `pretraned`; did you mean `pretrained`"),
            (LLaDA, {"max_gen_toks": 256}, "here it is `gen_length`"),
            (LLaDA, {"num_steps": 100}, "use a multiple of 16 (96 or 112)"),
            (LLaDA, {"alg": "entropi"}, "did you mean entropy"),
            (LLaDA, {"pretrained": None}, "`pretrained` is missing"),
            (LLaDA, {"family": "dream"}, "use --model dream"),
            (LLaDA, {"use_cache": True}, "`cache=prefix` here, or `cache=dual`"),
            (LLaDA, {"add_bos_token": "maybe"}, "`add_bos_token=maybe` must be True or False"),
            (LLaDA, {"chat_template_args": "thinking"}, "`chat_template_args=thinking` must be a JSON object"),
            (LLaDA, {"batch_size": 0}, "`batch_size=0`"),
            (LLaDA, {"max_length": 512}, "`gen_length=512` leaves no room for a prompt in `max_length=512`"),
            (LLaDA, {"max_length": "long"}, "`max_length=long` must be a whole number"),
            (LLaDA, {"pc": "a.jpc"}, "use --model codd_llada"),
            (Dream, {"pc": "a.jpc"}, "use --model codd_dream"),
            (Dream, {"pc_frac": 0.8}, "`pc_frac=0.8` does nothing without a circuit"),
            (CoddLLaDA, {}, "`pc` is missing"),
        ],
    )
    def test_what_cannot_be_is_one_line_before_a_checkpoint_is_opened(self, model, arguments, message):
        with pytest.raises(ValueError) as error:
            model(**{"pretrained": NOWHERE, **arguments})
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_typed_gen_kwargs_are_checked_then_too(self, evaluate, monkeypatch):
        monkeypatch.setattr("lm_eval.api.registry.get_model", lambda name: LLaDA)
        with pytest.raises(ValueError, match="did you mean `num_steps`"):
            evaluate("llada", model_args=f"pretrained={NOWHERE}", gen_kwargs="num_step=8")

    @pytest.mark.parametrize("of_gen_kwargs", [False, True])
    def test_messages_name_what_was_typed(self, evaluate, monkeypatch, of_gen_kwargs):
        monkeypatch.setattr("lm_eval.api.registry.get_model", lambda name: LLaDA)
        place = ("", "length=-5") if of_gen_kwargs else (",length=-5", None)
        with pytest.raises(ValueError, match=r"`gen_length=-5` is .*; `length=-5` \(DUO\) is read as `gen_length=-5`$"):
            evaluate("llada", model_args=f"pretrained={NOWHERE}{place[0]}", gen_kwargs=place[1])


class TestFromHarness:
    def test_model_args_win_over_the_harness_options(self):
        options = {"batch_size": "1", "device": "cuda:1"}
        given = from_harness(argument_names(LLaDA), {"batch_size": 8, "device": "cpu"}, options)
        assert given == {"batch_size": 8, "device": "cpu"}

    def test_an_option_that_loses_is_said(self, harness_log):
        from_harness(argument_names(LLaDA), {"batch_size": 8}, {"batch_size": "4"})
        assert "`--batch_size 4` does nothing beside `batch_size=8` of --model_args" in harness_log.text

    def test_the_harness_default_device_means_choose(self):
        assert from_harness(argument_names(LLaDA), {}, {"device": "cuda:0", "max_batch_size": None}) == {}

    def test_any_other_device_is_meant(self):
        assert from_harness(argument_names(LLaDA), {}, {"device": "cuda:1"}) == {"device": "cuda:1"}

    def test_other_projects_names_are_read_and_said_once(self, harness_log):
        given = from_harness(
            argument_names(LLaDA), {"model_path": "a/b", "steps": 64, "remasking": "random", "cfg": 0.5}, None
        )
        assert given == {"pretrained": "a/b", "num_steps": 64, "alg": "random", "cfg_scale": 0.5}
        assert harness_log.text.count("`steps=64` (LLaDA, Fast-dLLM, dLLM) is read as `num_steps=64`") == 1

    def test_a_clash_with_the_own_name_is_an_error(self):
        with pytest.raises(ValueError, match="both say `num_steps`"):
            from_harness(argument_names(LLaDA), {"num_steps": 32, "steps": 64}, None)


class TestWhatIsAcceptedAndDoesNothing:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"trust_remote_code": True}, "no code of a checkpoint is ever run"),
            ({"attn_implementation": "flash_attention_2"}, "attention is torch's scaled_dot_product_attention"),
        ],
    )
    def test_is_said(self, checkpoints, harness_log, arguments, said):
        LLaDA(checkpoints["llada"], gen_length=32, num_steps=1, device="cpu", **arguments)
        assert said in harness_log.text


class TestChooseDevice:
    def test_without_a_gpu_it_is_the_cpu_and_says_so(self, no_gpu, harness_log):
        assert choose_device(None, 0) == torch.device("cpu")
        assert "on the CPU" in harness_log.text

    def test_each_process_takes_its_own_gpu(self, two_gpus):
        assert [choose_device(None, rank).index for rank in (0, 1)] == [0, 1]
        assert choose_device("cuda", 1).index == 1

    def test_a_gpu_that_is_named_is_taken(self, two_gpus):
        assert choose_device("cuda:1", 0).index == 1

    def test_accelerate_can_keep_it_off_the_gpus(self, two_gpus, monkeypatch):
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        assert choose_device(None, 0).type == "cpu"

    @pytest.mark.parametrize(("asked", "rank"), [("cuda:7", 0), (None, 2), ("cuda", 2)])
    def test_a_gpu_that_is_not_there_is_an_error(self, two_gpus, asked, rank):
        with pytest.raises(ValueError, match="GPUs 0 to 1 are visible"):
            choose_device(asked, rank)

    def test_a_gpu_asked_for_on_a_machine_without_is_an_error(self, no_gpu):
        with pytest.raises(ValueError, match=r"`device=cuda:0` needs GPU 0, and no GPU is visible; use device=cpu"):
            choose_device("cuda:0", 0)

    def test_an_unknown_device_is_an_error(self):
        with pytest.raises(ValueError, match="`device=gpu` is not known"):
            choose_device("gpu", 0)
