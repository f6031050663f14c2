"""Where a checkpoint's files come from, and what names them in a result."""

import re

import huggingface_hub
import pytest
from huggingface_hub import errors

from lm_eval_codd.backbones import CheckpointError, load_backbone
from lm_eval_codd.backbones import checkpoint as checkpoints
from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.demo.packaged import CHECKPOINTS


class TestFolders:
    @pytest.mark.parametrize("name", ["missing", "./missing", "/no/such/folder", "a/b/c"])
    def test_a_missing_one_is_one_line_without_asking_the_hub(self, name, monkeypatch):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", pytest.fail)
        with pytest.raises(CheckpointError, match=re.escape(f"`{name}` does not exist")):
            load_backbone(name)

    def test_one_without_config_json(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"no config.json"):
            load_backbone(tmp_path)

    def test_a_file_is_not_a_checkpoint(self, models):
        with pytest.raises(CheckpointError, match="is a file"):
            load_backbone(models / "llada-tiny" / "model.safetensors")

    def test_a_config_that_is_not_json(self, tmp_path):
        (tmp_path / "config.json").write_text("{'model_type': ")
        with pytest.raises(CheckpointError, match="not valid JSON"):
            load_backbone(tmp_path)

    def test_a_revision_belongs_to_the_hub(self, models):
        with pytest.raises(CheckpointError, match="`revision=main` is for hub ids"):
            load_backbone(models / "llada-tiny", revision="main")

    def test_demo_is_the_packaged_one_unless_a_folder_has_the_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(CHECKPOINTS, "demo", tmp_path / "packaged")
        with pytest.raises(CheckpointError, match="not in this installation"):
            find_checkpoint("demo")
        (tmp_path / "packaged").mkdir()
        assert find_checkpoint("demo").folder == tmp_path / "packaged"
        (tmp_path / "demo").mkdir()
        assert find_checkpoint("demo").folder.resolve() == tmp_path / "demo"


class TestHub:
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def test_a_snapshot_is_known_by_its_commit_and_brings_no_code(self, models, tmp_path, monkeypatch):
        snapshot = tmp_path / "snapshots" / self.COMMIT
        snapshot.parent.mkdir()
        snapshot.symlink_to(models / "llada-tiny")
        asked = {}

        def download(hub_id, **options):
            asked.update(options, hub_id=hub_id)
            return str(snapshot)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        backbone = load_backbone("owner/name", revision="v1", device="cpu")
        assert (backbone.source, backbone.identity) == ("owner/name", self.COMMIT)
        assert (asked["hub_id"], asked["revision"]) == ("owner/name", "v1")
        assert not {"*.py", "*.bin", "*.pt", "*"} & set(asked["allow_patterns"])

    def test_offline_is_one_line(self, monkeypatch):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointError, match="hub cannot be reached") as caught:
            load_backbone("no-such-owner/no-such-name")
        assert "\n" not in str(caught.value)

    def test_any_other_failure_is_one_line_too(self, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("proxy said no\nand more")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(CheckpointError, match=r"RuntimeError: proxy said no$"):
            load_backbone("owner/name")

    def test_a_cache_without_the_files_is_said_so(self, monkeypatch):
        def fail(*_, **__):
            raise errors.LocalEntryNotFoundError("not cached")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(CheckpointError, match="not in the hub's cache"):
            load_backbone("owner/name")


class TestIdentity:
    def test_equal_files_are_equal_wherever_they_lie(self, models, edited):
        assert find_checkpoint(edited("llada-tiny")).identity != find_checkpoint(models / "dream-tiny").identity
        copy = find_checkpoint(edited("dream-tiny"))
        (copy.folder / "config.json").write_bytes((models / "dream-tiny" / "config.json").read_bytes())
        assert copy.identity == find_checkpoint(models / "dream-tiny").identity

    def test_other_weights_and_another_tokenizer_show(self, models, edited):
        original = find_checkpoint(models / "llada-tiny").identity
        scaled = find_checkpoint(edited("llada-tiny", tensors=lambda t: {k: v * 1.001 for k, v in t.items()}))
        assert scaled.identity != original
        folder = edited("llada-tiny-gqa")
        before = find_checkpoint(folder).identity
        (folder / "tokenizer_config.json").write_text("{}")
        assert find_checkpoint(folder).identity != before

    @pytest.mark.parametrize(
        "name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt"]
    )
    def test_every_file_that_decides_a_prompts_tokens_shows(self, tmp_path, name):
        seen = {find_checkpoint(tmp_path).identity}
        for content in ("1", "2"):
            (tmp_path / name).write_text(content)
            seen.add(find_checkpoint(tmp_path).identity)
        assert len(seen) == 3

    def test_a_circuit_in_the_same_folder_is_not_the_backbones(self, edited):
        checkpoint = find_checkpoint(edited("llada-tiny"))
        before = checkpoint.identity
        (checkpoint.folder / "circuit.safetensors").write_bytes(b"more than this model")
        again = find_checkpoint(checkpoint.folder)
        assert (again.identity, again.stored_dtype) == (before, "float32")

    def test_a_large_file_is_sampled_and_a_small_change_of_all_of_it_shows(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoints, "_SAMPLE_BYTES", 16)
        monkeypatch.setattr(checkpoints, "_NUM_SAMPLES", 4)
        path = tmp_path / "model.safetensors"
        seen = set()
        for content in (b"\0" * 1000, b"\1" * 1000, b"\0" * 1001, b"\0" * 999 + b"\1", b"\1" + b"\0" * 999):
            path.write_bytes(content)
            seen.add(find_checkpoint(tmp_path).identity)
        assert len(seen) == 5
