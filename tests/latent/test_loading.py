"""`load_coupling`: which layout a file has, that nothing of it is run, and what each wrong thing says in one line."""

import os

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.__main__ import main


class TestWhatItIs:
    @pytest.mark.parametrize(
        ("kind", "mask_id", "averaged"),
        [("v3", None, True), ("latent_mdm", 210, True), ("lm1b", None, False), ("stage_a", None, False)],
    )
    def test_keys_say_the_layout(self, load, kind, mask_id, averaged):
        model = load(kind)
        assert (model.kind, model.mask_id, model.is_averaged) == (kind, mask_id, averaged)
        assert (model.length, model.latent_dim, model.vocab_size) == (16, 12, 211)

    def test_averaged_weights_are_taken_or_the_last_ones(self, edited, load):
        def halve(content):
            for weight in content["generator_state_dict"].values():
                weight *= 0.5

        path, averages = edited("v3", halve), load("v3").network.out_proj.weight
        averaged, last = (codd.load_coupling(path, device="cpu", ema=ema) for ema in (True, False))
        assert torch.equal(averaged.network.out_proj.weight, averages)
        assert torch.equal(last.network.out_proj.weight, averages * 0.5)
        assert (averaged.is_averaged, last.is_averaged) == (True, False)
        assert averaged.identity != last.identity

    def test_a_mask_may_be_given(self, path):
        assert codd.load_coupling(path("latent_mdm"), device="cpu", mask_id=7).mask_id == 7

    def test_dtype(self, path, golden):
        model = codd.load_coupling(path("v3"), "float64", "cpu")
        assert torch.allclose(
            model.logits(golden["v3.transformer.z"]).float(), golden["v3.transformer.logits"], atol=1e-5
        )
        assert (
            codd.load_coupling(path("v3"), "bfloat16", "cpu").logits(golden["v3.transformer.z"]).dtype == torch.float32
        )


class Runs:
    """Unpickled by Python, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def wrong(path, **options) -> str:
    with pytest.raises(ValueError) as caught:
        codd.load_coupling(path, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestMistakes:
    def test_nothing_of_a_file_is_run(self, edited, tmp_path):
        message = wrong(edited("v3", lambda content: content.update(extra=Runs(tmp_path / "ran"))))
        assert "more than weights" in message and "weights_only" not in message
        assert not (tmp_path / "ran").exists()

    def test_a_papers_file_is_not_taken_for_the_current_codes(self, edited):
        def rename(content):
            weights = content["generator_state_dict"]
            for name in [name for name in weights if "cross_attn" in name]:
                del weights[name]

        assert "blocks.0.ffn.gate_proj.weight is missing" in wrong(edited("lm1b", rename))

    @pytest.mark.parametrize(
        ("kind", "key", "name", "value", "said"),
        [
            ("v3", "ema_state_dict", "blocks.1.attn_norm.weight", None, "1 missing (blocks.1.attn_norm.weight)"),
            ("v3", "ema_state_dict", "extra", torch.ones(2), "1 unknown (extra)"),
            (
                "v3",
                "ema_state_dict",
                "norm.weight",
                torch.ones(23),
                "misshapen (norm.weight is [23]",
            ),
            ("v3", "ema_state_dict", "norm.weight", torch.ones(24).int(), "of another kind of number (norm.weight)"),
            ("v3", "ema_state_dict", "position_bias", torch.ones(24), "position_bias has shape [24]"),
            ("v3", "ema_state_dict", "norm.weight", 1.0, "no dict of tensors"),
            ("lm1b", "generator_state_dict", "z_recon.weight", None, "1 missing (z_recon.weight)"),
            ("stage_a", "model_state_dict", "flow.blocks.1.proj_in.bias", None, "those of a stage_a: 1 missing"),
        ],
    )
    def test_weights(self, edited, kind, key, name, value, said):
        def change(content):
            if value is None:
                del content[key][name]
            else:
                content[key][name] = value

        assert said in wrong(edited(kind, change))

    @pytest.mark.parametrize(
        ("kind", "section", "change", "said"),
        [
            ("v3", "generator", {"num_heads": 5}, "num_heads 5 does not divide its width 24"),
            ("v3", "generator", {"num_heads": None}, "has None for generator.num_heads"),
            ("v3", "generator", {"depth": 3}, "generator.depth 3, and its weights 2"),
            ("lm1b", "generator", {"ffn_dim": 31}, "generator.ffn_dim 31, and its weights 32"),
            ("stage_a", "flow", {"head_dim": 5}, "head_dim 5 does not divide its 16 channels"),
            ("stage_a", "flow", {"num_blocks": 4}, "flow.num_blocks 4, and its weights 3"),
            ("stage_a", "model", {"seq_len": 15}, "model.seq_len 15, and its weights 16"),
            ("latent_mdm", "training", {"mask_token_id": 211}, "give mask_id= below 211"),
            ("latent_mdm", "training", {"mask_token_id": None}, "mask_token_id None"),
        ],
    )
    def test_the_configuration(self, edited, kind, section, change, said):
        assert said in wrong(edited(kind, lambda content: content["config"][section].update(change)))

    def test_no_configuration(self, edited):
        assert "no config.generator" in wrong(edited("v3", lambda content: content.pop("config")))

    def test_files_of_another_kind(self, tmp_path, path):
        torch.save([1], tmp_path / "list.pt")
        assert "holds no dict" in wrong(tmp_path / "list.pt")
        torch.save({"model": 1}, tmp_path / "other.pt")
        assert "no generator_state_dict and no model_state_dict" in wrong(tmp_path / "other.pt")
        (tmp_path / "text.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
        assert "cannot be read" in wrong(tmp_path / "text.pt")
        (tmp_path / "short.pt").write_bytes(path("v3").read_bytes()[:5000])
        assert "cannot be read" in wrong(tmp_path / "short.pt")
        assert "is no .pt file" in wrong(tmp_path)
        assert "none is published" in wrong("owner/name")

    def test_arguments_that_are_of_others(self, path):
        assert "`mask_id=3` is of latent_mdm" in wrong(path("v3"), mask_id=3)
        assert "`dtype=int3` is not known" in wrong(path("v3"), dtype="int3")


class TestInspect:
    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("v3", ["v3", "averaged (EMA)", "16 tokens", "temperature, top_p"]),
            ("latent_mdm", ["latent_mdm", "mask 210", "steps, tau, eta"]),
            ("lm1b", ["lm1b", "the last ones"]),
            ("stage_a", ["stage_a", "3 blocks"]),
        ],
    )
    def test_it_knows_the_files(self, path, capsys, kind, said):
        assert main(["inspect", str(path(kind)), "--device", "cpu"]) == 0
        out = capsys.readouterr().out
        assert all(each in out for each in said)

    def test_what_is_wrong_is_one_line(self, tmp_path, capsys):
        torch.save({"model": 1}, tmp_path / "other.pt")
        assert main(["inspect", str(tmp_path / "other.pt")]) == 2
        assert "no generator_state_dict" in capsys.readouterr().err
