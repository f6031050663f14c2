"""What the build scripts make is what is shipped, and what the package loads."""

import dataclasses

import build_demo
import pytest
import tiny_llada
import torch

from lm_eval_codd.demo import CHECKPOINT, HERE


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The script, writing into a temporary folder."""
    monkeypatch.setattr(build_demo, "HERE", tmp_path)
    monkeypatch.setattr(build_demo, "CHECKPOINT", tmp_path / "checkpoint")
    return build_demo


class TestBuild:
    def test_it_makes_the_shipped_problems_again(self, build, tmp_path):
        build.build_data()
        for name in ("tune.jsonl", "test.jsonl"):
            assert (tmp_path / name).read_text() == (HERE / name).read_text()

    def test_it_makes_the_shipped_tokenizer_again(self, build):
        build.build_tokenizer()
        for name in ("tokenizer.json", "chat_template.jinja"):
            assert (build.CHECKPOINT / name).read_text() == (CHECKPOINT / name).read_text()

    def test_what_it_trains_is_what_the_package_loads(self, build, monkeypatch):
        import lm_eval_codd as codd

        trained = []
        monkeypatch.setattr(build, "SCHEDULE", dataclasses.replace(build.SCHEDULE, steps=2))
        monkeypatch.setattr(
            build, "train", lambda model, *rest: (tiny_llada.train(model, *rest), trained.append(model))
        )
        build.build_tokenizer()
        build.build_backbone()
        backbone = codd.load_backbone(build.CHECKPOINT)
        tokens = torch.arange(20)[None]
        with torch.inference_mode():
            expected = trained[0].eval()(tokens).logits
        # Stored in half precision.
        assert (backbone.logits(tokens) - expected).abs().max() < 0.02
