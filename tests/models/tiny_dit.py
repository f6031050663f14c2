"""Tiny checkpoints of the DiT family with a tokenizer, and tasks of their own kinds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyz. "
BEGIN = 29
SPECIAL = {"bos_token": "<eos>", "eos_token": "<eos>"}
FOLDERS = {"duo": "hf-duo-tiny", "dit_ar": "hf-ar-tiny"}
# What a folder is taken for.
ALGO = {"sedd": {"algo": "sedd"}, "d3pm": {"algo": "d3pm"}}
NAMES = ("duo", "mdlm", "sedd", "d3pm", "dit_ar")
SETTINGS = {"num_steps": 6, "num_samples": 3, "device": "cpu", "seed": 7}

_TASKS = {
    "windows": """
output_type: loglikelihood_rolling
doc_to_target: !function utils.window
process_results: !function utils.of_window
metric_list: [{metric: token_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]
""",
    "samples": """
output_type: generate_until
doc_to_target: ""
generation_kwargs: {until: [], do_sample: true}
process_results: !function utils.of_sample
metric_list: [{metric: ids, aggregation: bypass, higher_is_better: false}]
""",
    "choices": """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""",
    "texts": """
output_type: loglikelihood_rolling
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]
""",
    "prompts": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: ""
generation_kwargs: {until: [], do_sample: true}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
}
_UTILS = f"""
import datasets
from lm_eval_codd.carried import TokenText

LETTERS = {LETTERS!r}

def load(**kwargs):
    rows = [
        {{
            "ids": [29] + [(3 * row + place * place) % 28 for place in range(10)] + [29],
            "question": "ab" + "c" * row,
            "choices": ["ad", "b", "ccc"],
            "text": "abc. " * row + "x",
        }}
        for row in range(5)
    ]
    return {{"test": datasets.Dataset.from_list(rows)}}

def window(doc):
    return TokenText("".join(LETTERS[one] if one < 28 else "" for one in doc["ids"]), doc["ids"])

def of_window(doc, results):
    return {{"token_perplexity": (float(results[0]), results[0].num_tokens)}}

def of_sample(doc, results):
    return {{"ids": [list(results[0].ids), results[0].num_forward]}}
"""


def write_tokenizer(folder: Path, more: int = 0, **special: str) -> str:
    """One token a letter, and an end token: one less than the models have logit columns, the last of which masks.

    Args:
        folder: for its files.
        more: tokens.
        **special: tokens, by what they are for.
    """
    vocab = {f"w{number}": BEGIN + 1 + number for number in range(more)}
    vocab |= {"Ġ" if letter == " " else letter: index for index, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(BPE(vocab={**vocab, "!": 28, "<eos>": BEGIN}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, **special).save_pretrained(folder)
    return str(folder)


def write_tasks(folder: Path) -> str:
    """The folder of the tasks."""
    folder.mkdir(exist_ok=True)
    (folder / "utils.py").write_text(_UTILS)
    for name, text in _TASKS.items():
        head = f"task: {name}\ncustom_dataset: !function utils.load\ntest_split: test\n"
        text = text if "doc_to_text" in text else f'doc_to_text: ""\n{text}'
        (folder / f"{name}.yaml").write_text(head + text.lstrip())
    return str(folder)


def write_checkpoint(golden_dir: Path, folder: Path, name: str) -> str:
    """The golden checkpoint that a model of this name takes."""
    source = golden_dir / "dit" / FOLDERS.get(name, "hf-mdlm-tiny")
    shutil.copytree(source, folder)
    if not (folder / "model.safetensors").is_file():
        shutil.copy(golden_dir / "dit" / "hf-duo-tiny" / "model.safetensors", folder)
    return str(folder)


def of(name: str) -> dict[str, Any]:
    """Settings of a model; ar reads none of diffusions."""
    unread = ("num_steps", "num_samples") if name == "dit_ar" else ()
    return {**{key: value for key, value in SETTINGS.items() if key not in unread}, **ALGO.get(name, {})}


def asked(kind: str, *arguments: Any, index: int = 0, repeats: int = 1) -> Instance:
    """One request of lm-eval."""
    return Instance(
        request_type=kind,
        doc={},
        arguments=arguments,
        idx=0,
        metadata=("tiny", index, repeats),
        task_name="tiny",
        doc_id=index,
    )


def drawn(lm: Any, prompts: Sequence[str], **kwargs: Any) -> list[str]:
    """Answers to prompts, one a document."""
    return lm.generate_until([asked("generate_until", prompt, kwargs, index=i) for i, prompt in enumerate(prompts)])
