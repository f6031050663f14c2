import os
import stat

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from lm_eval_codd.tensors.saving import save_tensors


class TestSaveTensors:
    def test_others_may_read_the_file_as_they_may_any_other(self, tmp_path):
        (tmp_path / "any").touch()
        save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(3)}, {"format": "pt"})
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("any", "x.safetensors")]
        assert modes[0] == modes[1]
        assert load_file(tmp_path / "x.safetensors")["a"].tolist() == [0, 1, 2]

    def test_a_view_is_written_as_it_is_read(self, tmp_path):
        save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(6).view(2, 3).T})
        assert load_file(tmp_path / "x.safetensors")["a"].tolist() == [[0, 3], [1, 4], [2, 5]]

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)})

        def full(tensors, path, metadata):
            path.write_text("half")
            raise OSError("no room")

        monkeypatch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(OSError, match="no room"):
            save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(1)})
        assert os.listdir(tmp_path) == ["x.safetensors"]
        assert load_file(tmp_path / "x.safetensors")["a"].item() == 0
