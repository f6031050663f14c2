"""`--model masked_lm`: checkpoints of any family, by what their files say they are."""

import json
import logging
import shutil
import sys

import pytest
import torch
from lm_eval.tasks import TaskManager

from lm_eval_codd import circuits
from lm_eval_codd.catalogue import DATA_DIR
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.commands import harness
from lm_eval_codd.models.codd import CoddMaskedLM
from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.masked_lm import MaskedLM
from lm_eval_codd.settings import TILED
from tests.forked import PATIENCE
from tests.models.processes import answer_as, start_ranks
from tests.models.tiny_qwen import ENDS, KINDS, SPECIAL, TEMPLATE, VOCAB_SIZE, write_checkpoint

FAMILY = {"qwen2": "open_dllm", "qwen3": "open_dllm", "a2d-qwen2": "a2d", "a2d-qwen3": "a2d"}
FAMILY |= {"llada": "llada", "dream": "dream"}
DECODERS = {
    "unmasking": {"block_length": 8},
    "unmasking in blocks at a temperature": {"block_length": 8, "paradigm": "block", "temperature": 0.7},
    "cad": {"decoder": "cad", "block_length": 8, "num_steps": None},
    "klass": {"decoder": "klass", "block_length": 8, "threshold": 0.02, "kl_threshold": 1.0},
    "p2": {"decoder": "p2"},
    "open_dllm": {"decoder": "open_dllm", "variant": "p2_upgraded", "temperature": 0.5, "top_k": 20},
    "corrective": {"decoder": "corrective"},
}
SHORT = {"num_steps": 4, "gen_length": 16, "device": "cpu"}
PROMPTS = ["a", "bb bb", "c" * 9, "d" * 9, "e", "ff ff", "g" * 20]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a tiny checkpoint of each kind."""
    return {kind: write_checkpoint(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """GSM8K's file of two rows, in place of the hub."""
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    row = {"question": "What is 1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}
    (tmp_path / "data" / "gsm8k" / "test.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    monkeypatch.setenv(DATA_DIR, str(tmp_path / "data"))


def settings_of(name: str) -> dict:
    return {name: value for name, value in {**SHORT, **DECODERS[name]}.items() if value is not None}


class TestDecoders:
    @pytest.mark.parametrize("decoder", DECODERS)
    @pytest.mark.parametrize("kind", FAMILY)
    def test_one_at_a_time_and_seven_at_a_time_give_the_same_answers(self, tiny, checkpoints, ask, kind, decoder):
        lm = MaskedLM({**tiny, **checkpoints}[kind], batch_size=7, **settings_of(decoder))
        seven = ask(lm, PROMPTS)
        assert len(set(seven)) > 1
        assert (lm.backbone.family, lm.get_model_info()["family"]) == (FAMILY[kind], FAMILY[kind])
        assert [ask(lm, [prompt])[0] for prompt in PROMPTS] == seven

    @pytest.mark.parametrize("kind", FAMILY)
    def test_two_processes_answer_like_one(self, tiny, checkpoints, ask, kind, tmp_path):
        checkpoint = {**tiny, **checkpoints}[kind]
        settings = [{**settings_of(decoder), "batch_size": 2} for decoder in DECODERS]
        ranks = start_ranks(2, answer_as, "masked_lm", checkpoint, settings, PROMPTS, tmp_path)
        for rank in ranks:
            rank.join(PATIENCE)
        assert [rank.exitcode for rank in ranks] == [0, 0]
        expected = [ask(MaskedLM(checkpoint, **settings_of(decoder)), PROMPTS) for decoder in DECODERS]
        for number in range(2):
            assert json.loads((tmp_path / f"{number}.json").read_text()) == expected

    @pytest.mark.parametrize(
        "decoder",
        [
            {"block_length": 8, "paradigm": "block"},
            {"decoder": "cad", "block_length": 8},
            *({"decoder": name} for name in TILED),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("kind", ["qwen2", "a2d-qwen3"])
    def test_a_circuit_is_coupled_with_any_family(self, tiny, ask, monkeypatch, kind, decoder):
        generator = torch.Generator().manual_seed(0)

        def table(*shape):
            return (3 * torch.rand(shape, generator=generator)).softmax(-1)

        emission = (9 * torch.rand(8, VOCAB_SIZE, generator=generator)).softmax(-1)
        circuit = HMM(table(8), table(8, 8), emission, num_positions=8)
        monkeypatch.setattr(circuits, "load_circuit", lambda path, revision: circuit)
        given = {name: value for name, value in SHORT.items() if decoder.get("decoder") != "cad" or name != "num_steps"}
        lm = CoddMaskedLM(tiny[kind], pc="a.jpc", pc_frac=1.1, batch_size=7, **given, **decoder)
        coupled = ask(lm, PROMPTS)
        assert lm.get_model_info()["circuit_calls"] > 0
        assert coupled != ask(MaskedLM(tiny[kind], **given, **decoder), PROMPTS)
        assert [ask(lm, [prompt])[0] for prompt in PROMPTS] == coupled


class TestFamilies:
    @pytest.mark.parametrize(("model", "family"), [(LLaDA, "llada"), (Dream, "dream")])
    def test_it_decodes_as_the_model_of_its_family(self, checkpoints, ask, model, family):
        settings = {**SHORT, "block_length": 8}
        own, any_family = (cls(checkpoints[family], **settings) for cls in (model, MaskedLM))
        assert any_family.config == own.config
        assert ask(any_family, PROMPTS) == ask(own, PROMPTS)
        assert (
            any_family.get_model_info()["recognised_by"]
            == f"its model_type is {'Dream' if family == 'dream' else family}"
        )

    @pytest.mark.parametrize("model", [MaskedLM, Dream])
    def test_settings_of_a_card_that_was_not_seen_are_asked_for(self, checkpoints, tmp_path, model, caplog):
        folder = shutil.copytree(checkpoints["dream"], tmp_path / "Dream-Coder-tiny")
        with caplog.at_level(logging.WARNING, logger="lm_eval.codd"):
            model(str(folder), **SHORT)
        assert "is decoded with dream's own temperature; those of its card were not seen here: give" in caplog.text
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="lm_eval.codd"):
            model(str(folder), temperature=0.1, **SHORT)
            model(checkpoints["dream"], **SHORT)
        assert "card" not in caplog.text

    def test_each_has_the_defaults_of_its_authors(self, tiny):
        a2d, open_dllm = (
            MaskedLM(tiny[kind], device="cpu", max_length=512, gen_length=64).config for kind in ("a2d-qwen2", "qwen2")
        )
        assert (a2d.paradigm, a2d.alg, a2d.counts, a2d.temperature) == ("block", "low_confidence", "rounded", 0.0)
        assert (open_dllm.paradigm, open_dllm.alg, open_dllm.counts) == ("full", "entropy", None)
        assert (
            MaskedLM(tiny["a2d-qwen2"], device="cpu", gen_length=20, block_length=8, num_steps=7).config.num_blocks == 3
        )

    def test_a2d_s_chat_template_does_not_think_unless_asked_to_and_the_result_says_so(self, tmp_path):
        folder = write_checkpoint(tmp_path / "a2d", "a2d-qwen3", template=TEMPLATE)
        messages = [{"role": "user", "content": "hi"}]
        lm = MaskedLM(folder, **SHORT, block_length=8)
        assert lm.apply_chat_template(messages).endswith("<bot>[False]")
        assert lm.get_model_info()["chat_template_args"] == {"enable_thinking": False}
        thinking = MaskedLM(folder, chat_template_args={"enable_thinking": True}, block_length=8, **SHORT)
        assert thinking.apply_chat_template(messages).endswith("<bot>[True]")
        plain = MaskedLM(write_checkpoint(tmp_path / "qwen", "qwen3", template=TEMPLATE), **SHORT)
        assert plain.apply_chat_template(messages).endswith("<bot>")

    @pytest.mark.parametrize("end", ENDS)
    def test_an_answer_of_a2d_ends_at_either_end(self, tiny, make_request, end):
        lm = MaskedLM(tiny["a2d-qwen2"], block_length=8, **SHORT)

        def logits(tokens, attention_mask=None, positions=None):
            scores = torch.zeros(*positions.shape, VOCAB_SIZE)
            scores[..., 65], scores[..., SPECIAL[end]] = 1.0, 2.0 * (positions > 6)
            return scores

        lm.backbone.logits, lm.backbone.hidden_at, lm.backbone.head = logits, logits, lambda hidden, out=None: hidden
        (answer,) = lm.generate_until([make_request("abc")], disable_tqdm=True)
        assert answer == lm.tokenizer.decode([65] * 4)


class TestRefusals:
    """Each is one line, before weights are read."""

    @pytest.fixture(autouse=True)
    def no_weights(self, monkeypatch):
        monkeypatch.setattr("lm_eval_codd.backbones.load_backbone", lambda *args, **given: pytest.fail("loaded"))

    @pytest.mark.parametrize(
        ("kind", "arguments", "message"),
        [
            ("ordinary", {}, "no mask token, as an ordinary autoregressive model"),
            ("ordinary", {"mask_id": 299}, "no mask token, as an ordinary autoregressive model"),
            ("a2d-qwen2", {"attention": "causal"}, "`attention=causal` is not known; use one of full, block"),
            ("a2d-qwen2", {"attention": "block", "alg": "margin"}, "`alg=margin` is read by decoder=unmasking"),
            ("qwen2", {"attention": "block"}, "`attention=block`: open_dllm checkpoints have no blocks of their own"),
            ("qwen2", {"family": "dreem"}, "`family=dreem` is not known; use one of llada, dream"),
            ("qwen2", {"family": "llada"}, "use family=open_dllm (`--model masked_lm` in lm_eval)"),
            ("qwen2", {"pc": "a.jpc"}, "use --model codd_masked_lm"),
            ("qwen2", {"pc_frac": 0.8}, "use --model codd_masked_lm with pc="),
            ("qwen2", {"cache": "dual", "decoder": "p2"}, "`cache=dual`"),
        ],
    )
    def test_what_cannot_be(self, tiny, tmp_path, kind, arguments, message):
        folder = write_checkpoint(tmp_path / "ar", "qwen2", has_mask=False) if kind == "ordinary" else tiny[kind]
        with pytest.raises(ValueError) as error:
            MaskedLM(folder, device="cpu", gen_length=16, **arguments)
        assert message in str(error.value) and "\n" not in str(error.value)

    def test_full_attention_of_a_family_that_is_block_causal(self, golden_dir):
        with pytest.raises(ValueError, match="`attention=full`: sdar checkpoints are block-causal, and are decoded"):
            MaskedLM(str(golden_dir / "families" / "sdar"), attention="full", device="cpu")

    @pytest.mark.parametrize(("model", "family"), [(LLaDA, "llada"), (Dream, "dream")])
    def test_the_models_of_one_family_name_the_one_that_takes_another(self, tiny, model, family):
        with pytest.raises(ValueError, match=r"is a2d .*`--model masked_lm` in lm_eval"):
            model(tiny["a2d-qwen2"], device="cpu", gen_length=16, block_length=8, num_steps=4)
        with pytest.raises(ValueError, match="`family=a2d` is another model's; use --model masked_lm"):
            model(tiny["a2d-qwen2"], family="a2d")

    def test_a_circuit_s_model_without_one(self, tiny):
        with pytest.raises(ValueError, match=r"`pc` is missing.* use --model masked_lm"):
            CoddMaskedLM(tiny["qwen2"])


class TestIds:
    def test_family_and_mask_id_make_a_diffusion_model_of_one_without_a_mask_token(self, tmp_path, ask):
        folder = write_checkpoint(tmp_path / "ar", "qwen2", has_mask=False)
        shifted, plain = (
            MaskedLM(folder, family=family, mask_id=290, block_length=8, paradigm="block", counts="even", **SHORT)
            for family in ("open_dllm", "a2d")
        )
        assert (shifted.backbone.mask_id, plain.backbone.mask_id) == (290, 290)
        assert ask(shifted, PROMPTS) != ask(plain, PROMPTS)

    def test_a_mask_id_outside_of_the_vocabulary(self, tiny):
        with pytest.raises(ValueError, match="`mask_id=300` is outside the 300 logit columns"):
            MaskedLM(tiny["a2d-qwen2"], mask_id=300, block_length=8, **SHORT)

    def test_a_name_with_bd3lm_has_blocks_unless_the_user_knows_better(self, tiny, ask, tmp_path, harness_log):
        folder = shutil.copytree(tiny["a2d-qwen3"], tmp_path / "tiny-bd3lm")
        lm = MaskedLM(str(folder), block_length=8, **SHORT)
        assert (lm.config.decoder, lm.config.rule, lm.backbone.block_length) == ("block_diffusion", "bd3lm", 8)
        assert ask(lm, PROMPTS) == [ask(lm, [prompt])[0] for prompt in PROMPTS]
        assert "since bd3lm is in the name" in harness_log.text
        info = MaskedLM(str(folder), attention="full", block_length=8, **SHORT).get_model_info()
        assert info["attention"] == "full"


def run(monkeypatch, *arguments: str) -> None:
    """lm-eval's own command line in this process, without its own 14,000 tasks, whose index takes seconds."""
    monkeypatch.setattr("lm_eval.tasks.TaskManager", TaskManager)
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    monkeypatch.setattr(sys, "argv", sys.argv)
    harness.run(list(arguments))


class TestCommandLine:
    @pytest.mark.parametrize("kind", ["qwen2", "a2d-qwen3"])
    def test_lm_eval_evaluates_it_offline(self, tiny, rows, monkeypatch, tmp_path, kind):
        args = f"pretrained={tiny[kind]},decoder=p2,num_steps=4,gen_length=16,device=cpu"
        out = tmp_path / "results.json"
        run(monkeypatch, "--model", "masked_lm", "--model_args", args, "--tasks", "codd_gsm8k", "--limit", "2",
            "--output_path", str(out))  # fmt: skip
        (written,) = tmp_path.glob("results_*.json")
        result = json.loads(written.read_text())
        assert result["n-samples"]["codd_gsm8k"]["effective"] == 2
        config = result["config"]
        assert (config["model"], config["family"], config["attention"]) == ("masked_lm", FAMILY[kind], "full")
        assert config["settings"]["decoder"] == "p2" and config["nfe"] > 0
