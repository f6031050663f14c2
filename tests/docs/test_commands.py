"""Every command that README.md and the other pages show is taken by this version: by the code that takes a user's.

The launcher's are dry runs, other commands are parsed and their settings made, lm-eval's go through its own parser to
the constructor of the model, which ends where it looks for a checkpoint that is not here.
"""

import re
import shlex
import sys
from functools import cache
from importlib import import_module

import huggingface_hub
import pytest
from lm_eval._cli.harness import HarnessCLI

from lm_eval_codd import __main__ as command_line
from lm_eval_codd.backbones.checkpoint import CheckpointError
from lm_eval_codd.launch import main as launch
from lm_eval_codd.launch.options import FLAGS
from lm_eval_codd.launch.slurm.start import FLAGS as SLURM_FLAGS
from lm_eval_codd.models import diffusion_lm
from lm_eval_codd.models.dit_choices import DiTChoices
from lm_eval_codd.models.dit_lm import DLM
from lm_eval_codd.models.recognition import Recognised, of_family
from lm_eval_codd.registration import MODELS, tasks_dir
from lm_eval_codd.task_files import TaskFiles, stock_tasks_dir
from lm_eval_codd.terminal.parser import Parser
from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig
from lm_eval_codd.training.settings import TrainingConfig
from tests.docs.pages import PAGES, commands

# What stands in a page for something of the user's own.
_STANDS_FOR = {
    **{name: "owner/name" for name in ("CHECKPOINT", "CIRCUIT", "FOLDER", "DIR")},
    **{"SOURCE": "llada", "FILE": "file"},
}
# What masked_lm reads from files that are not here.
_RECOGNISED = {
    "owner/name": of_family("llada", None),
    "fredzzp/open-dcoder-0.5B": of_family("open_dllm", None),
    "JetLM/SDAR-4B-Chat": Recognised(family="sdar", layout=None, tokenizer_layout="sdar", block_length=4),
    "inclusionAI/LLaDA2.0-mini": Recognised(family="llada2", layout=None, tokenizer_layout="llada2", block_length=32),
}
_SETTINGS = {"train": FineTuningConfig, "train-circuit": TrainingConfig}


class Parsed(Exception):
    """The arguments are taken."""


def shown(program: str) -> list[tuple[str, ...]]:
    """The arguments of every command of a program, each once, with something in place of what is the user's own."""
    found = {words[1:]: None for page in PAGES for words in commands(page) if words[0] == program}
    own = re.compile(rf"\b({'|'.join(_STANDS_FOR)})\b")
    return [tuple(own.sub(lambda match: _STANDS_FOR[match[1]], word) for word in words) for words in found]


def named(arguments: tuple[str, ...]) -> str:
    return shlex.join(arguments)[:80]


LAUNCHES = dict.fromkeys(
    tuple(word for word in words if word != "--dry-run") for words in shown("./eval.sh") if words[0].startswith("-")
)
# Shown for a flag alone: they say nothing to evaluate.
WHOLE = [words for words in LAUNCHES if {"--run", "--sweep", "--paper", "--demo", "--help"} & {*words}]
OTHERS = [*shown("lm-eval-codd"), *(words for words in shown("./eval.sh") if not words[0].startswith("-"))]
EVALUATIONS = [words for words in shown("lm_eval") if {"--model", "--tasks"} <= {*words}]


@pytest.mark.parametrize("arguments", WHOLE, ids=named)
def test_the_launcher_takes_it(arguments, tmp_path, monkeypatch, capsys):
    (tmp_path / "file.pt").touch()
    monkeypatch.chdir(tmp_path)
    is_alone = arguments in (("--help",), ("--paper", "list"))
    assert launch([*arguments, *(() if is_alone else ("--dry-run",))]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("arguments", [words for words in LAUNCHES if words not in WHOLE], ids=named)
def test_the_launcher_has_its_flags(arguments):
    assert {word for word in arguments if word.startswith("-")} <= {f"--{flag.name}" for flag in (*FLAGS, *SLURM_FLAGS)}


@pytest.mark.parametrize("arguments", OTHERS, ids=named)
def test_the_command_takes_it(arguments, monkeypatch):
    name, *rest = arguments
    assert name in command_line.COMMANDS
    if not rest:  # a command that is spoken of
        return

    def parse_args(self, args=None, namespace=None):
        given = vars(super(Parser, self).parse_args(args, namespace))
        if name in _SETTINGS:
            _SETTINGS[name](**{key: value for key, value in given.items() if key not in ("output", "resume")})
        raise Parsed

    monkeypatch.setattr(Parser, "parse_args", parse_args)
    with pytest.raises(Parsed):
        command_line.main([name, *rest])


@cache
def task_files() -> TaskFiles:
    return TaskFiles(stock_tasks_dir(), tasks_dir())


@pytest.mark.parametrize("arguments", EVALUATIONS, ids=named)
def test_lm_eval_takes_it(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))  # not the user's
    monkeypatch.setattr(sys, "argv", ["lm_eval", *arguments])
    monkeypatch.setattr(diffusion_lm, "recognise", lambda pretrained, *_: _RECOGNISED[pretrained])
    given = HarnessCLI().parse_args()
    assert [task for task in given.tasks if not task_files().has(task)] == []
    module, _, name = MODELS[given.model].partition(":")
    model = getattr(import_module(module), name)
    if issubclass(model, DLM):  # its checkpoint says what it is, so that comes first
        settings = {name: value for name, value in given.model_args.items() if name not in ("pretrained", "tokenizer")}
        DiTChoices(model.algo, settings, coupled=False).resolve({})
        return
    with pytest.raises(CheckpointError):
        model.create_from_arg_obj(given.model_args, {"device": "cpu"})
