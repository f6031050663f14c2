"""LoRA adapters under the original module names, against the same update merged into the checkpoint's weights."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_codd.backbones import CheckpointError, load_backbone

pytest.importorskip("peft")

LLADA = [
    "model.transformer.blocks.0.q_proj",
    "model.transformer.blocks.0.attn_out",
    "model.transformer.blocks.1.ff_proj",
    "model.transformer.blocks.2.ff_out",
    "model.transformer.ff_out",
]
DREAM = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "lm_head"]
SETTINGS = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "task_type": "CAUSAL_LM"}


def save_adapter(folder, weights, modules, ranks=None, **settings):
    """A random adapter as peft saves it; returns its low-rank pairs by module."""
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    for module in modules:
        rows, columns = weights[f"{module}.weight"].shape
        rank = (ranks or {}).get(module, SETTINGS["r"])
        pairs[module] = (
            torch.randn(rank, columns, generator=generator) * 0.2,
            torch.randn(rows, rank, generator=generator) * 0.2,
        )
    folder.mkdir()
    targets = sorted({module.rsplit(".", 1)[-1] for module in modules})
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS | {"target_modules": targets} | settings))
    tensors = {}
    for module, (a, b) in pairs.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    return pairs


@pytest.fixture
def compare(models, edited, tmp_path, load):
    """Asserts that checkpoint + adapter equals the checkpoint whose weights hold the update."""

    def _compare(name, modules, scale, **settings):
        weights = load_file(models / name / "model.safetensors")
        pairs = save_adapter(tmp_path / "adapter", weights, modules, **settings)

        def merge(tensors):
            update = {f"{module}.weight": scale(module) * b @ a for module, (a, b) in pairs.items()}
            return tensors | {key: tensors[key] + change for key, change in update.items()}

        merged = load_backbone(edited(name, tensors=merge), device="cpu")
        adapted = load_backbone(models / name, device="cpu", peft=tmp_path / "adapter")
        tokens = torch.arange(24).reshape(2, 12)
        torch.testing.assert_close(adapted.logits(tokens), merged.logits(tokens), atol=1e-4, rtol=0)
        assert (adapted.logits(tokens) - load(name).logits(tokens)).abs().max() > 0.1
        return adapted

    return _compare


class TestAgainstMergedWeights:
    def test_llada_names(self, compare):
        compare("llada-tiny-gqa", LLADA, lambda _: 8 / 4)

    def test_dream_names(self, compare):
        compare("dream-tiny", DREAM, lambda _: 8 / 4)

    def test_patterns_of_rank_and_alpha_match_the_original_names(self, compare):
        compare(
            "llada-tiny",
            LLADA,
            lambda module: {"attn_out": 32 / 4, "ff_proj": 8 / 2}.get(module.rsplit(".", 1)[-1], 8 / 4),
            alpha_pattern={"attn_out": 32},
            rank_pattern={"ff_proj": 2},
            ranks={"model.transformer.blocks.1.ff_proj": 2},
        )

    def test_rank_stabilised_scaling(self, compare):
        compare("llada-tiny", LLADA, lambda _: 8 / 4**0.5, use_rslora=True)


class TestFacts:
    def test_the_adapter_is_part_of_the_identity_and_not_of_the_parameters(self, compare, load):
        adapted, plain = compare("llada-tiny", LLADA, lambda _: 2), load("llada-tiny")
        assert re.fullmatch(re.escape(plain.identity) + r"\+sha256:\w+", adapted.identity)
        assert adapted.num_parameters == plain.num_parameters


class TestWhatIsRefused:
    @pytest.fixture
    def weights(self, models):
        return load_file(models / "llada-tiny" / "model.safetensors")

    def test_an_adapter_of_another_model(self, models, tmp_path):
        save_adapter(tmp_path / "a", {"model.other.weight": torch.zeros(8, 8)}, ["model.other"])
        with pytest.raises(CheckpointError, match=r"trained on another model.*1 of its names do not fit"):
            load_backbone(models / "llada-tiny", peft=tmp_path / "a")

    def test_matrices_of_another_size(self, models, weights, tmp_path):
        wide = {key: torch.zeros(2 * tensor.shape[0], tensor.shape[-1]) for key, tensor in weights.items()}
        save_adapter(tmp_path / "a", wide, LLADA[:1])
        with pytest.raises(CheckpointError, match=r"does not fit .*size mismatch"):
            load_backbone(models / "llada-tiny", peft=tmp_path / "a")

    def test_half_an_adapter(self, models, weights, tmp_path):
        save_adapter(tmp_path / "a", weights, LLADA[:1])
        path = tmp_path / "a" / "adapter_model.safetensors"
        save_file({k: v for k, v in load_file(path).items() if "lora_A" in k}, path)
        with pytest.raises(CheckpointError, match=r"1 of its names do not fit .*lora_B"):
            load_backbone(models / "llada-tiny", peft=tmp_path / "a")

    @pytest.mark.parametrize(
        "settings",
        [{"peft_type": "IA3"}, {"modules_to_save": ["wte"]}, {"bias": "all"}, {"init_lora_weights": "pissa"}],
    )
    def test_what_is_not_plain_lora(self, models, weights, tmp_path, settings):
        save_adapter(tmp_path / "a", weights, LLADA, **settings)
        with pytest.raises(CheckpointError, match=f"`{next(iter(settings))}=.*only plain LoRA"):
            load_backbone(models / "llada-tiny", peft=tmp_path / "a")

    def test_a_pickled_adapter(self, models, weights, tmp_path):
        save_adapter(tmp_path / "a", weights, LLADA)
        (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
        with pytest.raises(CheckpointError, match=r"no adapter_model.safetensors, and pickle files are not read; save"):
            load_backbone(models / "llada-tiny", peft=tmp_path / "a")

    def test_a_folder_that_is_no_adapter(self, models):
        with pytest.raises(CheckpointError, match=r"adapter_config.json has no `r`"):
            load_backbone(models / "llada-tiny", peft=models / "dream-tiny")
