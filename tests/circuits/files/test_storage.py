import json

import pytest
import torch

from lm_eval_codd.__main__ import main
from lm_eval_codd.circuits import load_circuit, load_unified_config, save_circuit, save_unified
from lm_eval_codd.circuits.files.convert import main as convert


@pytest.fixture
def circuit(make_circuit):
    return make_circuit(num_positions=5, num_latents=6, vocab_size=9, dtype=torch.float32)


def assert_same(found, wanted):
    assert found.num_positions == wanted.num_positions
    assert found.identity == wanted.identity
    for name in ("initial", "transition", "emission"):
        assert getattr(found, name).equal(getattr(wanted, name))


class TestSaveAndLoad:
    @pytest.mark.parametrize("name", ["c.safetensors", "c.jpc", "folder", "new/deep/c.jpc"])
    def test_what_was_saved_is_loaded(self, circuit, tmp_path, name):
        written = save_circuit(circuit, tmp_path / name)
        loaded = load_circuit(tmp_path / name)
        assert_same(loaded, circuit)
        assert loaded.source == str(tmp_path / name)
        assert [path.name for path in written.parent.iterdir()] == [written.name]
        (tmp_path / "other").touch()
        assert written.stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_untied_tables_and_doubles_survive_safetensors(self, make_circuit, tmp_path):
        circuit = make_circuit(tied=False)
        save_circuit(circuit, tmp_path)
        loaded = load_circuit(tmp_path)
        assert loaded.dtype == torch.float64
        assert_same(loaded, circuit)

    def test_dtype_and_its_spellings(self, circuit, tmp_path):
        save_circuit(circuit, tmp_path)
        assert load_circuit(tmp_path, dtype="float64").emission.dtype == torch.float64
        assert load_circuit(tmp_path, dtype="auto").emission.dtype == torch.float32
        narrow = load_circuit(tmp_path, dtype=torch.bfloat16, device="cpu")
        assert (narrow.emission.dtype, narrow.transition.dtype) == (torch.bfloat16, torch.float32)
        assert narrow.identity == circuit.identity
        with pytest.raises(ValueError, match="`dtype=float16`"):
            load_circuit(tmp_path, dtype="float16")

    def test_a_bfloat16_circuit_can_be_saved(self, circuit, tmp_path):
        save_circuit(circuit.to(torch.bfloat16), tmp_path)
        assert load_circuit(tmp_path).emission.dtype == torch.bfloat16

    @pytest.mark.parametrize("name", ["circuit.safetensors", "pc_model.jpc", "model.jpc"])
    def test_a_folder_is_searched_for_the_known_names(self, circuit, tmp_path, name):
        save_circuit(circuit, tmp_path / name)
        assert_same(load_circuit(tmp_path), circuit)

    def test_a_failed_save_leaves_the_old_file(self, circuit, tmp_path, monkeypatch):
        path = save_circuit(circuit, tmp_path / "c.jpc")
        before = path.read_bytes()

        def write_half(circuit, path):
            path.write_bytes(before[:100])
            raise OSError("disk full")

        monkeypatch.setattr("lm_eval_codd.circuits.files.storage.write_jpc", write_half)
        with pytest.raises(OSError, match="disk full"):
            save_circuit(circuit, path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


class TestErrors:
    @pytest.mark.parametrize("name", ["./none", "/none.jpc", "none.safetensors", "a/b/c", "none"])
    def test_a_missing_path_is_one_line(self, name):
        with pytest.raises(ValueError, match=f"no circuit at `{name}`"):
            load_circuit(name)

    def test_a_folder_without_a_circuit(self, tmp_path):
        with pytest.raises(ValueError, match="no circuit in the folder"):
            load_circuit(tmp_path)

    def test_a_hub_id_without_network(self, monkeypatch, tmp_path):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ValueError, match=r"`il18/llada-math-pc` at revision v1.*cannot be reached"):
            load_circuit("il18/llada-math-pc", revision="v1")

    def test_files_that_are_no_circuit(self, circuit, tmp_path):
        from safetensors.torch import save_file

        path = tmp_path / "x.safetensors"
        save_file({"weight": torch.ones(2)}, path)
        with pytest.raises(ValueError, match="not a circuit"):
            load_circuit(path)
        content = save_circuit(circuit, path).read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match="not a circuit"):
            load_circuit(path)
        (tmp_path / "x.txt").write_text("hello")
        with pytest.raises(ValueError, match="must end in"):
            load_circuit(tmp_path / "x.txt")

    def test_rows_that_are_no_probabilities(self, circuit, tmp_path):
        circuit.emission[2] *= 2
        save_circuit(circuit, tmp_path)
        with pytest.raises(ValueError, match="emission"):
            load_circuit(tmp_path)


class TestHub:
    """Against a cache laid out as huggingface_hub does; nothing is downloaded."""

    @pytest.mark.parametrize("name", ["model.jpc", "pc_model.jpc", "circuit.safetensors"])
    def test_a_cached_repository_is_found_with_its_commit(self, circuit, tmp_path, monkeypatch, name):
        from huggingface_hub import constants

        commit = "0123456789abcdef0123456789abcdef01234567"
        repo = tmp_path / "models--il18--llada-math-pc"
        save_circuit(circuit, repo / "snapshots" / commit / name)
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text(commit)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        loaded = load_circuit("il18/llada-math-pc")
        assert_same(loaded, circuit)
        assert loaded.source == f"il18/llada-math-pc@{commit}"


class TestUnifiedFolder:
    @pytest.fixture
    def config(self):
        return {"base_model_type": "dream", "mask_id": 151666, "vocab_size": 152064, "pc_frac": 0.7}

    @pytest.fixture
    def checkpoint(self, tmp_path):
        folder = tmp_path / "checkpoint"
        (folder / ".cache").mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json", "modeling_dream.py"):
            (folder / name).write_text(name)
        (folder / "pc_model.jpc").write_text("of another circuit")
        return folder

    def test_it_holds_checkpoint_circuit_and_settings(self, circuit, checkpoint, config, tmp_path):
        folder = save_unified(tmp_path / "unified", checkpoint, circuit, config)
        assert sorted(path.name for path in folder.iterdir()) == [
            "codd_config.json",
            "config.json",
            "model.safetensors",
            "modeling_dream.py",
            "pc_model.jpc",
            "tokenizer.json",
        ]
        assert_same(load_circuit(folder), circuit)
        assert load_unified_config(folder) == config

    def test_it_can_be_made_in_place(self, circuit, checkpoint, config):
        save_unified(checkpoint, checkpoint, circuit, config)
        assert (checkpoint / "tokenizer.json").read_text() == "tokenizer.json"
        assert_same(load_circuit(checkpoint), circuit)

    def test_every_field_of_the_official_code_is_read(self, tmp_path):
        official = {
            "base_model_id": "GSAI-ML/LLaDA-8B-Instruct",
            "pc_model_id": "il18/llada-math-pc",
            "base_model_type": "llada",
            "mask_id": 126336,
            "vocab_size": 126464,
            "num_steps": 64,
            "gen_length": 256,
            "block_length": 32,
            "temperature": 0.0,
            "cfg_scale": 0.0,
            "remasking": "low_confidence",
            "pc_temperature": 0.1,
            "pc_frac": 0.7,
            "reverse_frac": False,
        }
        (tmp_path / "codd_config.json").write_text(json.dumps(official))
        assert load_unified_config(tmp_path) == official

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"pc_fraction": 1}, "did you mean `pc_frac`"),
            ({"mask_id": True}, "`mask_id=True`"),
            ({"base_model_type": "llama"}, "llada"),
        ],
    )
    def test_settings_the_official_code_has_not_are_refused(
        self, circuit, checkpoint, config, tmp_path, change, message
    ):
        with pytest.raises(ValueError, match=message):
            save_unified(tmp_path / "unified", checkpoint, circuit, config | change)
        assert not (tmp_path / "unified").exists()

    def test_settings_that_would_fall_back_to_lladas_are_asked_for(self, circuit, checkpoint, tmp_path):
        with pytest.raises(ValueError, match="`mask_id` is missing"):
            save_unified(tmp_path / "unified", checkpoint, circuit, {"base_model_type": "dream"})

    def test_no_checkpoint(self, circuit, config, tmp_path):
        with pytest.raises(ValueError, match="`checkpoint_dir="):
            save_unified(tmp_path / "unified", tmp_path, circuit, config)


class TestConvert:
    def test_both_ways(self, golden_dir, tmp_path, capsys):
        original = golden_dir / "circuits/mid/model.jpc"
        assert convert([str(original), str(tmp_path / "c.safetensors")]) == 0
        assert convert([str(tmp_path / "c.safetensors"), str(tmp_path / "c.jpc")]) == 0
        assert (tmp_path / "c.jpc").read_bytes() == original.read_bytes()
        assert "8 positions, 16 latents, 50 tokens" in capsys.readouterr().out

    @pytest.mark.parametrize(("source", "target"), [("none.jpc", "c.safetensors"), ("none.jpc", "c.pt")])
    def test_failures_are_one_line(self, tmp_path, capsys, source, target):
        assert main(["convert-circuit", str(tmp_path / source), str(tmp_path / target)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("lm-eval-codd convert-circuit: ")
        assert error.count("\n") == 1
