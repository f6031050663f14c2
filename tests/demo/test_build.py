import importlib.util
from pathlib import Path

import pytest
import torch

from lm_eval_codd.demo import CHECKPOINT, HERE

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_demo.py"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The script as a module, writing into a temporary folder."""
    spec = importlib.util.spec_from_file_location("build_demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "CHECKPOINT", tmp_path / "checkpoint")
    return module


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
        train = build.train
        monkeypatch.setattr(build, "STEPS", 2)
        monkeypatch.setattr(build, "train", lambda model, tokenizer: (train(model, tokenizer), trained.append(model)))
        build.build_tokenizer()
        build.build_backbone()
        backbone = codd.load_backbone(build.CHECKPOINT)
        tokens = torch.arange(20)[None]
        with torch.inference_mode():
            expected = trained[0].eval()(tokens).logits
        # Stored in half precision.
        assert (backbone.logits(tokens) - expected).abs().max() < 0.02
