"""Checkpoints in the layouts of other families: their official logits, and what would make them wrong in silence."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lm_eval_codd as codd
from lm_eval_codd.backbones import Backbone, CheckpointError, forward, load_backbone
from lm_eval_codd.backbones import backbone as backbone_module
from lm_eval_codd.backbones.registry import LAYOUTS

# Families whose positions see their own block and those before it, with the block length of the goldens.
BLOCKS = {"sdar": 4, "llada2": 8, "fast_dllm_v2": 8}
NAMES = ("a2d_qwen2", "a2d_qwen3", "a2d_llama", "lladamoe", *BLOCKS)
# float64 shows that nothing but rounding is left.
PRECISE = ("float64", 1e-6)
DECODED = ("lladamoe", "a2d_qwen2", "a2d_qwen3", "a2d_llama")
DTYPES = ("float32", "bfloat16")
CASES = ("full", "padded", "block8", "block4")


@pytest.fixture(scope="module")
def families(golden_dir: Path) -> Path:
    return golden_dir / "families"


@pytest.fixture(scope="module")
def official(families: Path) -> dict[str, torch.Tensor]:
    return load_file(families / "logits.safetensors") | load_file(families / "a2d_llama" / "logits.safetensors")


@pytest.fixture(scope="module")
def load(families: Path) -> Callable[..., Backbone]:
    """Loads a golden checkpoint once for each set of arguments."""
    loaded: dict[tuple, Backbone] = {}

    def _load(name: str, **options: object) -> Backbone:
        key = (name, *sorted(options.items()))
        if key not in loaded:
            loaded[key] = open_family(families / name, **options)
        return loaded[key]

    return _load


def open_family(folder: Path, **options: object) -> Backbone:
    """A golden checkpoint: its ids are in facts.json, since it has no tokenizer to say them."""
    facts = json.loads((folder / "facts.json").read_text())
    if folder.name.startswith("llada2"):
        options = {"block_length": 8, **options}
    return load_backbone(folder, mask_id=facts["mask_id"], eos_id=facts["eos_id"], device="cpu", **options)


@pytest.fixture
def edited(families: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a golden checkpoint with config fields changed and tensors changed by a function."""

    def edit(name: str, config: dict | None = None, tensors: Callable[[dict], dict] | None = None) -> Path:
        folder = shutil.copytree(families / name, tmp_path / name)
        fields = json.loads((folder / "config.json").read_text()) | (config or {})
        (folder / "config.json").write_text(json.dumps(fields))
        if tensors is not None:
            path = folder / "model.safetensors"
            save_file(tensors(load_file(path)), path, metadata={"format": "pt"})
        return folder

    return edit


class TestOfficialLogits:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_case_under_the_mask_that_it_was_made_with(self, load, official, name):
        backbone, num_cases = load(name), 0
        for case in CASES:
            if f"{name}.{case}.logits" not in official:
                continue
            num_cases += 1
            tokens, mask, expected = golden(official, name, case)
            got = backbone.logits(tokens, mask)
            real = forward.real_tokens(mask) if mask is not None else torch.ones_like(tokens, dtype=torch.bool)
            assert (got - shifted(backbone, expected))[real].abs().max() < 2e-5, case
        assert num_cases

    @pytest.mark.parametrize("name", BLOCKS)
    def test_block_causal_attention_is_the_familys_own(self, load, official, name):
        backbone = load(name)
        tokens, _, expected = golden(official, name, f"block{BLOCKS[name]}")
        assert backbone.block_length == BLOCKS[name]
        assert (backbone.logits(tokens) - shifted(backbone, expected)).abs().max() < 2e-5

    @pytest.mark.parametrize("name", BLOCKS)
    def test_full_attention_is_another_model(self, load, official, name):
        tokens, _, expected = golden(official, name, f"block{BLOCKS[name]}")
        backbone = load(name, attention="full", block_length=None)
        assert (backbone.logits(tokens) - shifted(backbone, expected)).abs().max() > 1

    @pytest.mark.parametrize("name", ["a2d_qwen2", "a2d_qwen3", "a2d_llama"])
    def test_a_family_with_checkpoints_of_either_kind_has_blocks_where_asked(self, load, official, name):
        tokens, _, expected = golden(official, name, "block8")
        backbone = load(name, attention="block", block_length=8)
        assert (backbone.attention, backbone.block_length, backbone.decodes) == ("block", 8, True)
        assert (backbone.logits(tokens) - expected).abs().max() < 2e-5
        assert (load(name).attention, load(name, attention="block").block_length) == ("full", 32)

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_its_blocks_are_counted_backwards_from_the_end_of_a_row(self, load, side):
        backbone, rows = load("a2d_qwen3", attention="block", block_length=4, dtype="float64"), []
        for length in (9, 14):
            tokens = torch.arange(10, 10 + length)[None]
            blocks = (torch.arange(length) - length).div(4, rounding_mode="floor")
            seen = (blocks[:, None] >= blocks)[None, None]
            rows.append(load("a2d_qwen3", dtype="float64").logits(tokens, seen)[0])
            torch.testing.assert_close(backbone.logits(tokens)[0], rows[-1], atol=1e-6, rtol=0)
        tokens, mask = torch.full((2, 14), backbone.eos_id), torch.ones(2, 14, dtype=torch.bool)
        own = slice(5, None) if side == "left" else slice(0, 9)
        tokens[0, own], tokens[1], mask[0] = torch.arange(10, 19), torch.arange(10, 24), False
        mask[0, own] = True
        together = backbone.logits(tokens, mask)
        torch.testing.assert_close(together[0, own], rows[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(together[1], rows[1], atol=1e-6, rtol=0)

    def test_a_family_with_full_attention_takes_a_mask_of_blocks(self, load, official):
        tokens, mask, expected = golden(official, "a2d_qwen3", "block8")
        positions = torch.tensor([[3, 20], [23, 0]])
        got = load("a2d_qwen3").logits(tokens, mask, positions)
        assert (got - expected[torch.arange(2)[:, None], positions]).abs().max() < 2e-5


class TestBatches:
    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("name", NAMES)
    def test_padding_does_not_change_a_rows_logits(self, load, name, side):
        dtype, tolerance = PRECISE
        backbone = load(name, dtype=dtype)
        rows = [[7, 9, backbone.mask_id, 3], list(range(1, 24)), [backbone.mask_id, *range(40, 50)]]
        width = max(map(len, rows))
        tokens, mask = torch.full((3, width), backbone.eos_id), torch.zeros(3, width, dtype=torch.bool)
        for row, ids in enumerate(rows):
            where = slice(width - len(ids), None) if side == "left" else slice(0, len(ids))
            tokens[row, where], mask[row, where] = torch.tensor(ids), True
        together = backbone.logits(tokens, mask)
        for row, ids in enumerate(rows):
            alone = backbone.logits(torch.tensor([ids]))[0]
            torch.testing.assert_close(together[row][mask[row]], alone, atol=tolerance, rtol=0)

    @pytest.mark.parametrize("name", BLOCKS)
    def test_a_span_over_a_cache_equals_the_same_columns_of_a_whole_pass(self, load, name):
        dtype, tolerance = PRECISE
        backbone = load(name, dtype=dtype)
        tokens = torch.arange(40).reshape(2, 20)
        cache = backbone.new_cache(2, 20)
        whole = backbone.hidden_at(tokens, cache=cache)
        start = torch.tensor([8, 4])
        span = backbone.hidden_at(tokens, cache=cache, start=start, width=6)
        columns = start[:, None] + torch.arange(1, 6)  # a span's first is scored by itself in a shifted family
        torch.testing.assert_close(span[:, 1:], whole[torch.arange(2)[:, None], columns], atol=tolerance, rtol=0)


class TestSelfTest:
    """Each of these is another model, with no error of its own."""

    @pytest.mark.parametrize("name", ["a2d_qwen3", "lladamoe", "sdar", "llada2"])
    def test_norms_of_queries_and_keys_that_are_not_called(self, families, monkeypatch, name):
        monkeypatch.setattr(forward, "_normed", lambda attention, norm, states: states)
        with pytest.raises(CheckpointError, match=r"hidden states differ from those of transformers' .*ForCausalLM by"):
            open_family(families / name)

    # The kernel that multiplies by bfloat16 experts takes no matrices as narrow as the golden LLaDA-MoE's.
    @pytest.mark.parametrize(
        "name, dtype", [pair for pair in product(NAMES, DTYPES) if pair != ("lladamoe", "bfloat16")]
    )
    def test_every_family_passes_and_one_with_other_residuals_does_not(self, families, monkeypatch, name, dtype):
        open_family(families / name, dtype=dtype)
        attend = forward._attend
        monkeypatch.setattr(forward, "_attend", lambda *inputs: 0.5 * attend(*inputs))
        with pytest.raises(CheckpointError, match="hidden states differ"):
            open_family(families / name, dtype=dtype)

    def test_a_bias_of_experts_that_is_not_in_the_file(self, edited):
        folder = edited("llada2", tensors=lambda t: {k: v for k, v in t.items() if "expert_bias" not in k})
        with pytest.raises(CheckpointError, match=r"1 missing .*e_score_correction_bias"):
            open_family(folder)


class TestLoading:
    def test_model_types_are_unique_but_where_the_family_has_to_be_said(self):
        said = [layout for layout in LAYOUTS if layout.needs_family]
        others = [layout.model_type for layout in LAYOUTS if layout not in said]
        assert len({*others, *(layout.model_type for layout in said)}) == len(others) + 1
        assert len({(layout.model_type, layout.family) for layout in LAYOUTS}) == len(LAYOUTS)

    @pytest.mark.parametrize("block_length", [2, 3])
    @pytest.mark.parametrize("name", [*BLOCKS, "a2d_qwen3"])
    def test_blocks_as_short_as_two_tokens(self, load, families, monkeypatch, name, block_length):
        backbone = load(name, attention="block", block_length=block_length, dtype="float64")
        tokens = torch.arange(10, 19)[None]
        place = torch.arange(9) - (9 if name == "a2d_qwen3" else 0)
        blocks = place.div(block_length, rounding_mode="floor")
        seen = (blocks[:, None] >= blocks)[None, None]
        torch.testing.assert_close(backbone.logits(tokens), backbone.logits(tokens, seen), atol=1e-9, rtol=0)
        # Attention that sees no later position is still found out.
        sees = backbone_module._block_causal
        monkeypatch.setattr(backbone_module, "_block_causal", lambda *args, **kwargs: sees(*args, **kwargs).tril())
        with pytest.raises(CheckpointError, match="no position sees a later one"):
            open_family(families / name, attention="block", block_length=block_length)

    @pytest.mark.parametrize(
        "name, field, value",
        [
            ("lladamoe", "shared_expert_intermediate_size", 32),
            ("lladamoe", "num_shared_experts", 1),
            ("lladamoe", "moe_router_enable_expert_bias", True),
            ("lladamoe", "moe_router_score_function", "sigmoid"),
            ("lladamoe", "clip_qkv", 8.0),
            ("lladamoe", "partial_rotary_factor", 0.5),
            ("lladamoe", "qk_layernorm", False),
            ("lladamoe", "tie_word_embeddings", True),
            ("lladamoe", "hidden_act", "gelu"),
            ("llada2", "use_bias", True),
            ("llada2", "use_qk_norm", False),
            ("llada2", "num_experts_per_tok", 1),
            ("llada2", "num_shared_experts", 0),
            ("llada2", "score_function", "softmax"),
            ("llada2", "norm_topk_prob", False),
            ("llada2", "moe_router_enable_expert_bias", False),
            ("llada2", "norm_head", True),
            ("llada2", "rope_scaling", {"type": "linear", "factor": 2}),
            ("llada2", "use_sliding_window", True),
            ("llada2", "_attn_implementation", "eager"),
            *(
                (name, field, value)
                for name in ("sdar", "fast_dllm_v2", "a2d_qwen2", "a2d_qwen3", "a2d_llama")
                for field, value in (
                    ("hidden_act", "gelu"),
                    ("use_sliding_window", True),
                    ("layer_types", ["full_attention", "sliding_attention"]),
                    ("partial_rotary_factor", 0.5),
                )
            ),
            ("sdar", "use_mrope", True),
        ],
    )
    def test_options_that_would_be_computed_wrongly(self, edited, name, field, value):
        with pytest.raises(CheckpointError, match=re.escape(f"`{field}={value}`")):
            open_family(edited(name, {field: value}))

    @pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
    @pytest.mark.parametrize("name", ["sdar", "fast_dllm_v2", "a2d_llama"])
    def test_positions_that_the_longest_row_of_a_batch_moves(self, edited, name, rope_type):
        with pytest.raises(CheckpointError, match=f"`rope_type={rope_type}` rotates by the longest row of a batch"):
            open_family(edited(name, {"rope_scaling": {"type": rope_type, "factor": 2.0}}))

    @pytest.mark.parametrize("name", ["sdar", "fast_dllm_v2", "a2d_llama"])
    def test_a_rotation_that_nobody_knows(self, edited, name):
        with pytest.raises(CheckpointError, match="`rope_type=other` is not known to transformers"):
            open_family(edited(name, {"rope_scaling": {"type": "other", "factor": 2.0}}))

    @pytest.mark.parametrize(
        ("name", "fields", "message"),
        [
            ("llada2", {"n_group": 3}, "`n_group=3` groups of two or more do not make `num_experts=16`"),
            ("llada2", {"n_group": 16}, "`n_group=16` groups of two or more do not make `num_experts=16`"),
            ("llada2", {"n_group": 2, "topk_group": 3}, "`topk_group=3` is more than `n_group=2`"),
            (
                "llada2",
                {"n_group": 8, "topk_group": 1},
                "`num_experts_per_tok=4` is more than a token may choose of `num_experts=16` in `topk_group=1` of "
                "`n_group=8` groups",
            ),
            ("lladamoe", {"num_experts_per_tok": 9}, "`num_experts_per_tok=9` is more than a token may choose of"),
        ],
    )
    def test_experts_of_which_no_token_could_choose(self, edited, name, fields, message):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            open_family(edited(name, fields))

    def test_a_shared_expert_that_is_not_said_is_not_there(self, edited):
        with pytest.raises(CheckpointError, match="has no `num_shared_experts`"):
            open_family(edited("llada2", {"num_shared_experts": None}))

    def test_gates_of_llada_moe_never_add_up_to_one_whatever_its_file_says(self, edited):
        assert not open_family(edited("lladamoe", {"norm_topk_prob": True})).model.config.norm_topk_prob

    @pytest.mark.parametrize(
        "name, options, message",
        [
            ("lladamoe", {"attention": "block"}, "`attention=block`: lladamoe checkpoints have no blocks of their own"),
            ("a2d_qwen3", {"block_length": 8}, "`block_length=8` is the length of a block of `attention=block`"),
            ("a2d_qwen3", {"family": "llada"}, r"is a2d .*use family=a2d \(`--model masked_lm` in lm_eval\)"),
            ("a2d_qwen3", {"attention": "causal"}, "`attention=causal` is not known; use one of full, block"),
            ("sdar", {"attention": "blocks"}, "`attention=blocks` is not known.*did you mean block"),
            ("sdar", {"block_length": 1}, "`block_length=1` must be a whole number of 2 or more: with blocks of one"),
            ("sdar", {"block_length": 0}, "`block_length=0` must be a whole number of 2 or more"),
            ("sdar", {"attention": "full", "block_length": 4}, "`block_length=4` is the length of a block of"),
            ("sdar", {"family": "llada"}, r"is sdar .*; use family=sdar \(`--model masked_lm` in lm_eval\)"),
        ],
    )
    def test_arguments_that_cannot_be(self, families, name, options, message):
        with pytest.raises(CheckpointError, match=message):
            open_family(families / name, **options)

    def test_a_mask_token_is_found_in_the_tokenizers_files(self, edited):
        folder = edited("llada2", {"eos_token_id": 5})
        (folder / "added_tokens.json").write_text(json.dumps({"<|mask|>": 111}))
        assert load_backbone(folder, device="cpu").mask_id == 111


class TestDecoding:
    @pytest.mark.parametrize("name", DECODED)
    def test_a_family_equals_its_official_decodes(self, load, families, name):
        cases = json.loads((families / name / "decoded.json").read_text())
        assert cases
        for case in cases:
            config = config_of(case)
            outputs = codd.generate(load(name), case["prompt"], config)
            for prompt, output, official in zip(case["prompt"], outputs, case["output"], strict=True):
                assert prompt + output.tokens == official[: len(prompt) + config.gen_length], case["name"]
            assert {output.num_forward for output in outputs} == {case["num_forward"]}

    @pytest.mark.parametrize("name", [name for name in NAMES if name not in DECODED])
    def test_a_family_with_rules_of_its_own_is_not_decoded_by_others(self, load, name):
        with pytest.raises(ValueError, match=r"looks at whole answers, and .* checkpoint is block-causal"):
            codd.generate(load(name), [[1, 2]], codd.DecodingConfig(gen_length=8, block_length=8, num_steps=8))

    def test_blocks_of_a_family_that_is_decoded_with_full_attention_are_said_to_be_the_reason(self, load):
        with pytest.raises(ValueError, match="looks at whole answers, and this a2d checkpoint is block-causal"):
            codd.generate(load("a2d_qwen3", attention="block"), [[1, 2]], codd.DecodingConfig(gen_length=32))

    def test_model_llada_takes_a_checkpoint_that_is_decoded_by_its_rules(self, families):
        facts = json.loads((families / "lladamoe" / "facts.json").read_text())
        backbone = load_backbone(
            families / "lladamoe", "llada", mask_id=facts["mask_id"], eos_id=facts["eos_id"], device="cpu"
        )
        assert (backbone.family, backbone.layout, backbone.decodes) == ("llada", "lladamoe", True)


def config_of(case: dict) -> codd.DecodingConfig:
    """The settings of an official decode, whose arguments have the names of LLaDA's or of dLLM's sampler."""
    names = {"max_new_tokens": "gen_length", "block_size": "block_length", "steps": "num_steps"}
    given = {names.get(name, name): value for name, value in case["args"].items()}
    return codd.DecodingConfig(stop_at_eos=False, **given)


def golden(official, name, case):
    get = {key.rpartition(".")[2]: value for key, value in official.items() if key.startswith(f"{name}.{case}.")}
    mask = get.get("attention_mask")
    return get["input_ids"], None if mask is None else mask.bool(), get["logits"]


def shifted(backbone: Backbone, logits: torch.Tensor) -> torch.Tensor:
    """Official rows score the next token in families that shift; here row p scores the token at p."""
    return torch.cat([logits[:, :1], logits[:, :-1]], dim=1) if backbone.layout == "fast_dllm_v2" else logits
