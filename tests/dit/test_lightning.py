"""Lightning checkpoints: nothing of them is run, averages go by order, and every wrong thing is one line."""

import collections
import json
import os
import typing

import pytest
import torch
from safetensors.torch import load_file

import lm_eval_codd as codd
from lm_eval_codd.__main__ import main
from lm_eval_codd.dit.config import read_config
from lm_eval_codd.dit.network import Network


class Node:
    """Pickled as OmegaConf's nodes are: its state holds `_val`, or `_content`."""

    def __init__(self, **state):
        self.__dict__.update(state)


def tree(value):
    if isinstance(value, dict):
        return Node(_metadata=Node(ref_type=typing.Any), _content={key: tree(each) for key, each in value.items()})
    return Node(_metadata=Node(object_type=collections.defaultdict), _val=value)


SAID = {
    "algo": {"name": "duo_base", "time_conditioning": True},
    "model": {"hidden_size": 32, "cond_dim": 16, "n_blocks": 2, "n_heads": 4, "length": 12},
    "noise": {"type": "log-linear", "eps": 1e-3},
}


@pytest.fixture
def write(folder, tmp_path):
    """A function that writes a checkpoint whose last weights are half of the averaged ones."""
    weights = load_file(folder("hf-duo-tiny") / "model.safetensors")
    config = read_config("x", json.loads((folder("hf-duo-tiny") / "config.json").read_text()))
    names = [f"backbone.{name}" for name, _ in Network(config).named_parameters()]

    def make(name="last.ckpt", said=SAID, change=lambda content: None):
        content = {
            "state_dict": {key: weight * (0.5 if key in names else 1) for key, weight in weights.items()},
            "ema": {"decay": 0.9999, "shadow_params": [weights[key] for key in names]},
            "hyper_parameters": {"config": tree(said)},
        }
        change(content)
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return make


def equal(one, other, factor=1.0):
    return all(
        torch.equal(a * factor, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True)
    )


class TestWeights:
    def test_the_averages_are_taken_or_the_last_ones(self, write, load):
        path = write()
        model, folder = codd.load_dit(path, device="cpu"), load("hf-duo-tiny")
        assert model.algo == "duo" and equal(folder, model)
        last = codd.load_dit(path, device="cpu", ema=False)
        assert equal(folder, last, 0.5)
        assert last.identity != model.identity
        assert torch.equal(model.network.rotary_emb.inv_freq, folder.network.rotary_emb.inv_freq)

    def test_the_one_that_official_code_wrote(self, shared_dir, load):
        path = shared_dir / "golden" / "dit" / "lightning_like.ckpt"
        assert equal(load("hf-duo-tiny"), codd.load_dit(path, device="cpu"))
        assert equal(load("hf-duo-tiny"), codd.load_dit(path, device="cpu", ema=False), 0.5)

    def test_an_old_file_says_less_and_shapes_say_the_rest(self, write, load):
        path = write(said={"parameterization": "subs", "time_conditioning": False, "model": {"length": 12}})
        model = codd.load_dit(path, device="cpu")
        assert (model.algo, model.config.n_heads, model.config.cond_dim) == ("mdlm", 4, 16)
        assert not model.config.time_conditioning and equal(load("hf-duo-tiny"), model)

    def test_a_teacher_is_left_out_and_said(self, write, load, caplog):
        def add(content):
            content["state_dict"]["teacher.vocab_embed.embedding"] = torch.ones(2)

        with caplog.at_level("INFO", logger="lm_eval.codd"):
            assert equal(load("hf-duo-tiny"), codd.load_dit(write(change=add), device="cpu"))
        assert "1 weights of its teacher are left out" in caplog.text


def make_folder(path: str) -> str:
    os.mkdir(path)
    return path


class Runs:
    """Unpickled by Python, it makes a folder."""

    def __init__(self, function, path):
        self.function, self.path = function, path

    def __reduce__(self):
        return self.function, (str(self.path),)


class TestNothingIsRun:
    def test_of_what_the_file_names(self, write, tmp_path):
        path = write(change=lambda content: content.update(callbacks=Runs(make_folder, tmp_path / "ran")))
        assert codd.load_dit(path, device="cpu").algo == "duo"
        assert not (tmp_path / "ran").exists()
        torch.load(path, weights_only=False)  # as a reader that trusts it
        assert (tmp_path / "ran").exists()

    def test_what_reaches_for_the_system_is_refused_as_a_whole(self, write, tmp_path):
        path = write(change=lambda content: content.update(callbacks=Runs(os.mkdir, tmp_path / "ran")))
        message = wrong(path)
        assert "mkdir" in message and "weights_only" not in message
        assert not (tmp_path / "ran").exists()

    def test_the_names_are_allowed_nowhere_else_afterwards(self, write):
        codd.load_dit(write(), device="cpu")
        assert not [each for each in torch.serialization.get_safe_globals() if "StandIn" in str(each)]


def wrong(path, **options) -> str:
    with pytest.raises(ValueError) as caught:
        codd.load_dit(path, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestMistakes:
    def test_one_average_too_few(self, write):
        message = wrong(write(change=lambda content: content["ema"]["shadow_params"].pop()))
        assert "averages 29 weights, and its network has 30" in message

    def test_averages_in_another_order(self, write):
        def swap(content):
            shadows = content["ema"]["shadow_params"]
            shadows[5], shadows[6] = shadows[6], shadows[5]

        assert "in the place of blocks.0.norm1.weight is [96, 32]" in wrong(write(change=swap))

    def test_no_averages(self, write):
        path = write(change=lambda content: content.pop("ema"))
        assert "ema=False takes the last ones" in wrong(path)
        assert codd.load_dit(path, device="cpu", ema=False).algo == "duo"

    def test_weights_that_are_no_part_of_the_network(self, write):
        def add(content):
            content["state_dict"]["head.weight"] = torch.ones(2)

        assert "no part of the network (head.weight)" in wrong(write(change=add))

    def test_a_weight_that_is_averaged_and_not_there(self, write):
        path = write(change=lambda content: content["state_dict"].pop("backbone.blocks.1.norm2.weight"))
        assert "averages blocks.1.norm2.weight, which its state_dict does not hold" in wrong(path)
        assert "1 missing (blocks.1.norm2.weight)" in wrong(path, ema=False)

    def test_a_vocabulary_of_another_size(self, write):
        def shorten(content):
            content["ema"]["shadow_params"][0] = torch.ones(30, 32)
            content["state_dict"]["backbone.output_layer.linear.weight"] = torch.ones(30, 32)

        path = write(change=shorten)
        assert "in the place of vocab_embed.embedding is [30, 32], and that is [31, 32]" in wrong(path)
        assert "output_layer.linear.weight is [30, 32]" in wrong(path, ema=False)

    def test_weights_of_a_diffusion_that_say_they_are_causal(self, write):
        path = write(said=SAID | {"algo": {"name": "ar"}})
        assert "sees both ways; use algo=that of its training: duo, mdlm, sedd or d3pm" in wrong(path)

    def test_causal_weights_that_say_they_are_of_a_diffusion(self, write, folder):
        causal = load_file(folder("hf-ar-tiny") / "model.safetensors")

        def replace(content):
            content["state_dict"] = causal

        assert "(causal: true); use algo=ar" in wrong(write(change=replace))

    def test_weights_that_are_of_no_dit(self, write):
        def flat(content):
            content["state_dict"]["backbone.vocab_embed.embedding"] = torch.ones(31)

        def numbered(content):
            content["state_dict"] = {1: torch.ones(2)}

        assert "no weights of a DiT" in wrong(write(change=flat))
        assert "no weights of a DiT" in wrong(write(change=lambda content: content.update(state_dict={})))
        assert "no state_dict of tensors" in wrong(write(change=numbered))

    def test_no_configuration(self, write):
        path = write(change=lambda content: content.pop("hyper_parameters"))
        assert "does not say its algorithm; give algo=" in wrong(path)
        assert "no model_length" in wrong(path, algo="duo")

    def test_an_algorithm_that_is_not_known_here(self, write):
        path = write(said=SAID | {"algo": {"name": "udlm"}})
        assert "algo.name udlm" in wrong(path)
        assert codd.load_dit(path, algo="mdlm", device="cpu").algo == "mdlm"

    def test_sizes_that_are_not_the_weights(self, write):
        assert "in the place of" in wrong(write(said=SAID | {"model": SAID["model"] | {"cond_dim": 8}}))

    def test_no_length(self, write):
        model = {name: value for name, value in SAID["model"].items() if name != "length"}
        assert "no model_length" in wrong(write(said=SAID | {"model": model}))

    def test_a_damaged_file(self, write, tmp_path):
        path = write()
        path.write_bytes(path.read_bytes()[:1000])
        assert "cannot be read" in wrong(path)
        path.write_bytes(b"")
        assert "cannot be read" in wrong(path)

    def test_a_file_of_another_kind(self, tmp_path):
        torch.save([1, 2], tmp_path / "list.ckpt")
        assert "holds no dict" in wrong(tmp_path / "list.ckpt")
        torch.save({"model": 1}, tmp_path / "other.ckpt")
        assert "no state_dict" in wrong(tmp_path / "other.ckpt")

    def test_arguments_that_are_of_others(self, write, folder):
        assert "`ema=False` is for .ckpt files" in wrong(folder("hf-duo-tiny"), ema=False)
        assert "`revision=main` is for hub ids" in wrong(write(), revision="main")


class TestConvert:
    def test_the_folder_is_the_same_model(self, write, tmp_path, capsys, golden):
        path = write(said=SAID | {"algo": {"name": "sedd", "time_conditioning": True}})
        assert main(["dit", "convert", str(path), str(tmp_path / "folder")]) == 0
        assert "sedd, 31 tensors, the averaged weights" in capsys.readouterr().out
        model, converted = (codd.load_dit(each, device="cpu") for each in (path, tmp_path / "folder"))
        assert converted.algo == "sedd" and converted.config == model.config and equal(model, converted)
        said = json.loads((tmp_path / "folder" / "config.json").read_text())
        assert said["converted_from"] == model.identity

    def test_the_last_weights_and_a_mask(self, write, tmp_path):
        arguments = [str(write()), str(tmp_path / "folder"), "--last", "--algo", "mdlm", "--mask_id", "3"]
        assert main(["dit", "convert", *arguments]) == 0
        converted = codd.load_dit(tmp_path / "folder", device="cpu")
        assert (converted.algo, converted.mask_id) == ("mdlm", 3)
        assert equal(codd.load_dit(write(), device="cpu", ema=False), converted)

    def test_a_folder_that_holds_one_is_left_alone(self, write, tmp_path, capsys):
        path = write()
        assert main(["dit", "convert", str(path), str(tmp_path / "folder")]) == 0
        assert main(["dit", "convert", str(path), str(tmp_path / "folder")]) == 2
        assert "already holds a checkpoint" in capsys.readouterr().err


class TestInspect:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("hf-duo-tiny", "none: every token may be noise"),
            ("hf-mdlm-tiny", "is not told the noise level"),
            ("hf-ar-tiny", "left to right"),
        ],
    )
    def test_it_knows_the_folders(self, folder, capsys, name, said):
        assert main(["inspect", str(folder(name)), "--device", "cpu"]) == 0
        out = capsys.readouterr().out
        assert said in out and ("39,071" in out) == (name != "hf-ar-tiny")

    def test_it_knows_the_files(self, write, capsys):
        assert main(["inspect", str(write()), "--device", "cpu"]) == 0
        assert "averaged ones (EMA)" in capsys.readouterr().out

    def test_the_rest_goes_where_it_went(self, capsys):
        assert main(["inspect", "nowhere"]) == 2
        assert "`nowhere` does not exist" in capsys.readouterr().err
