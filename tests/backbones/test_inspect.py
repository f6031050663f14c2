"""What `inspect` prints, and how it fails."""

import json

import huggingface_hub
import pytest
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models

from lm_eval_codd.__main__ import main as command
from lm_eval_codd.backbones.inspect import describe_checkpoint, main


@pytest.fixture
def instruct(edited):
    """A golden checkpoint with a word-level tokenizer and a chat template."""
    folder = edited("llada-tiny")
    words = {f"w{index}": index for index in range(500)} | {"<mask>": 490, "<end>": 470, "<|eot_id|>": 480}
    words = {word: index for word, index in words.items() if word not in ("w490", "w470", "w480")}
    Tokenizer(tokenizer_models.WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<end>", "mask_token": "<mask>", "chat_template": "{% for m in messages %}\n{% endfor %}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


class TestOutput:
    def test_it_says_what_a_checkpoint_is(self, instruct, capsys):
        assert main([str(instruct), "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        lines = dict(line.split(maxsplit=1) for line in printed.out.splitlines())
        text = printed.out
        assert lines["family"] == "llada (model_type llada, computed by LlamaForCausalLM)"
        assert lines["parameters"] == "207,296 in 1 file(s)"
        assert lines["dtype"] == "float32 on cpu (stored as float32)"
        assert (lines["mask"], lines["eos"], lines["eot"]) == ("490 <mask>", "470 <end>", "480 <|eot_id|>")
        assert "1024 tokens" in text and "500 tokens" in text and "512 logit columns (12 spare)" in text
        assert "an instruct checkpoint" in text and "[{% for m in messages %}]" in text
        assert "passed: attention sees both ways, and hidden states equal" in text
        assert printed.err == ""

    def test_a_checkpoint_without_tokenizer_is_described_too(self, models, capsys):
        assert main([str(models / "dream-tiny"), "--dtype", "bfloat16", "--eot_id", "7", "--device", "cpu"]) == 0
        text = capsys.readouterr().out
        assert "no tokenizer in this checkpoint" in text and "bfloat16 on cpu" in text
        assert "7 (not in the tokenizer)" in text and "no: a base checkpoint" in text

    def test_a_description_is_json(self, instruct):
        about = describe_checkpoint(instruct, device="cpu")
        assert json.loads(json.dumps(about)) == about
        assert about["mask"] == {"id": 490, "token": "<mask>"}


class TestFailures:
    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["missing"], "does not exist"),
            (["no-such-owner/no-such-name"], "hub cannot be reached"),
            (["{models}/llada-tiny", "--family", "dream"], "use family=llada"),
            (["{models}/llada-tiny", "--mask_id", "9999"], "`mask_id=9999` is outside"),
        ],
    )
    def test_one_line_and_status_2(self, models, capsys, monkeypatch, arguments, message):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert command(["inspect", *(argument.format(models=models) for argument in arguments)]) == 2
        printed = capsys.readouterr()
        assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""

    @pytest.mark.parametrize(
        "content", ['{"n_heads": 0}', '{"vocab_size": "many"}', '{"n_layers": 1000000}', "[" * 100_000]
    )
    def test_a_malformed_config_json_too(self, edited, capsys, content):
        folder = edited("llada-tiny")
        config = json.loads((folder / "config.json").read_text())
        del config["embedding_size"]
        whole = {**config, **json.loads(content)} if content.startswith("{") else None
        (folder / "config.json").write_text(content if whole is None else json.dumps(whole))
        assert command(["inspect", str(folder)]) == 2
        printed = capsys.readouterr()
        assert "config.json" in printed.err and printed.err.count("\n") == 1 and printed.out == ""
