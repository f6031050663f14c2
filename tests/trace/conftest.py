"""A model with tiny random weights, a random circuit, and a tokenizer that needs no files."""

from types import SimpleNamespace

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.trace.comparison import compare

SETTINGS = {"num_steps": 8, "gen_length": 32, "block_length": 16, "pc_frac": 0.9}


class Words:
    """One word a token; some are as awkward as tokens of a real vocabulary can be."""

    chat_template = None
    awkward = ("</script>", "\x1b[31m", "漢字", "\n\n", "{{data}}", "é", "<b>&amp;", "")

    def decode(self, ids, skip_special_tokens=False):
        return "".join(f" {i}" if i % 9 else self.awkward[i // 9 % len(self.awkward)] for i in ids)


@pytest.fixture(scope="session")
def backbones(golden_dir):
    models = golden_dir / "decoding" / "models"
    return {name: codd.load_backbone(models / f"{name}-tiny", device="cpu") for name in ("llada", "dream")}


@pytest.fixture(scope="session")
def circuit():
    """Over windows of 16 tokens, sharp enough to overrule either backbone, and large enough for both."""
    generator = torch.Generator().manual_seed(0)

    def table(*shape):
        return (4 * torch.rand(shape, generator=generator)).softmax(-1)

    return HMM(table(8), table(8, 8), (20 * torch.rand(8, 512, generator=generator)).softmax(-1), num_positions=16)


@pytest.fixture
def make_lm(backbones, circuit):
    """`make_lm(family, with_circuit=True, **settings)`: as much of a `DiffusionLM` as a trace reads."""

    def make(family="llada", with_circuit=True, **settings):
        return SimpleNamespace(
            backbone=backbones[family],
            circuit=circuit if with_circuit else None,
            config=codd.DecodingConfig.for_family(family, **{**SETTINGS, **settings}),
            tokenizer=Words(),
            tok_encode=lambda text: [ord(character) % 400 for character in text],
            max_length=256,
        )

    return make


@pytest.fixture
def comparison(make_lm):
    return compare(make_lm(), "two and two")
