"""CD4LM's own lm-eval adapter (golden/decoders/cd4lm_generate_until.json): decoded texts, cut at their stop strings."""

import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.models.texts import Texts
from tests.decoding.stub_lm import StubLM

CASES = json.loads(
    (Path(__file__).parent.parent / "golden" / "decoders" / "cd4lm_generate_until.json").read_text(encoding="utf-8")
)["cases"]
# Its defaults, which are neither `generate`'s nor those of its scripts; a block is the whole answer.
CAD = {"decoder": "cad", "compat": True, "threshold": 0.8, "min_per_step": 2, "max_per_step": 16, "eos_ratio": 0.5}
HERE = {
    "confidence_threshold": "threshold",
    "min_tokens_per_step": "min_per_step",
    "max_tokens_per_step": "max_per_step",
    "eos_threshold_ratio": "eos_ratio",
    "steps": "num_steps",
}


class Stub:
    """The goldens' formula as a backbone, and their tokenizer."""

    family, eos_id, eot_id, bos_token_id = "llada", 0, None, None

    def __init__(self, case):
        self.model = StubLM(**case["stub"])
        self.vocab_size = self.model.vocab
        self.mask_id = self.vocab_size - 1

    def logits(self, tokens, attention_mask=None, positions=None):
        return self.model.logits_for(tokens)[torch.arange(len(tokens))[:, None], positions]

    def encode(self, text, add_special_tokens=True):
        return [ord(letter) - 96 for letter in text]

    def decode(self, tokens, skip_special_tokens):
        return "".join(chr(96 + token) if 1 <= token <= 26 else f"<{token}>" for token in tokens)


def config_of(kwargs):
    is_dynamic = kwargs.get("use_dynamic") or kwargs.get("use_dynamic_block")
    given = {HERE.get(name, name): value for name, value in kwargs.items() if not name.startswith(("use_", "until"))}
    usual = {**CAD, "block_length": kwargs["gen_length"]} if is_dynamic else {}
    return codd.DecodingConfig(**{**usual, "stop_at_eos": False, **given})


@pytest.mark.parametrize("case", [case for case in CASES if "error" not in case], ids=lambda case: case["output"][0])
def test_an_answer_is_the_official_one(case):
    stub = Stub(case)
    prompt = [ord(letter) - 96 for letter in case["context"]]
    (answer,) = codd.generate(stub, [prompt], config_of(case["gen_kwargs"]))
    text = Texts(stub, "stub", None, {}).answer(answer.tokens, case["gen_kwargs"]["until"])
    assert [text] == case["output"]
    assert answer.num_forward <= case["nfe"]


def test_what_fails_there_by_an_assertion_is_one_line_here():
    (case,) = (case for case in CASES if "error" in case)
    with pytest.raises(ValueError, match=r"`gen_length=16` cannot be cut into blocks of `block_length=32`"):
        config_of(case["gen_kwargs"]).check_blocks("llada")
