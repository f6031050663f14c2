"""`--model_alias masked_lm`: the family comes from the checkpoint's files, and the run is one of that family."""

import json
from pathlib import Path

import pytest

from lm_eval_codd.backbones.registry import LAYOUTS
from lm_eval_codd.launch.command import model_args
from lm_eval_codd.runs.file_checks import find_problems
from lm_eval_codd.runs.make_run import make_run, parse_run, parse_runs
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.recognition import BLOCK_FIELDS, ENCODERS, FAMILY_OF, RULES_IF_NAMED
from lm_eval_codd.runs.sweep import parse_sweep, typed
from tests.run_files import header_alone

MASK = {"mask_token": "<M>", "added_tokens_decoder": {"98": {"content": "<M>"}}}
EOS = {"eos_token": "</s>", "added_tokens_decoder": {"97": {"content": "</s>"}, "95": {"content": "x"}}}


@pytest.fixture
def make(tmp_path: Path):
    """`make(model_type, tokenizer_config, name)`: a folder that looks like such a checkpoint."""

    def make(model_type: str, tokenizer_config: dict | None = None, name: str = "tiny") -> str:
        folder = tmp_path / name
        folder.mkdir()
        config = {"model_type": model_type, "max_position_embeddings": 4096, "vocab_size": 99, "eos_token_id": 97}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config or {}))
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        (folder / "tokenizer.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(header_alone())
        return str(folder)

    return make


def run(checkpoint: str, more: str = ""):
    return parse_run(f"--model_alias masked_lm --task gsm8k --masked_lm_ckpt '{checkpoint}' {more}")


def test_the_fields_with_a_blocks_length_are_those_of_the_layouts():
    assert {one.family: one.block_length[0] for one in LAYOUTS if one.is_block_causal} == BLOCK_FIELDS
    assert {one.model_type for one in LAYOUTS if one.is_encoder} == set(ENCODERS)
    assert {one.family: one.rules_if_named for one in LAYOUTS if one.rules_if_named} == RULES_IF_NAMED


def test_the_table_of_families_is_the_one_of_the_layouts():
    first = {one.model_type.lower(): one.decoding for one in reversed(LAYOUTS) if one.decoding is not None}
    assert first == FAMILY_OF


class TestFamilies:
    @pytest.mark.parametrize(
        ("model_type", "config", "family", "paradigm"),
        [
            ("a2d-qwen3", EOS, "a2d", "block"),
            ("qwen2", MASK, "open_dllm", "full"),
            ("qwen3", MASK, "open_dllm", "full"),
        ],
    )
    def test_a_qwen_type_checkpoint(self, make, model_type, config, family, paradigm):
        one = run(make(model_type, config))
        assert (one.family, one.config.paradigm) == (family, paradigm)
        assert one.model == "masked_lm" and model_args(one)["family"] == family
        assert not find_problems({"name": one})
        assert run_name(one).startswith(f"{family}_gsm8k_{one.config.alg}_steps256_ckpt-tiny-")
        assert one.identity()["family"] == family and "attention" not in one.identity()

    def test_a_llada_checkpoint_is_the_same_run_as_under_its_own_name(self, checkpoint):
        own = parse_run(f"--model_alias llada --task gsm8k --llada_ckpt '{checkpoint}'")
        assert run(str(checkpoint)) == own
        assert own.model == "llada" and "family" not in model_args(own)

    def test_a2d_takes_any_number_of_steps_and_the_estimate_counts_them(self, make):
        one = run(make("a2d-qwen2", EOS), "--gen_length 20 --block_length 8 --num_steps 7")
        assert (one.config.num_blocks, one.num_forward) == (3, 9)
        assert "counts" not in run_name(one) and "counts" not in model_args(one)

    @pytest.mark.parametrize(
        ("model_type", "config", "family", "block_length"),
        [
            ("sdar", {"block_size": 16}, "sdar", 16),
            ("sdar", {}, "sdar", 4),
            ("llada2_moe", {}, "llada2", 32),
            ("sdar_moe", {}, "sdar", 4),
            ("llada2_moe_veomni", {}, "llada2", 32),
            ("Fast_dLLM_Qwen", {"bd_size": 8}, "fast_dllm_v2", 8),
        ],
    )
    def test_a_block_causal_checkpoint_says_the_length_of_its_blocks(
        self, make, model_type, config, family, block_length
    ):
        folder = make(model_type, MASK)
        path = Path(folder, "config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        one = run(folder)
        assert (one.family, one.config.decoder, one.config.rule) == (family, "block_diffusion", family)
        assert one.config.block_length == model_args(one)["block_length"] == block_length
        assert run_name(one).startswith(f"{family}_gsm8k_block_diffusion") and not find_problems({"name": one})

    def test_token_editing_is_a_rule_of_its_own(self, make):
        one = run(make("llada2_moe", MASK), "--rule llada21")
        assert (one.config.editing_threshold, model_args(one)["rule"]) == (0.9, "llada21")
        assert "editing_threshold" not in model_args(one) and "rule-llada21" in run_name(one)
        named = make("llada2_moe", MASK, "LLaDA2.1-mini")
        assert run(named).config == one.config and run(named, "--rule llada2").config.rule == "llada2"

    def test_experts_choose_tokens_of_blocks_where_the_window_is_said(self, make):
        folder = make("llada2_moe", MASK)
        one = run(folder, "--router ec --ec_scope sequence --ec_k 4")
        assert model_args(one).items() >= {"router": "ec", "ec_scope": "sequence", "ec_k": 4}.items()
        with pytest.raises(ValueError, match=r"or give ec_scope=sequence to have the prompt"):
            run(folder, "--router ec")
        with pytest.raises(ValueError, match="`ec_scope=batch` lets the rows of a batch compete for experts"):
            run(folder, "--router ec --ec_scope batch")
        with pytest.raises(ValueError, match="`compat=True` with `router=ec` takes the share of masks of the padded"):
            run(folder, "--router ec --ec_scope sequence --compat true --batch_size auto")

    def test_names_of_lm_eval_are_read(self, make):
        folder, remarks = make("a2d-qwen2", EOS), []
        (one,) = parse_runs(f"--model masked_lm --task gsm8k --pretrained '{folder}'", None, remarks)
        assert one == run(folder)
        (point,) = parse_sweep(f"model=masked_lm 'masked_lm_ckpt={folder}' task=gsm8k").points()
        assert make_run(typed(point)) == one

    def test_family_and_mask_id_make_a_diffusion_model_of_an_ordinary_one(self, make):
        one = run(make("qwen2", EOS), "--family a2d --mask_id 96")
        assert one.family == "a2d" and not find_problems({"name": one})
        assert model_args(one).items() >= {"family": "a2d", "mask_id": 96}.items()

    def test_a_family_says_whether_a_qwen3_moe_is_shifted(self, make):
        folder = make("qwen3_moe", MASK)
        for family in ("llada", "open_dllm"):
            assert run(folder, f"--family {family}").family == family
        with pytest.raises(ValueError, match=r"whether it is shifted; give --family llada or open_dllm \(open_dllm: "):
            run(folder)

    def test_a_hub_id_that_is_not_here_yet_is_what_the_user_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        assert run("own/name", "--family open_dllm").family == "open_dllm"
        with pytest.raises(ValueError, match=r"`--masked_lm_ckpt own/name` is not on this machine.* give --family"):
            run("own/name")

    def test_a_name_with_bd3lm_is_decoded_in_blocks_unless_the_user_knows_better(self, make):
        folder = make("a2d-qwen2", EOS, "a-bd3lm")
        blocks = run(folder)
        assert (blocks.config.decoder, blocks.config.rule, blocks.config.block_length) == (
            "block_diffusion",
            "bd3lm",
            32,
        )
        assert model_args(blocks).items() >= {"decoder": "block_diffusion", "rule": "bd3lm", "num_steps": 32}.items()
        one = run(folder, "--attention full")
        assert model_args(one)["attention"] == "full" and "_attention-full" in run_name(one)


class TestRefusals:
    @pytest.mark.parametrize(
        ("model_type", "more", "message"),
        [
            ("qwen2", "", "no mask token in its tokenizer's files, as an ordinary autoregressive model"),
            ("qwen2", "--mask_id 96", "give both --family (open_dllm or a2d or dream) and --mask_id"),
            ("diffusion_gemma", "", "which no launcher runs; use lm_eval --model diffusion_gemma"),
            ("mixtral", "", "has `model_type` mixtral, and decoded here are llada"),
            ("a2d-qwen2", "--family llada", "`--family llada`"),
            ("a2d-qwen2", "--family a2", "`family=a2` is not known"),
            ("modernbert", "--cache prefix", "`cache=prefix` needs a checkpoint of which keys and values can be kept"),
            ("sdar", "--decoder unmasking", "`decoder=unmasking` looks at whole answers, and this sdar checkpoint is"),
            ("a2d-qwen2", "--decoder block_diffusion", "`decoder=block_diffusion` is for block-causal checkpoints"),
            ("a2d-qwen2", "--attention causal", "`attention=causal` is not known; use one of full, block"),
        ],
    )
    def test_what_cannot_be(self, make, model_type, more, message):
        with pytest.raises(ValueError) as error:
            run(make(model_type, EOS), more)
        assert message in str(error.value) and "\n" not in str(error.value)

    def test_a_mask_token_outside_of_the_vocabulary(self, make):
        declared = {"mask_token": "<M>", "added_tokens_decoder": {"99": {"content": "<M>"}}}
        (line,) = find_problems({"name": run(make("qwen2", declared))})
        assert "`mask_id` of its tokenizer's files is outside the 99 tokens" in line

    def test_the_models_of_one_family(self, make):
        folder = make("a2d-qwen2", EOS)
        with pytest.raises(ValueError, match="is an a2d-qwen2 checkpoint; use --model_alias masked_lm"):
            parse_run(f"--model_alias llada --task gsm8k --llada_ckpt '{folder}'")
        with pytest.raises(ValueError, match="`--family a2d` is read with --model_alias masked_lm"):
            parse_run("--model_alias llada --task gsm8k --family a2d")
        with pytest.raises(ValueError, match="`--masked_lm_ckpt` is missing"):
            parse_run("--model_alias masked_lm --task gsm8k")
