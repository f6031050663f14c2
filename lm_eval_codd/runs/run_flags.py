"""The flags of one run: those of the official eval.py, and every field of `DecodingConfig`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from lm_eval_codd.catalogue import DEFAULT_CHECKPOINTS, DIT_MODELS, MODEL_ALIASES
from lm_eval_codd.names import READ_AS
from lm_eval_codd.runs.flags import Flag
from lm_eval_codd.runs.unconditional import ALL_KINDS
from lm_eval_codd.settings import (
    CIRCUIT_SETTINGS,
    ESTIMATORS,
    FAMILIES,
    FAMILY_DEFAULTS,
    ONLY_LIKELIHOODS,
    ROUTER_SETTINGS,
    DecodingConfig,
    LikelihoodConfig,
    facts_of,
)
from lm_eval_codd.settings.decoders import DECODERS

ATTENTIONS: Final = ("full", "block")
DTYPES: Final = ("auto", "float32", "bfloat16", "float16")
PROTOCOLS: Final = ("paper", "official")
# Words of `--chat_template`; any other is the name of one of the tokenizer's templates.
TEMPLATE_WORDS: Final = ("auto", "true", "false")
SETTINGS: Final = tuple(field.name for field in dataclasses.fields(DecodingConfig))
_OPTIONS: Final = {decoder: facts.own for decoder, facts in DECODERS.items() if facts.own}


def _setting(field: dataclasses.Field) -> Flag:
    facts = facts_of(field)
    choices = {"decoder": tuple(DECODERS), "estimator": tuple(ESTIMATORS)}.get(field.name, facts.choices)
    return Flag(
        field.name,
        str(field.type),
        facts.help,
        default=_default(field),
        choices=("true", "false") if field.default is True else choices,
    )


def _default(field: dataclasses.Field) -> str:
    """The default as help shows it: one value, or one a family where they differ."""
    if field.name == "num_steps":
        return "256"
    values = {family: defaults.get(field.name, field.default) for family, defaults in FAMILY_DEFAULTS.items()}
    if len(set(values.values())) == 1:
        return "" if field.default is None else str(field.default).lower()
    return ", ".join(f"{family} {'off' if value is None else value}" for family, value in values.items())


_PLANNER: Final = Flag(
    "planner_ckpt", "str", "a model of the same vocabulary that scores what is decided; folder or hub id"
)
_OF_LIKELIHOODS: Final = [
    _setting(field) for field in dataclasses.fields(LikelihoodConfig) if field.name in ONLY_LIKELIHOODS
]
_ALL_SETTINGS: Final = [_setting(field) for field in dataclasses.fields(DecodingConfig)]
# Of models without prompts; those with the name of a setting above are given by the same flag.
_OF_UNCONDITIONAL: Final = [
    _setting(field)
    for name, field in itertools.chain(*(kind.fields.items() for kind in ALL_KINDS))
    if name not in (*SETTINGS, *ONLY_LIKELIHOODS)
]
ONLY_UNCONDITIONAL: Final = ("algo", "ema", *(flag.name for flag in _OF_UNCONDITIONAL))
# Those with a group of their own in the help.
_APART: Final = (*CIRCUIT_SETTINGS, *ROUTER_SETTINGS, *itertools.chain(*_OPTIONS.values()))

GROUPS: Final[Mapping[str, Sequence[Flag]]] = {
    "a run: model": (
        Flag(
            "model_alias",
            "str",
            "family of the model, or masked_lm for a checkpoint of any, which its files tell; or a model without "
            "prompts; required",
            choices=MODEL_ALIASES,
        ),
        Flag(
            "llada_ckpt",
            "str",
            "folder, hub id (owner/name, or owner/name@revision to pin it) or `demo`",
            default=DEFAULT_CHECKPOINTS["llada"],
        ),
        Flag("dream_ckpt", "str", "folder or hub id", default=DEFAULT_CHECKPOINTS["dream"]),
        Flag("masked_lm_ckpt", "str", "folder or hub id of a checkpoint of any family"),
        Flag("dit_ckpt", "str", "folder, hub id or Lightning file (.ckpt) of duo, mdlm, sedd, d3pm or dit_ar"),
        Flag("coupling_ckpt", "str", "file (.pt) of a Coupling Model"),
        Flag("family", "str", "of a masked_lm checkpoint that is not here yet, or does not say", choices=FAMILIES),
        Flag("attention", "str", "of a masked_lm checkpoint whose name misleads (A2D's bd3lm)", choices=ATTENTIONS),
        Flag("peft_ckpt", "str", "LoRA adapter, folder or hub id"),
        Flag("tokenizer", "str", "folder or hub id of another tokenizer than the checkpoint's"),
        Flag("add_bos_token", "bool", "whether bos begins every prompt", default="as the tokenizer does by itself"),
        Flag(
            "chat_template",
            "str",
            "whether prompts go through the tokenizer's chat template, or the NAME of one of its templates; auto: "
            "where it has one (a base checkpoint has none) and the task's protocol uses it",
            default="auto",
            choices=(*TEMPLATE_WORDS, "NAME"),
        ),
        Flag("chat_template_args", "str", "more arguments of the chat template, a JSON object"),
        Flag(
            "max_length",
            "int",
            "tokens of prompt and answer; longer prompts are cut",
            default="the model's",
        ),
        Flag("dtype", "str", "of the weights", default="the model's own choice", choices=DTYPES),
        Flag("batch_size", "str", "rows decoded together, a number or `auto`", default="1"),
    ),
    "a run: task": (
        Flag(
            "task",
            "str",
            "gsm8k, math500, mbpp, gpqa (the paper's protocol), humaneval, demo, coupling (ten tasks of dependent "
            "tokens), or a task of lm-eval (stock:gsm8k for its own) or of --include_path; several, separated by "
            "commas, are a run each; required",
        ),
        Flag("num_shot", "int", "examples in the prompt, for tasks of lm-eval", default="the task's own number"),
        Flag(
            "fewshot_as_multiturn",
            "bool",
            "whether each example is a turn of its own in a chat template; false: all in the user's one turn",
            default="as lm-eval does by itself, true",
        ),
        Flag(
            "template",
            "str",
            "how the task's questions are put: stock, wording, marker, newlines (those of a task: tasks/README.md)",
            default="paper",
        ),
        Flag("metadata", "str", "arguments of the task, name=value or a JSON object: clean=off of gpqa"),
        Flag("include_path", "str", "a folder with task files of your own, searched before lm-eval's tasks"),
        Flag("confirm_run_unsafe_code", "bool", "let a task of lm-eval execute programs that the model has written"),
        Flag("limit", "float", "only the first N documents, or that share of them below 1"),
        Flag("sample_sid", "int", "first document, counted from 0; goes with --sample_eid"),
        Flag("sample_eid", "int", "first document that is left out"),
        Flag(
            "protocol",
            "str",
            "official: text after the end token is kept and long prompts are cut, as in the official harness",
            default="paper",
            choices=PROTOCOLS,
        ),
        Flag("tag", "str", "a word for the run's name"),
    ),
    "a run: decoding": (
        *(flag for flag in _ALL_SETTINGS if flag.name not in _APART),
        Flag("dream_block", "bool", "Dream in blocks, the same as --paradigm block"),
        Flag("dream_window", "bool", "Dream on the whole canvas with circuit windows, --paradigm full"),
    ),
    **{
        f"a run: decoder {decoder}": (
            *(flag for flag in _ALL_SETTINGS if flag.name in names),
            *([_PLANNER] if DECODERS[decoder].takes_planner else []),
        )
        for decoder, names in _OPTIONS.items()
    },
    "a run: mixtures of experts": tuple(flag for flag in _ALL_SETTINGS if flag.name in ROUTER_SETTINGS),
    "a run: log-likelihoods (tasks of multiple choice and perplexity)": _OF_LIKELIHOODS,
    "a run: models without prompts (beside --num_steps, here 1024, --gen_length, --seed, --num_samples, --mask_id)": (
        Flag("algo", "str", "of a --dit_ckpt that says another, or that is a file", choices=tuple(DIT_MODELS)),
        Flag("ema", "bool", "the averaged weights of a file; false takes the last ones", default="true"),
        *_OF_UNCONDITIONAL,
    ),
    "a run: circuit": (
        Flag("pc_ckpt", "str", "circuit: a file, folder or hub id; `none` is the backbone alone", default="none"),
        *(flag for flag in _ALL_SETTINGS if flag.name in CIRCUIT_SETTINGS),
    ),
}
FLAGS: Final = tuple(flag for group in GROUPS.values() for flag in group)
KIND_OF_FLAG: Final[Mapping[str, str]] = {flag.name: flag.kind for flag in FLAGS}

# Where a flag has another name than the argument of the model.
NAMES_HERE: Final[Mapping[str, str]] = {
    "model": "model_alias",
    "peft": "peft_ckpt",
    "pc": "pc_ckpt",
    "planner": "planner_ckpt",
}


def _elsewhere() -> list[Flag]:
    """The names that other projects have for flags of a run, with the kinds of those."""
    own = {flag.name: flag for flag in FLAGS}
    of_models = {**NAMES_HERE, "pretrained": "llada_ckpt"}
    names = {**{name: elsewhere.here for name, elsewhere in READ_AS.items()}, **{name: name for name in of_models}}
    flags = {name: own.get(of_models.get(here, here)) for name, here in names.items() if name not in own}
    return [Flag(name, flag.kind, flag.help) for name, flag in flags.items() if flag is not None]


ELSEWHERE: Final = tuple(_elsewhere())
