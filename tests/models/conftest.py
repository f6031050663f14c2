"""Tiny checkpoints with a tokenizer, and a tiny task, so that lm-eval itself can be run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import pytest
from lm_eval import evaluator, simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from lm_eval_codd import decoding
from tests.models import stock_tasks, tiny_dit

if TYPE_CHECKING:
    from lm_eval.api.model import LM

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = {
    "llada": {470: "<|endoftext|>", 480: "<|eot_id|>", 490: "<|mdm_mask|>"},
    "dream": {480: "<|endoftext|>", 482: "<|im_end|>", 500: "<|mask|>"},
}
VOCAB_SIZE = {"llada": 500, "dream": 512}

TASK = """
task: tiny
custom_dataset: !function utils.load
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
repeats: %(repeats)d
generation_kwargs: %(generation_kwargs)s
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
UTILS = """
import datasets

def load(**kwargs):
    rows = [{"question": "q" * (3 + 5 * (i %% 4)) + str(i), "answer": str(i)} for i in range(%d)]
    return {"test": datasets.Dataset.from_list(rows)}
"""


def write_tokenizer(folder: Path, family: str, chat_template: str | None = None) -> None:
    """A byte-level tokenizer with as many tokens as the checkpoint: bytes first, then one word an id."""
    special = SPECIAL[family]
    vocab = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {f"w{index}": index for index in range(len(vocab), VOCAB_SIZE[family]) if index not in special}
    vocab |= {token: index for index, token in special.items()}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    eos, *_ = special.values()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, pad_token=eos, additional_special_tokens=list(special.values())[1:]
    )
    if chat_template:
        fast.chat_template = chat_template
    fast.save_pretrained(folder)


@pytest.fixture(autouse=True)
def without_pip_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval describes the machine in each result, of which `pip list` takes a second an evaluation."""
    monkeypatch.setattr(evaluator, "add_env_info", lambda storage: None, raising=False)


@pytest.fixture(scope="session")
def make_checkpoint(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`make_checkpoint(family, chat_template=None)`: the folder of a tiny checkpoint that has a tokenizer."""

    def make(family: str, chat_template: str | None = None) -> str:
        folder = tmp_path_factory.mktemp(family)
        for file in (golden_dir / "decoding" / "models" / f"{family}-tiny").iterdir():
            (folder / file.name).symlink_to(file)
        write_tokenizer(folder, family, chat_template)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def checkpoints(make_checkpoint: Callable[..., str]) -> dict[str, str]:
    return {family: make_checkpoint(family) for family in ("llada", "dream")}


@pytest.fixture
def make_tasks(tmp_path: Path) -> Callable[..., Path]:
    """`make_tasks(num_rows=9, repeats=1, **generation_kwargs)`: a folder with the task `tiny`."""

    def make(num_rows: int = 9, repeats: int = 1, **generation_kwargs: object) -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        kwargs = {"until": ["\n\n"], "do_sample": False, "temperature": 0.0, **generation_kwargs}
        (folder / "tiny.yaml").write_text(TASK % {"repeats": repeats, "generation_kwargs": json.dumps(kwargs)})
        (folder / "utils.py").write_text(UTILS % num_rows)
        return folder

    return make


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Instance]:
    """`make_request(prompt, index=0, repeats=1, **generation_kwargs)`: lm-eval's request for an answer."""

    def make(prompt: str, index: int = 0, repeats: int = 1, **generation_kwargs: object) -> Instance:
        # lm-eval 0.4 reads the last two from `metadata`, 0.5 wants them by name.
        return Instance(
            request_type="generate_until",
            doc={},
            arguments=(prompt, dict(generation_kwargs)),
            idx=0,
            metadata=("tiny", index, repeats),
            task_name="tiny",
            doc_id=index,
        )

    return make


@pytest.fixture(scope="session")
def ask(make_request: Callable[..., Instance]) -> Callable[..., list[str]]:
    """`ask(lm, prompts, repeats=1, **generation_kwargs)`: the answers, asked for as lm-eval does it."""

    def ask(lm: LM, prompts: list[str], repeats: int = 1, **generation_kwargs: object) -> list[str]:
        instances = [make_request(prompt, index, repeats, **generation_kwargs) for index, prompt in enumerate(prompts)]
        return lm.generate_until([instance for instance in instances for _ in range(repeats)], disable_tqdm=True)

    return ask


@pytest.fixture
def evaluate(make_tasks: Callable[..., Path]) -> Callable[..., dict]:
    """`evaluate(model, task={...}, **simple_evaluate_arguments)`: lm-eval itself, on the task `tiny`."""

    def evaluate(model: LM | str, task: dict | None = None, **arguments: object) -> dict:
        manager = TaskManager(include_defaults=False, include_path=str(make_tasks(**(task or {}))))
        return simple_evaluate(model, tasks=["tiny"], task_manager=manager, bootstrap_iters=0, **arguments)

    return evaluate


@pytest.fixture(scope="session")
def stock_files() -> TaskManager:
    return stock_tasks.manager()


@pytest.fixture
def stock_manager(stock_files: TaskManager, monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    """lm-eval's own task files, with made-up rows."""
    monkeypatch.setattr(datasets, "load_dataset", stock_tasks.load_dataset)
    return stock_files


@pytest.fixture
def run_stock(stock_manager: TaskManager) -> Callable[..., dict]:
    """`run_stock(model, tasks, **simple_evaluate_arguments)`: lm-eval itself, on these."""

    def run(model: LM | str, tasks: Iterable[str], **arguments: object) -> dict:
        return simple_evaluate(model, tasks=list(tasks), task_manager=stock_manager, bootstrap_iters=0, **arguments)

    return run


@pytest.fixture
def decoded(monkeypatch):
    """Prompts that were really decoded, one entry an answer."""
    stream, prompts = decoding.stream, []

    def spy(backbone, batch, *args, **kwargs):
        for finished in stream(backbone, batch, *args, **kwargs):
            prompts.append(tuple(batch[finished.index]))
            yield finished

    monkeypatch.setattr(decoding, "stream", spy)
    return prompts


@pytest.fixture(scope="session")
def dit_folders(golden_dir, tmp_path_factory):
    """name -> a checkpoint with its begin token and a tokenizer."""
    root = tmp_path_factory.mktemp("dit")
    made = {name: tiny_dit.write_checkpoint(golden_dir, root / name, name) for name in tiny_dit.NAMES}
    for folder in made.values():
        tiny_dit.write_tokenizer(folder)
        path = f"{folder}/config.json"
        with open(path) as file:
            fields = json.load(file)
        with open(path, "w") as file:
            json.dump({**fields, "bos_token_id": tiny_dit.BEGIN, "eos_token_id": tiny_dit.BEGIN}, file)
    return made
