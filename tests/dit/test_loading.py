"""`load_dit`: what a checkpoint is taken for, and what each wrong thing says in one line."""

import pytest
import torch

import lm_eval_codd as codd


class TestWhatItIs:
    @pytest.mark.parametrize(
        ("name", "algo", "mask_id"),
        [("hf-duo-tiny", "duo", None), ("hf-mdlm-tiny", "mdlm", 30), ("hf-ar-tiny", "ar", 30)],
    )
    def test_config_json_says_the_algorithm(self, load, name, algo, mask_id):
        model = load(name)
        assert (model.algo, model.mask_id, model.vocab_size, model.max_length) == (algo, mask_id, 31, 12)
        assert (model.bos_id, model.eos_id) == (None, None)

    def test_its_own_field_goes_before_the_model_type_and_the_argument_before_both(self, edited):
        path = edited(algo="sedd")
        assert codd.load_dit(path, device="cpu").algo == "sedd"
        assert codd.load_dit(path, algo="d3pm", device="cpu").algo == "d3pm"

    @pytest.mark.parametrize(("algo", "told"), [("mdlm", False), ("sedd", True), ("d3pm", True), ("duo", True)])
    def test_time_conditioning_is_of_the_algorithm_that_the_folder_names(self, load, algo, told):
        assert load("hf-mdlm-tiny", algo).config.time_conditioning is told
        assert load("hf-duo-tiny", algo).config.time_conditioning is told

    def test_time_conditioning_of_its_own_algorithm_is_read(self, edited):
        assert codd.load_dit(edited("hf-mdlm-tiny", time_conditioning=True), device="cpu").config.time_conditioning

    def test_ids_of_config_json_and_of_the_argument(self, edited):
        path = edited("hf-mdlm-tiny", bos_token_id=4, eos_token_id=5, mask_token_id=3)
        model = codd.load_dit(path, device="cpu")
        assert (model.bos_id, model.eos_id, model.mask_id) == (4, 5, 3)
        assert codd.load_dit(path, device="cpu", mask_id=7).mask_id == 7

    def test_no_formula_wants_the_mask_to_be_last(self, edited, load, golden):
        """With ids 3 and 30 exchanged throughout, everything is the same up to that exchange."""

        def exchange(weights):
            order = torch.arange(31)
            order[[3, 30]] = order[[30, 3]]
            for name in ("vocab_embed.embedding", "output_layer.linear.weight", "output_layer.linear.bias"):
                weights[f"backbone.{name}"] = weights[f"backbone.{name}"][order].contiguous()

        path, data = edited(tensors=exchange), golden("nelbo_mdlm_ch-1")
        order = torch.arange(31)
        order[[3, 30]] = order[[30, 3]]
        for algo in ("mdlm", "sedd", "d3pm"):
            theirs = load("hf-duo-tiny", algo).nelbo(data["x0"], data["xt"], data["t"])
            model = codd.load_dit(path, algo, device="cpu", mask_id=3)
            assert torch.allclose(model.nelbo(order[data["x0"]], order[data["xt"]], data["t"]), theirs, atol=1e-5)

    @pytest.mark.parametrize(("vocab_size", "ids"), [(50258, (50257, 50256, 50256)), (30522, (103, 101, 102))])
    def test_ids_of_the_published_vocabularies(self, vocab_size, ids):
        from lm_eval_codd.dit.config import read_config

        sizes = {"hidden_dim": 8, "cond_dim": 4, "n_blocks": 1, "n_heads": 2, "model_length": 8}
        config = read_config("x", {"model_type": "mdlm", "vocab_size": vocab_size, **sizes})
        assert (config.ids.mask, config.ids.bos, config.ids.eos) == ids

    def test_equal_files_have_one_identity(self, folder, load, edited):
        assert load("hf-duo-tiny").identity == codd.load_dit(folder("hf-duo-tiny"), device="cpu").identity
        assert load("hf-duo-tiny").identity != codd.load_dit(edited(model_length=11), device="cpu").identity


def wrong(path, **options) -> str:
    with pytest.raises(ValueError) as caught:
        codd.load_dit(path, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestMistakes:
    @pytest.mark.parametrize("field", ["vocab_size", "hidden_dim", "cond_dim", "n_blocks", "n_heads", "model_length"])
    def test_a_missing_size(self, edited, field):
        assert f"config.json has no {field}" in wrong(edited(**{field: None}))

    def test_a_missing_key(self, edited):
        message = wrong(edited(tensors=lambda weights: weights.pop("backbone.blocks.1.norm2.weight")))
        assert "1 missing (blocks.1.norm2.weight)" in message

    def test_an_unknown_key(self, edited):
        message = wrong(edited(tensors=lambda weights: weights.update(extra=torch.ones(2))))
        assert "1 unknown (extra)" in message

    @pytest.mark.parametrize("change", [{"cond_dim": 129}, {"vocab_size": 30}, {"n_heads": 2}])
    def test_a_shape_that_is_not_the_configs(self, edited, change):
        assert "misshapen" in wrong(edited(**change))

    def test_fewer_blocks_in_config_json(self, edited):
        assert "10 unknown (blocks.1.adaLN_modulation.bias)" in wrong(edited(n_blocks=1))

    def test_causal_weights_under_a_config_that_does_not_say_so(self, edited):
        assert "causal weights" in wrong(edited("hf-ar-tiny", causal=None))

    def test_a_causal_config_over_weights_that_are_told_a_noise_level(self, edited):
        assert "causal by its config.json" in wrong(edited(causal=True))

    def test_an_algorithm_that_sees_the_other_way(self, folder):
        assert "use algo=ar" in wrong(folder("hf-ar-tiny"), algo="mdlm")
        assert "use algo=duo" in wrong(folder("hf-duo-tiny"), algo="ar")

    def test_an_unknown_algorithm(self, folder):
        assert "`algo=mdml` is not known" in wrong(folder("hf-duo-tiny"), algo="mdml")

    def test_another_model_type(self, edited):
        assert "`model_type: llada`" in wrong(edited(model_type="llada"))

    def test_heads_that_do_not_cut_the_width(self, edited):
        assert "n_heads 5" in wrong(edited(n_heads=5))

    def test_a_mask_outside_of_the_vocabulary(self, folder):
        assert "`mask_id=31` is outside" in wrong(folder("hf-mdlm-tiny"), mask_id=31)

    def test_an_unknown_schedule(self, edited):
        assert "noise.type=square" in wrong(edited(noise={"type": "square"}))

    def test_nothing_there(self, tmp_path):
        assert "no config.json" in wrong(tmp_path)
        assert "does not exist" in wrong(tmp_path / "nowhere" / "at" / "all")

    def test_ids_that_it_does_not_have(self, load):
        with pytest.raises(ValueError, match="ids from 31 to 31"):
            load("hf-duo-tiny").logits(torch.tensor([[31]]), torch.ones(1))

    def test_no_noise_level_where_the_network_is_told_it(self, load):
        with pytest.raises(ValueError, match="`sigma` is needed"):
            load("hf-duo-tiny").logits(torch.tensor([[1]]))
