"""The block decoder's settings: what is refused, and what a family has by default."""

import pytest

import lm_eval_codd as codd
from tests.decoding.blocks import MASK, QUICK, config_of


class TestRefusals:
    @pytest.mark.parametrize(
        ("rule", "given", "message"),
        [
            ("sdar", {"editing_threshold": 0.9}, "`editing_threshold=0.9` is read by rule=llada21, not by `rule=sdar`"),
            (
                "llada21",
                {"num_steps": 8},
                "`num_steps=8` is read by rule=sdar or rule=sdar_greedy or rule=llada2 or rule=bd3lm, not by",
            ),
            ("sdar_greedy", {"temperature": 1.0}, "`temperature=1` is read by rule=sdar or rule=llada2 or"),
            ("sdar_greedy", {"top_k": 1}, "`top_k=1` is read by rule=sdar or rule=llada2 or rule=llada21, not by"),
            ("sdar_greedy", {"top_p": 0.9}, "`top_p=0.9` is read by rule=sdar or rule=llada2 or rule=llada21 or"),
            ("sdar", {"remask": "static", "threshold": 0.5}, "`threshold=0.5` is read by remask=dynamic"),
            ("sdar", {"cfg_scale": 1.0}, "`cfg_scale=1` goes with `rule=bd3lm`, whose authors have guidance, not with"),
            ("sdar", {"pc_sampling": "any_order"}, "`pc_sampling=any_order` commits"),
            ("sdar", {"cache": "dual"}, "`cache=dual` is read by rule=fast_dllm_v2, not by `rule=sdar`"),
            ("fast_dllm_v2", {"cache": "prefix"}, "`cache=prefix` does nothing with `decoder=block_diffusion`"),
            ("fast_dllm_v2", {"small_block_length": 3}, "`small_block_length=3` does not divide `block_length=8`; use"),
            ("fast_dllm_v2", {"gen_length": 7}, "`gen_length=7` is less than a block of `block_length=8`"),
            ("llada3", {}, "`rule=llada3` is not known; use one of sdar, sdar_greedy"),
        ],
    )
    def test_a_setting_that_the_rule_does_not_read(self, rule, given, message):
        with pytest.raises(ValueError) as error:
            codd.DecodingConfig(
                **{"decoder": "block_diffusion", "rule": rule, "gen_length": 24, **QUICK.get(rule, {}), **given}
            )
        assert str(error.value).startswith(message)

    def test_another_decoder_on_a_block_causal_checkpoint(self, load_blocks):
        with pytest.raises(ValueError, match="`decoder=unmasking` looks at whole answers, and this sdar check"):
            codd.generate(load_blocks("sdar"), [[7]], codd.DecodingConfig(gen_length=32))

    def test_a_checkpoint_that_sees_both_ways(self, golden_dir):
        folder = golden_dir / "families" / "a2d_qwen3"
        backbone = codd.load_backbone(folder, mask_id=MASK, eos_id=5, device="cpu")
        with pytest.raises(ValueError, match="`decoder=block_diffusion` has no rule for llada checkpoints; give rule="):
            codd.DecodingConfig(decoder="block_diffusion").with_rule("llada")
        with pytest.raises(ValueError, match="this a2d one's attention is full; use decoder=unmasking"):
            codd.generate(backbone, [[7]], config_of("sdar"))

    def test_blocks_of_another_length_than_the_checkpoints_are_said(self, load_blocks, caplog):
        codd.generate(load_blocks("sdar"), [[7]], config_of("sdar", block_length=8))
        assert "`block_length=8` is decoded with, and the checkpoint's own blocks are of 4" in caplog.text


class TestDefaults:
    def test_a_familys_own_decoder_rule_and_thresholds(self):
        sdar = codd.DecodingConfig.for_family("sdar")
        assert (sdar.decoder, sdar.rule, sdar.block_length, sdar.num_steps) == ("block_diffusion", "sdar", 4, 4)
        assert (sdar.remask, sdar.threshold, sdar.editing_threshold) == ("dynamic", 0.85, None)
        assert codd.DecodingConfig.for_family("sdar", remask="static").threshold is None
        edits = codd.DecodingConfig.for_family("llada2", rule="llada21")
        assert (edits.threshold, edits.editing_threshold, edits.max_post_steps) == (0.95, 0.9, 16)

    def test_the_rule_of_the_backbones_family_where_none_is_given(self, load_blocks):
        given = codd.DecodingConfig(decoder="block_diffusion", block_length=8, gen_length=16)
        named = codd.DecodingConfig(decoder="block_diffusion", block_length=8, gen_length=16, rule="llada2")
        assert codd.generate(load_blocks("llada2"), [[7]], given) == codd.generate(load_blocks("llada2"), [[7]], named)
