"""ModernBERT: its class's own logits at any padding, dLLM's decodes, and what is refused."""

import json
import shutil

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.backbones import CheckpointError, backbone, load_backbone
from lm_eval_codd.backbones.encoder_pass import EncoderPass
from lm_eval_codd.backbones.inspect import main


@pytest.fixture(scope="module")
def folder(golden_dir):
    return golden_dir / "families" / "modernbert"


@pytest.fixture(scope="module")
def bert(folder):
    return load_backbone(folder, mask_id=111, eos_id=5, device="cpu")


@pytest.fixture(scope="module")
def precise(folder):
    return load_backbone(folder, mask_id=111, eos_id=5, dtype="float64", device="cpu")


def tokens_of(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(6, 111, (length,), generator=generator) for length in lengths]


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_are_the_classs_own_at_any_padding(precise, side):
    rows = tokens_of(5, 24, 13)  # beyond its local layers' window of 4 on either side, and within
    tokens, mask = torch.full((3, 24), 5), torch.zeros(3, 24, dtype=torch.bool)
    for row, ids in enumerate(rows):
        own = slice(24 - len(ids), None) if side == "left" else slice(0, len(ids))
        tokens[row, own], mask[row, own] = ids, True
    together = precise.logits(tokens, mask)
    assert torch.isfinite(together).all()
    for row, ids in enumerate(rows):
        alone = precise.model(ids[None]).logits[0]
        torch.testing.assert_close(precise.logits(ids[None])[0], alone, atol=0, rtol=0)
        torch.testing.assert_close(together[row][mask[row]], alone, atol=1e-9, rtol=0)
    positions = torch.tensor([[23, 1]]).expand(3, -1)
    torch.testing.assert_close(precise.logits(tokens, mask, positions), together[:, [23, 1]], atol=1e-9, rtol=0)


def test_a_mask_of_columns_is_seen_by_layers_of_both_kinds(precise):
    (ids,) = tokens_of(12)
    seen = torch.ones(1, 1, 12, 12, dtype=torch.bool)
    torch.testing.assert_close(precise.logits(ids[None], seen.clone()), precise.logits(ids[None]), atol=1e-9, rtol=0)
    seen[..., :6, 6:] = False
    torch.testing.assert_close(precise.logits(ids[None], seen)[:, :6], precise.logits(ids[None, :6]), atol=1e-9, rtol=0)


def test_columns_that_stand_at_one_place_are_as_far_from_the_others(precise):
    (ids,) = tokens_of(12)
    places = torch.arange(12)[None]
    torch.testing.assert_close(
        precise.head(precise.hidden_at(ids[None], places=places)), precise.logits(ids[None]), atol=1e-9, rtol=0
    )
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    moved = precise.head(precise.hidden_at(ids[None, shuffled], places=places[:, shuffled]))
    torch.testing.assert_close(moved, precise.logits(ids[None])[:, shuffled], atol=1e-9, rtol=0)


def test_decodes_are_dllms(bert, folder):
    cases = json.loads((folder / "decoded.json").read_text())
    names = {"max_new_tokens": "gen_length", "block_size": "block_length", "steps": "num_steps"}
    for case in cases:
        config = codd.DecodingConfig(stop_at_eos=False, **{names.get(n, n): value for n, value in case["args"].items()})
        outputs = codd.generate(bert, case["prompt"], config)
        for prompt, output, official in zip(case["prompt"], outputs, case["output"], strict=True):
            assert prompt + output.tokens == official[: len(prompt) + config.gen_length], case["name"]
        assert {output.num_forward for output in outputs} == {case["num_forward"]}
    assert len(cases) == 6


def test_attention_that_sees_nothing_later_is_found_out(folder, monkeypatch):
    class Causal(EncoderPass):
        def __call__(self, tokens, attention_mask, *rest):
            length = tokens.shape[1]
            return super().__call__(tokens, torch.ones(1, 1, length, length, dtype=torch.bool).tril(), *rest)

    monkeypatch.setattr(backbone, "EncoderPass", Causal)
    with pytest.raises(CheckpointError, match="no position sees a later one"):
        load_backbone(folder, mask_id=111, eos_id=5, device="cpu")


def test_inspect_says_that_it_is_not_told_from_an_ordinary_one(folder, capsys):
    assert main([str(folder), "--device", "cpu", "--mask_id", "111", "--eos_id", "5"]) == 0
    text = capsys.readouterr().out
    assert "modernbert, decoded by a2d's rules (model_type modernbert, computed by ModernBertForMaskedLM)" in text
    assert "attention      full; in its local layers 4 positions on either side" in text
    assert "passed: attention sees both ways, and its class computes it" in text
    assert "an ordinary ModernBERT looks the same" in text and "(4 for keys and values)" in text


@pytest.mark.parametrize(
    ("field", "value"),
    [("hidden_activation", "relu"), ("classifier_activation", "relu"), ("architectures", ["ModernBertModel"])],
)
def test_what_is_not_computed_so_is_refused_by_its_field(folder, tmp_path, field, value):
    copied = shutil.copytree(folder, tmp_path / "bert")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(CheckpointError, match=f"config.json says `{field}="):
        load_backbone(copied, mask_id=111, eos_id=5, device="cpu")


def test_it_has_no_blocks(folder):
    with pytest.raises(CheckpointError, match="`attention=block`: modernbert checkpoints have no blocks"):
        load_backbone(folder, mask_id=111, eos_id=5, attention="block", device="cpu")


def test_nothing_of_it_can_be_kept(bert):
    with pytest.raises(ValueError, match="`cache` is not for ModernBert"):
        bert.new_cache(1, 8)
