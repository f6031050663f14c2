"""A tiny backbone with a tokenizer, rows with something to learn, and a run on them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lm_eval_codd.backbones import load_backbone, load_tokenizer
from lm_eval_codd.training.settings import TrainingConfig

WORDS = ("red", "green", "blue", "sea", "sky", "hill")
EOS, EOT, MASK = 470, 480, 490
CHAT_TEMPLATE = "{% for message in messages %}[{{ message['content'] }}]{% endfor %} :"


@pytest.fixture(scope="session")
def backbone_dir(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden LLaDA checkpoint with a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("backbone")
    for file in (golden_dir / "decoding" / "models" / "llada-tiny").iterdir():
        (folder / file.name).symlink_to(file)
    vocab = {word: index for index, word in enumerate(("?", "[", "]", ":", *WORDS))}
    vocab |= {"<|endoftext|>": EOS, "<|eot_id|>": EOT, "<|mdm_mask|>": MASK}
    vocab |= {f"w{index}": index for index in range(500) if index not in vocab.values()}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def backbone(backbone_dir: Path):
    return load_backbone(backbone_dir, device="cpu")


@pytest.fixture(scope="session")
def tokenizer(backbone_dir: Path):
    return load_tokenizer(backbone_dir)


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 rows: a colour and a place that belong together, three to nine tokens."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = []
    for i in range(24):
        answer = " ".join([WORDS[i % 3], WORDS[3 + i % 3]] * (1 + i % 4))
        rows.append({"question": f"w{30 + i}", "answer": answer, "source": "made up"})
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture
def settings(backbone_dir: Path, data_file: Path) -> Callable[..., TrainingConfig]:
    """Settings of a run of a second or two, changed by keywords."""

    def make(**changes: Any) -> TrainingConfig:
        small = {
            "backbone": str(backbone_dir),
            "data": str(data_file),
            "held_out": 6,
            "window": 4,
            "num_latents": 4,
            "ml_epochs": 2,
            "ml_batch_size": 8,
            "steps": 6,
            "batch_size": 5,
            "save_every": 4,
            "device": "cpu",
        }
        return TrainingConfig(**(small | changes))

    return make
