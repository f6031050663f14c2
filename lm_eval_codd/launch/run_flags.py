"""The flags of one run: those of the official eval.py, and every field of `DecodingConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from lm_eval_codd.launch.flags import Flag
from lm_eval_codd.settings import (
    ALGS,
    CACHES,
    FAMILIES,
    FAMILY_DEFAULTS,
    PARADIGMS,
    PC_SAMPLING,
    PC_WINDOWS,
    DecodingConfig,
)

DEFAULT_CHECKPOINTS: Final[Mapping[str, str]] = {
    "llada": "GSAI-ML/LLaDA-8B-Instruct",
    "dream": "Dream-org/Dream-v0-Instruct-7B",
}
DTYPES: Final = ("auto", "float32", "bfloat16", "float16")
PROTOCOLS: Final = ("paper", "official")
# Words of `--chat_template`; any other is the name of one of the tokenizer's templates.
TEMPLATE_WORDS: Final = ("auto", "true", "false")
SETTINGS: Final = tuple(field.name for field in dataclasses.fields(DecodingConfig))
CIRCUIT_SETTINGS: Final = ("pc_temperature", "pc_frac", "reverse_frac", "pc_sampling", "pc_windows")

_CHOICES: Final = {
    "alg": ALGS,
    "paradigm": PARADIGMS,
    "pc_sampling": PC_SAMPLING,
    "pc_windows": PC_WINDOWS,
    "cache": CACHES,
}
_SETTING_HELP: Final[Mapping[str, str]] = {
    "alg": "remasking rule, which masked positions a step commits first; the names of the official code are read too",
    "num_steps": "denoising steps of an answer",
    "tokens_per_step": "the same said the other way: num_steps = gen_length / tokens_per_step",
    "gen_length": "tokens to decode",
    "block_length": "length of a semi-autoregressive block; read by the block paradigm, by both with a cache",
    "paradigm": "block: blocks left to right; full: the whole canvas on a time grid",
    "temperature": "0 takes the most likely token, otherwise tokens are drawn",
    "top_p": "nucleus; 1 is off",
    "top_k": "number of most likely tokens kept; 0 is off",
    "alg_temp": "temperature of the remasking rule itself; 0 is off",
    "eps": "where the time grid ends",
    "cfg_scale": "classifier-free guidance; 0 is off",
    "seed": "of the random draws; each row has its own stream",
    "stop_at_eos": "an answer ends at its first end token; false keeps the text after it",
    "logits_eos_inf": "the end token can never be chosen",
    "confidence_eos_eot_inf": "end tokens are committed last",
    "mask_id": "instead of the checkpoint's mask token",
    "eos_id": "instead of the checkpoint's end token",
    "eot_id": "instead of the checkpoint's end-of-turn token",
    "pc_temperature": "divides the backbone's logits before they become evidence, above 0 and at most 1",
    "pc_frac": "the circuit acts where the share of masked positions is below this",
    "reverse_frac": "it acts where the share is above pc_frac instead",
    "pc_sampling": "how tokens come out of the coupled distribution",
    "pc_windows": "windows of the full paradigm",
    "cache": "keys and values kept within a block (approximate): prefix, before it; dual, after it as well",
    "threshold": "a step commits every position at least this sure (approximate), instead of --num_steps",
    "factor": "the same with a bound that falls with their number (approximate)",
}


def _setting(field: dataclasses.Field) -> Flag:
    return Flag(
        field.name,
        str(field.type),
        _SETTING_HELP.get(field.name, ""),
        default=_default(field),
        choices=("true", "false") if field.default is True else _CHOICES.get(field.name, ()),
    )


def _default(field: dataclasses.Field) -> str:
    """The default as help shows it: one value, or one a family where they differ."""
    if field.name == "num_steps":
        return "256"
    values = {family: FAMILY_DEFAULTS[family].get(field.name, field.default) for family in FAMILIES}
    if len(set(values.values())) == 1:
        return "" if field.default is None else str(field.default).lower()
    return ", ".join(f"{family} {'off' if value is None else value}" for family, value in values.items())


_ALL_SETTINGS: Final = [_setting(field) for field in dataclasses.fields(DecodingConfig)]

GROUPS: Final[Mapping[str, Sequence[Flag]]] = {
    "a run: model": (
        Flag("model_alias", "str", "family of the model; required", choices=FAMILIES),
        Flag(
            "llada_ckpt",
            "str",
            "folder, hub id (owner/name, or owner/name@revision to pin it) or `demo`",
            default=DEFAULT_CHECKPOINTS["llada"],
        ),
        Flag("dream_ckpt", "str", "folder or hub id", default=DEFAULT_CHECKPOINTS["dream"]),
        Flag("peft_ckpt", "str", "LoRA adapter, folder or hub id"),
        Flag(
            "chat_template",
            "str",
            "whether prompts go through the tokenizer's chat template, or the NAME of one of its templates; auto: "
            "where it has one, so not for a base checkpoint",
            default="auto",
            choices=(*TEMPLATE_WORDS, "NAME"),
        ),
        Flag("dtype", "str", "of the weights", default="the model's own choice", choices=DTYPES),
        Flag("batch_size", "str", "rows decoded together, a number or `auto`", default="1"),
    ),
    "a run: task": (
        Flag(
            "task",
            "str",
            "gsm8k, math500, mbpp, gpqa (the paper's protocol), demo, or a task of lm-eval (stock:gsm8k for its own) "
            "or of --include_path; several, separated by commas, are a run each; required",
        ),
        Flag("num_shot", "int", "examples in the prompt, for tasks of lm-eval", default="the task's own number"),
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
        *(flag for flag in _ALL_SETTINGS if flag.name not in CIRCUIT_SETTINGS),
        Flag("dream_block", "bool", "Dream in blocks, the same as --paradigm block"),
        Flag("dream_window", "bool", "Dream on the whole canvas with circuit windows, --paradigm full"),
    ),
    "a run: circuit": (
        Flag("pc_ckpt", "str", "circuit: a file, folder or hub id; `none` is the backbone alone", default="none"),
        *(flag for flag in _ALL_SETTINGS if flag.name in CIRCUIT_SETTINGS),
    ),
}
FLAGS: Final = tuple(flag for group in GROUPS.values() for flag in group)
