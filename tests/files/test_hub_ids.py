import pytest

from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.circuits import load_circuit
from lm_eval_codd.files.hub_ids import is_hub_id, is_pinned_hub_id
from lm_eval_codd.runs.checkpoints import resolve

NOT_HUB_IDS = ["", "name", "/owner/name", "./name", "../name", ".owner/name", "~/name", "owner/", "a/b/c", "a b/c"]


class TestHubIds:
    @pytest.mark.parametrize("text", ["owner/name", "GSAI-ML/LLaDA-8B-Instruct", "o.w_n-er/na.me", "0/.x"])
    def test_are_owner_and_name(self, text):
        assert is_hub_id(text)
        assert is_pinned_hub_id(f"{text}@refs/pr/1")
        assert not is_pinned_hub_id(text)

    @pytest.mark.parametrize("text", NOT_HUB_IDS)
    def test_others_are_none_for_the_launcher_the_backbones_and_the_circuits(self, text, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert not is_hub_id(text)
        assert not is_pinned_hub_id(f"{text}@main")
        for read in (lambda name: resolve("llada_ckpt", name), load_backbone, load_circuit):
            with pytest.raises(ValueError, match="hub id"):
                read(text)

    @pytest.mark.parametrize("text", ["owner/name@", "owner/name@a b", "@main"])
    def test_a_revision_is_one_word(self, text):
        assert not is_pinned_hub_id(text)
