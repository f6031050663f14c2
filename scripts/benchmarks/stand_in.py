"""An evaluation whose decoding costs nothing: the rows, a checkpoint, and instant answers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lm_eval_codd.decoding import Finished, Generation
from lm_eval_codd.demo import load_split

if TYPE_CHECKING:
    from lm_eval_codd.backbones.backbone import Backbone
    from lm_eval_codd.settings import DecodingConfig

GSM8K_ROWS: Final = 1319
ANSWER_TOKENS: Final = 150
# Characters of a row of GSM8K's test set, on average.
_QUESTION_CHARACTERS: Final = 240
_ANSWER_CHARACTERS: Final = 290

_EOS: Final = "<|endoftext|>"
_EOT: Final = "<|im_end|>"
_MASK: Final = "<|mask|>"
_CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_rows(folder: Path) -> None:
    """`gsm8k/test.jsonl`, as many rows as GSM8K's test set and about as long, put together from the demo's problems."""
    problems = [*load_split("test"), *load_split("tune")]
    target = folder / "gsm8k" / "test.jsonl"
    target.parent.mkdir(parents=True)
    with target.open("w", encoding="utf-8") as file:
        for index in range(GSM8K_ROWS):
            turned = problems[index % len(problems) :] + problems[: index % len(problems)]
            row = {
                "question": _until(_QUESTION_CHARACTERS, " ", (problem["question"] for problem in turned)),
                "answer": _until(_ANSWER_CHARACTERS, "\n", (problem["answer"] for problem in turned)),
            }
            file.write(json.dumps(row) + "\n")


def _until(length: int, separator: str, texts: Iterator[str]) -> str:
    text = next(texts)
    while len(text) < length:
        text += separator + next(texts)
    return text


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of `gsm8k/test.jsonl`."""
    lines = (folder / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_checkpoint(folder: Path, texts: Sequence[str]) -> Any:
    """A Dream checkpoint of a few random weights; returns its tokenizer, which is trained on `texts`."""
    tokenizer = _trained_tokenizer(texts)
    tokenizer.add_special_tokens({"eos_token": _EOS, "additional_special_tokens": [_EOT, _MASK]})
    tokenizer.save_pretrained(folder)
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=4096,
    )
    transformers.utils.logging.disable_progress_bar()
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    described = {
        **config.to_dict(),
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "rope_theta": 1e6,
        "mask_token_id": tokenizer.convert_tokens_to_ids(_MASK),
        "eos_token_id": tokenizer.eos_token_id,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(described, indent=2, default=str), encoding="utf-8")
    return tokenizer


def _trained_tokenizer(texts: Sequence[str]) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [_EOS, "<|im_start|>", _EOT, _MASK]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_EOS)
    fast.chat_template = _CHAT_TEMPLATE
    return fast


class InstantDecoding:
    """Takes the place of `decoding.stream`: as many steps are told as decoding would take, and answers cost nothing.

    Args:
        answers: token ids of the answers, taken in turn.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self._answers = itertools.cycle(answers)

    def stream(
        self,
        backbone: Backbone,
        prompts: Sequence[Sequence[int]],
        config: DecodingConfig,
        *,
        on_step: Callable[[Any], None],
        batch_size: int,
        **_: Any,
    ) -> Iterator[Finished]:
        """As `decoding.stream`, the longest prompts first."""
        num_steps = -(-(ANSWER_TOKENS + 1) // config.block_length) * (config.num_steps // config.num_blocks)
        for count, index in enumerate(sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))):
            for _step in range(count * num_steps // batch_size, (count + 1) * num_steps // batch_size):
                on_step(None)
            answer = next(self._answers)
            tokens = [*answer, *[backbone.eos_id] * (config.gen_length - len(answer))]
            yield Finished(index, Generation(tokens, len(answer), num_steps), 1e-3)
