import json

import pytest

from lm_eval_codd.demo import CHECKPOINT, load_split

BLOCK = 32
END = "<|eot_id|>"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(CHECKPOINT)


def chat_ids(tokenizer, question):
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


class TestTokenizer:
    def test_no_shipped_word_is_unknown(self, tokenizer):
        for split in ("tune", "test"):
            for row in load_split(split):
                ids = tokenizer(row["question"] + row["answer"])["input_ids"]
                assert tokenizer.unk_token_id not in ids

    def test_questions_and_answers_survive_the_round_trip(self, tokenizer):
        for row in load_split("test"):
            for text in row.values():
                assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    def test_every_answer_fits_the_block_with_its_end_token(self, tokenizer):
        for split in ("tune", "test"):
            for row in load_split(split):
                ids = tokenizer(row["answer"] + END, add_special_tokens=False)["input_ids"]
                assert len(ids) <= BLOCK
                assert ids[-1] == tokenizer.convert_tokens_to_ids(END)

    def test_the_chat_template_has_the_headers_of_llada(self, tokenizer):
        messages = [{"role": role, "content": f" {role} "} for role in ("system", "user", "assistant")]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        turns = [f"<|start_header_id|>{m['role']}<|end_header_id|>\n\n{m['role']}{END}" for m in messages]
        assert text == "<|startoftext|>" + "".join(turns)
        prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
        assert prompt.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")

    def test_a_prompt_has_no_unknown_token(self, tokenizer):
        ids = chat_ids(tokenizer, load_split("test")[0]["question"])
        assert tokenizer.unk_token_id not in ids
        assert ids[0] == tokenizer.bos_token_id


class TestCheckpoint:
    def test_it_has_the_layout_of_llada(self, golden_dir):
        config = json.loads((CHECKPOINT / "config.json").read_text())
        official = json.loads((golden_dir / "decoding/models/llada-tiny/config.json").read_text())
        assert set(config) == set(official) - {"auto_map", "transformers_version"} | {"torch_dtype"}
        assert config["torch_dtype"] == "float32"

    def test_the_weights_are_float16_under_the_names_of_llada(self, golden_dir):
        from safetensors.torch import load_file

        weights = load_file(CHECKPOINT / "model.safetensors")
        official = load_file(golden_dir / "decoding/models/llada-tiny/model.safetensors")
        assert {name.replace("blocks.3.", "blocks.2.") for name in weights} == set(official)
        assert {str(weight.dtype) for weight in weights.values()} == {"torch.float16"}
        assert all(weight.isfinite().all() for weight in weights.values())
        assert 0.7e6 < sum(weight.numel() for weight in weights.values()) < 1.1e6

    def test_its_ids_are_the_tokenizers(self, tokenizer):
        config = json.loads((CHECKPOINT / "config.json").read_text())
        assert config["mask_token_id"] == tokenizer.mask_token_id
        assert config["eos_token_id"] == config["pad_token_id"] == tokenizer.eos_token_id == tokenizer.pad_token_id
        assert config["vocab_size"] == config["embedding_size"] == len(tokenizer)

    def test_it_is_small_enough_to_commit(self):
        assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 3e6


class TestAnswers:
    def test_it_solves_many_tuning_problems(self, tokenizer):
        import lm_eval_codd as codd

        rows = load_split("tune")[:20]
        prompts = [chat_ids(tokenizer, row["question"]) for row in rows]
        config = codd.DecodingConfig(gen_length=BLOCK, block_length=BLOCK, num_steps=16)
        outputs = codd.generate(codd.load_backbone(CHECKPOINT), prompts, config)
        texts = [tokenizer.decode(output.tokens, skip_special_tokens=True) for output in outputs]
        results = [row["answer"].split("#### ")[1] for row in rows]
        solved = sum(text.endswith(f"#### {result}") for result, text in zip(results, texts, strict=True))
        # Guessing one of the 29 results would solve about one.
        assert solved >= 12
