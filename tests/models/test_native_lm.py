"""DiffusionGemma in lm-eval: transformers' own answers, each with its own numbers; and what it does not have."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from lm_eval.api.instance import Instance

from lm_eval_codd.backbones import CheckpointError, load_backbone
from lm_eval_codd.backbones.inspect import main as inspect
from lm_eval_codd.backbones.native import Native, global_streams, gpus_of, load_native
from lm_eval_codd.models.masked_lm import MaskedLM
from lm_eval_codd.models.native_lm import DiffusionGemma
from lm_eval_codd.reporting.unconditional import in_terms_of_others
from lm_eval_codd.settings.native import NativeSettings
from tests.forked import PATIENCE
from tests.models.block_folders import write_tokenizer
from tests.models.processes import answer_as, start_ranks
from tests.models.real_rows import TASKS, answers_of, evaluate

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"), reason="this transformers has no DiffusionGemma"
)
PROMPTS = ["a", "some more of it", "x y"]
# Few steps: a random model is never sure enough to end a canvas.
SHORT = {"gen_length": 12, "num_steps": 3, "device": "cpu", "dtype": "float32"}
END = 298


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random checkpoint of the class, as it saves itself, with a tokenizer."""
    text = {
        **{"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8},
        **{"max_position_embeddings": 4096, "sliding_window": 16, "num_experts": 4, "top_k_experts": 2},
        **{"moe_intermediate_size": 16, "layer_types": ["sliding_attention", "full_attention"]},
        **{"pad_token_id": 297, "eos_token_id": [297, END], "bos_token_id": 297},
    }
    vision = {"model_type": "gemma4_vision", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    config = transformers.DiffusionGemmaConfig(
        text_config=text, vision_config=vision, canvas_length=8, image_token_id=290, boi_token_id=291, eoi_token_id=292
    )
    torch.manual_seed(0)
    model = transformers.DiffusionGemmaForBlockDiffusion(config)
    model.generation_config.t_max, model.generation_config.eos_token_id = 0.9, [297, END]
    path = tmp_path_factory.mktemp("gemma") / "gemma"
    model.save_pretrained(path)
    write_tokenizer(path, mask="<unused>", end_of_turn="<turn|>", bos="<|endoftext|>")
    return str(path)


@pytest.fixture(scope="module")
def model(folder):
    return DiffusionGemma(folder, **SHORT)


def wrong(call) -> str:
    with pytest.raises((ValueError, NotImplementedError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestAnswers:
    def test_are_those_of_generate_with_the_stream_of_the_key(self, folder):
        native = load_native(folder, "float32", "cpu")
        before = torch.get_rng_state()
        answer = native.answer([7, 9, 11], NativeSettings(gen_length=12, num_steps=3, seed=5), 77)
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(77)
        made = native.model.generate(
            torch.tensor([[7, 9, 11]]),
            max_new_tokens=12,
            max_denoising_steps=3,
            eos_token_id=[297, END],
            pad_token_id=297,
        )
        official = made.sequences[0, 3:].tolist()
        assert len(official) == 16  # two canvases
        length = next((at for at, token in enumerate(official) if token in (297, END)), 12)
        assert answer.tokens[:length] == official[:length] and len(answer.tokens) == 12
        assert answer.num_forward == 6 == round(len(official) / float(made.tokens_per_forward))

    def test_do_not_depend_on_their_neighbours_and_repeats_differ(self, model, folder, ask):
        together = ask(model, PROMPTS)
        assert [ask(model, [prompt])[0] for prompt in reversed(PROMPTS)] == together[::-1]
        assert ask(DiffusionGemma(folder, **SHORT, batch_size=7), PROMPTS) == together
        assert ask(DiffusionGemma(folder, **SHORT, seed=7), PROMPTS) != together
        instance = Instance("generate_until", {}, ("a", {}), idx=0, metadata=("tiny", 0, 2))
        first, second = model.generate_until([instance, instance], disable_tqdm=True)
        assert first == together[0] and second != first

    def test_end_at_any_of_its_ends(self, folder):
        native = load_native(folder, "float32", "cpu")
        native.ends = tuple(range(150, 300))
        answer = native.answer([7], NativeSettings(gen_length=12, num_steps=2), 1)
        assert answer.num_answer_tokens < 12 and set(answer.tokens[answer.num_answer_tokens + 1 :]) <= {150}

    def test_of_real_rows_of_four_tasks_are_alike_whatever_the_batch(self, folder, golden_dir, monkeypatch):
        given = {"pretrained": folder, **SHORT, "gen_length": 8, "num_steps": 2}
        one, seven = (evaluate(monkeypatch, golden_dir, size, model="diffusion_gemma", **given) for size in (1, 7))
        assert sorted(one["samples"]) == sorted(TASKS) and answers_of(one) == answers_of(seven)
        config = one["config"]
        assert (config["family"], config["nfe"], config["requests"]) == ("diffusion_gemma", 16, 8)
        # As asked, else generation_config.json's, else the class's.
        said = {name: config["generation"][name] for name in ("num_steps", "t_max", "t_min", "entropy_bound")}
        assert said == {"num_steps": 2, "t_max": 0.9, "t_min": 0.4, "entropy_bound": 0.1}
        translated = in_terms_of_others(config, {}, "codd_gsm8k")["settings"]
        assert (translated["num_steps"], translated["gen_length"], translated["paradigm"]) == (2, 8, "canvases")
        assert translated["alg"].startswith("entropy_bound=0.1 t_min=0.4 t_max=0.9")

    def test_of_two_processes_are_those_of_one(self, model, folder, ask, tmp_path):
        ranks = start_ranks(2, answer_as, "diffusion_gemma", folder, [SHORT], PROMPTS, tmp_path)
        for rank in ranks:
            rank.join(PATIENCE)
        assert [rank.exitcode for rank in ranks] == [0, 0]
        alone = [ask(model, PROMPTS)]
        assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [alone, alone]

    def test_that_are_journalled_are_not_made_again(self, folder, ask, tmp_path, monkeypatch):
        journal = str(tmp_path / "journal")
        first = ask(DiffusionGemma(folder, journal=journal, **SHORT), PROMPTS)
        again = DiffusionGemma(folder, journal=journal, **SHORT)
        monkeypatch.setattr(again.native, "answer", None)
        assert ask(again, PROMPTS) == first
        assert again.get_model_info()["journalled_answers"] == 3


class TestOverSeveralDevices:
    @pytest.fixture
    def gpus(self, monkeypatch):
        """Three, each with a state of its own."""
        states, here = {0: "of 0", 1: "of 1", 2: "of 2"}, [0]

        class Device:
            def __init__(self, device):
                self.index = torch.device(device).index

            def __enter__(self):
                here.append(self.index)

            def __exit__(self, *error):
                here.pop()

        monkeypatch.setattr(torch.cuda, "device", Device)
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[torch.device(device).index])
        restore = lambda state, device: states.update({torch.device(device).index: state})  # noqa: E731
        monkeypatch.setattr(torch.cuda, "set_rng_state", restore)
        monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: states.update({here[-1]: seed}))
        monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: states.update(dict.fromkeys(states, seed)))
        return states

    def test_a_checkpoint_draws_on_each_of_its_gpus_from_its_key_and_gives_all_streams_back(self, gpus):
        on = [torch.device("cuda", 2), torch.device("cuda", 0), torch.device("meta"), torch.device("cuda", 0)]
        spread = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=device) for device in on])
        own = gpus_of(spread, torch.device("cuda", 0))
        assert own == (torch.device("cuda", 0), torch.device("cuda", 2))
        before, stream = dict(gpus), torch.get_rng_state()
        with global_streams(own, 77):
            assert gpus == {0: 77, 1: "of 1", 2: 77} and torch.initial_seed() == 77
        assert gpus == before and torch.equal(stream, torch.get_rng_state())

    def test_one_on_the_cpu_leaves_gpus_alone(self, folder, gpus):
        native, before = load_native(folder, "float32", "cpu"), dict(gpus)
        assert native.answer([7], NativeSettings(gen_length=8, num_steps=1), 1).num_forward == 1
        assert gpus == before

    def test_prompts_go_where_offloaded_weights_compute(self, folder, monkeypatch):
        whole = load_native(folder, "float32", "cpu")
        embedding = whole.model.get_input_embeddings()
        monkeypatch.setattr(embedding, "weight", torch.nn.Parameter(embedding.weight.to("meta"), False))
        monkeypatch.setattr(embedding, "_hf_hook", SimpleNamespace(execution_device="cpu"), raising=False)
        checkpoint = SimpleNamespace(source=whole.source, identity=whole.identity)
        assert Native(whole.model, checkpoint, whole.ends).device == torch.device("cpu")


class TestMistakes:
    @pytest.mark.parametrize(
        "given",
        [{"threshold": 0.9}, {"cache": "dual"}, {"pc": "a.jpc"}, {"planner": "x"}, {"mc_num": 8}, {"alg": "margin"}],
    )
    def test_what_models_with_a_mask_have_is_refused_by_its_name(self, folder, given):
        (name,) = given
        said = wrong(lambda: DiffusionGemma(folder, **given))
        assert said.startswith(f"`{name}={given[name]}` is of models with a mask") or "mc_num" in said

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"num_steps": 0}, "`num_steps=0` is out of range"),
            ({"t_min": 0.9, "t_max": 0.5}, "`t_max=0.5` must be above `t_min=0.9`"),
            ({"gen_lenght": 4}, "gen_length"),
            ({"gen_length": 4096}, "`gen_length=4096`, in canvases of 8, leaves no room for a prompt"),
        ],
    )
    def test_settings(self, folder, given, said):
        assert said in wrong(lambda: DiffusionGemma(folder, device="cpu", **given))

    def test_a_likelihood(self, model):
        for method in (model.loglikelihood, model.loglikelihood_rolling, model._loglikelihood_tokens):
            assert "has no likelihood" in wrong(lambda method=method: method([]))

    def test_the_other_models_and_inspect_say_which_model_takes_it(self, folder):
        calls = [lambda: MaskedLM(folder), lambda: load_backbone(folder), lambda: inspect([folder])]
        assert all("use --model diffusion_gemma" in wrong(call) for call in calls)

    def test_another_familys_checkpoint(self, golden_dir):
        path = golden_dir / "families" / "sdar"
        with pytest.raises(CheckpointError, match="is `model_type: sdar`, not diffusion_gemma; use --model masked_lm"):
            load_native(path)

    def test_a_transformers_without_the_class(self, folder, monkeypatch):
        monkeypatch.setattr("lm_eval_codd.backbones.native.ARCHITECTURE", "DiffusionGemmaForNothing")
        with pytest.raises(CheckpointError, match=r"needs transformers' DiffusionGemmaForNothing.* install 5\.23\.0"):
            load_native(folder)
