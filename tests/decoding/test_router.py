"""Experts that choose tokens, under every decoder: a row is alone, and what cannot be is refused."""

import logging

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.decoding.decoders.block_diffusion.sdar import Sdar
from tests.backbones.moe_folders import qwen3_moe_folder
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_coupling import random_circuit

SMALL = {"gen_length": 16, "router": "ec", "ec_gates": "post", "ec_schedule": "linear_reverse", "ec_k_min": 1}
DECODERS = [
    {"block_length": 8, "num_steps": 8},
    {"paradigm": "full", "num_steps": 8, "cfg_scale": 0.5},
    {"block_length": 8, "threshold": 0.3},
    {"decoder": "cad", "block_length": 8, "threshold": 0.3},
    {"decoder": "klass", "block_length": 8, "num_steps": 16, "threshold": 0.3, "kl_threshold": 0.1},
    {"decoder": "p2", "num_steps": 8},
    {"decoder": "open_dllm", "num_steps": 8},
    {"decoder": "corrective", "num_steps": 8},
]
PROMPTS = [[7, 9, 30], [*range(20, 40)], [8], [50, 51, 52, 53, 54, 55, 56]]


@pytest.fixture(scope="module")
def experts(golden_dir):
    return load_backbone(golden_dir / "families" / "lladamoe", mask_id=111, dtype="float64", device="cpu")


@pytest.fixture(scope="module")
def blocks(golden_dir):
    options = {"mask_id": 111, "eos_id": 5, "block_length": 8, "dtype": "float64", "device": "cpu"}
    return load_backbone(golden_dir / "families" / "llada2", **options)


@pytest.mark.parametrize("settings", DECODERS, ids=str)
def test_a_row_is_alone(experts, settings):
    config = codd.DecodingConfig(ec_k_max=6, **SMALL, **settings)
    together = codd.generate(experts, PROMPTS, config, batch_size=3)
    assert [codd.generate(experts, [prompt], config)[0] for prompt in PROMPTS] == together


def test_a_circuit_couples_what_they_say(experts):
    circuit = random_circuit(experts.vocab_size, 8, 4, sharpness=1.0)
    config = codd.DecodingConfig(ec_k_max=6, pc_frac=1.5, block_length=8, num_steps=8, **SMALL)
    together = codd.generate(experts, PROMPTS, config, circuit=circuit, batch_size=2)
    assert [codd.generate(experts, [prompt], config, circuit=circuit)[0] for prompt in PROMPTS] == together
    assert all(one.num_circuit for one in together)


@pytest.mark.parametrize(("prompt", "settings"), [([], {}), ([1], {"cfg_scale": 1.0})], ids=["no prompt", "guidance"])
def test_a_canvas_of_nothing_but_masks_is_warned_about(experts, caplog, monkeypatch, prompt, settings):
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    codd.generate(
        experts, [prompt], codd.DecodingConfig(gen_length=8, block_length=8, num_steps=2, router="ec", **settings)
    )
    assert "rows of nothing but masks" in caplog.text


@pytest.mark.parametrize("kind", ["dense", "somebody else's"])
def test_a_backbone_without_experts_is_refused(backbone, kind):
    without, message = {
        "dense": (backbone, "`router=ec` is for mixtures of experts, and `"),
        "somebody else's": (
            StubBackbone({"vocab": 32, "seed": 0}),
            "`router=ec` needs a backbone of load_backbone with",
        ),
    }[kind]
    with pytest.raises(ValueError) as error:
        codd.generate(without, [[1]], codd.DecodingConfig(router="ec"))
    assert str(error.value).startswith(message)


class TestBlocks:
    """LLaDA2 with `ec_scope=sequence`: nothing is kept of finished blocks, since later ones change them."""

    def test_a_row_is_what_a_plain_loop_makes_of_it_alone_or_not(self, blocks):
        config = codd.DecodingConfig(
            decoder="block_diffusion",
            rule="llada2",
            gen_length=16,
            block_length=8,
            threshold=0.3,
            router="ec",
            ec_scope="sequence",
            ec_k=3,
        )
        together = codd.generate(blocks, PROMPTS, config, batch_size=3)
        for prompt, one in zip(PROMPTS, together, strict=True):
            answer, num_forward = self.decoded(blocks.routed_by(config), prompt)
            assert (one.tokens, one.num_forward) == (answer, num_forward)
        plain = codd.DecodingConfig(
            decoder="block_diffusion", rule="llada2", gen_length=16, block_length=8, threshold=0.3
        )
        assert codd.generate(blocks, PROMPTS, plain) != together

    def decoded(self, backbone, prompt):
        """The rule of spec/families.md C3, one forward of all up to the block's end a step."""
        end, num_forward = -(-(len(prompt) + 16) // 8) * 8, 0
        x = torch.full((1, end), 111)
        x[0, : len(prompt)] = torch.tensor(prompt)
        for start in range(len(prompt) // 8 * 8, end, 8):
            block = slice(start, start + 8)
            for _ in range(8):
                if not (x[:, block] == 111).any():
                    break
                logits = backbone.logits(x[:, : start + 8])[0, block]
                num_forward += 1
                confidence, token = logits.softmax(dim=-1).max(dim=-1)
                confidence = confidence.masked_fill(x[0, block] != 111, -1)
                sure = confidence > 0.3
                if not sure.any():
                    sure[confidence.argmax()] = True
                x[0, block] = torch.where(sure, token, x[0, block])
            if (x[0, len(prompt) : start + 8] == 5).any():
                break
        answer = x[0, len(prompt) :][:16]
        ended = (answer == 5).long().cumsum(0) > 0
        return answer.masked_fill(ended, 5).tolist(), num_forward

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    def test_no_forward_is_made_to_store_what_cannot_be_kept(self, tmp_path, monkeypatch, temperature):
        backbone = load_backbone(qwen3_moe_folder(tmp_path / "moe", "sdar_moe", block_size=4), device="cpu")
        settings = {"decoder": "block_diffusion", "rule": "sdar", "gen_length": 8, "block_length": 4, "num_steps": 2}
        settings |= {"remask": "static", "temperature": temperature, "stop_at_eos": False}
        ec = codd.DecodingConfig(**settings, router="ec", ec_scope="sequence")
        routed = backbone.routed_by(ec)
        widths, hidden_at = [], routed.hidden_at

        def counted(tokens, *args, **kwargs):
            widths.append(tokens.shape[1])
            return hidden_at(tokens, *args, **kwargs)

        routed.hidden_at = counted
        backbone.routed_by = lambda *_: routed
        (prompt,) = prompts = [[*range(20, 28)]]
        (one,) = codd.generate(backbone, prompts, ec)
        # Two blocks of two steps each, and none for the prompt, a finished block or the answer's end.
        assert one.num_forward == len(widths) == 4 and widths == [12, 12, 16, 16]
        del backbone.routed_by
        rows = [prompt, [7], prompt[:5], [9, 9]]
        assert codd.generate(backbone, rows, ec, batch_size=3)[0] == one
        (tc,) = codd.generate(backbone, prompts, codd.DecodingConfig(**settings))
        assert tc.num_forward == 7  # and the prompt's and each block's own
        # They changed no answer, but for the numbers of the steps, by which tokens are drawn.
        monkeypatch.setattr(Sdar, "stores_predict", True)
        (before,) = codd.generate(backbone, prompts, ec)
        assert before.num_forward == 7 and (before.tokens == one.tokens) == (temperature == 0)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ec_scope": "batch"}, "`ec_scope=batch` lets the rows of a batch compete for experts"),
            (
                {"ec_scope": "sequence", "compat": True},
                "`compat=True` with `router=ec` takes the share of masks of the",
            ),
        ],
    )
    def test_what_would_make_an_answer_depend_on_its_batch_is_refused(self, experts, settings, message):
        config = codd.DecodingConfig(router="ec", gen_length=8, block_length=8, num_steps=2, **settings)
        with pytest.raises(ValueError) as error:
            codd.generate(experts, PROMPTS, config)
        assert str(error.value).startswith(message)

    def test_over_the_padded_width_rows_are_decoded_one_by_one(self, experts):
        config = codd.DecodingConfig(ec_k_max=6, num_steps=4, block_length=8, **SMALL)
        padded = codd.DecodingConfig(ec_k_max=6, num_steps=4, block_length=8, compat=True, **SMALL)
        assert codd.generate(experts, PROMPTS, padded, batch_size=1) == codd.generate(experts, PROMPTS, config)
        alike = [[7, 9, 30], [8, 20, 21]]
        assert codd.generate(experts, alike, padded) == codd.generate(experts, alike, config)
