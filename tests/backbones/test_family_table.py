"""docs/models.md's table of families is the registry's, and no family is called supported without a golden."""

from pathlib import Path

import pytest

from lm_eval_codd.backbones.family_table import checked_of, family_table
from lm_eval_codd.backbones.inspect import describe_checkpoint, main
from lm_eval_codd.backbones.registry import LAYOUTS

MODELS = Path(__file__).parents[2] / "docs" / "models.md"

# By model_type, under tests/golden: what the authors' code gave.
FAMILIES = "families/{}/decoded.json"
LOGITS = "families/logits.safetensors"
EVIDENCE = {
    "llada": {"logits": "decoding/forward", "decodes": "decoding/decode/llada.json"},
    "Dream": {"logits": "decoding/forward", "decodes": "decoding/decode/dream.json"},
    "lladamoe": {"logits": LOGITS, "decodes": FAMILIES.format("lladamoe")},
    "a2d-qwen3": {"logits": LOGITS, "decodes": FAMILIES.format("a2d_qwen3")},
    "a2d-qwen2": {"logits": LOGITS, "decodes": FAMILIES.format("a2d_qwen2")},
    "a2d-llama": {"logits": "families/a2d_llama/logits.safetensors", "decodes": FAMILIES.format("a2d_llama")},
    "illada": {},
    "modernbert": {"decodes": FAMILIES.format("modernbert")},
    "qwen2": {"decodes": "decoders/open_dllm.json"},
    "qwen3": {},
    "qwen3_moe": {},
    "sdar_moe": {},
    "llada2_moe_veomni": {},
    "sdar": {"logits": LOGITS, "decodes": FAMILIES.format("sdar")},
    "llada2_moe": {"logits": LOGITS, "decodes": FAMILIES.format("llada2")},
    "Fast_dLLM_Qwen": {"logits": LOGITS, "decodes": FAMILIES.format("fast_dllm_v2")},
    "ecdlm": {"logits": "experts/ec_model.safetensors"},
}


def test_the_readmes_table_is_the_one_of_the_registry():
    text = MODELS.read_text(encoding="utf-8")
    _, _, after = text.partition("<!-- families: python -m lm_eval_codd.backbones.family_table -->\n")
    table, end, _ = after.partition("\n<!-- end of families -->")
    assert end and table == family_table(), "run the command that docs/models.md names, and put its output there"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.family}-{layout.model_type}")
def test_what_a_family_is_said_to_equal_is_a_golden_of_the_tests(layout, golden_dir):
    assert set(layout.goldens) == EVIDENCE[layout.model_type].keys()
    assert all((golden_dir / path).exists() for path in EVIDENCE[layout.model_type].values())
    assert ("no golden (unsupported)" in checked_of(layout)) == (not layout.goldens)


def test_inspect_says_what_decodes_a_checkpoint_and_what_is_not_verified(golden_dir, capsys):
    folder, ids = golden_dir / "families" / "sdar", {"mask_id": 111, "eos_id": 5}
    main([str(folder), "--device", "cpu", "--mask_id", "111", "--eos_id", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert "decoded by     decoder=block_diffusion, rule=sdar" in lines
    assert "equal to       the authors' code on tiny random weights: logits and decodes" in lines
    assert any(line.startswith("unverified     published accuracies") for line in lines)
    assert any(line.startswith("attention      block: a position sees its own block of 4") for line in lines)
    assert describe_checkpoint(folder, device="cpu", **ids)["decodes"]
