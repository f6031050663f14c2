"""From the flags of a run to the run, checked before anything starts."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from typing import Any, Final, cast

from lm_eval_codd.catalogue import CHECKPOINT_FLAGS, DIT_MODELS, GEN_PPL, MASKED_LM, MODEL_ALIASES, members
from lm_eval_codd.demo import packaged
from lm_eval_codd.names import ReadAs, as_typed, translate
from lm_eval_codd.registration import MODELS
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.flags import parse
from lm_eval_codd.runs.make_unconditional import make_unconditional
from lm_eval_codd.runs.recognition import attention_of, block_settings, check_family, is_encoder, recognise
from lm_eval_codd.runs.run import Run, decodes_nothing
from lm_eval_codd.runs.run_flags import (
    ATTENTIONS,
    DTYPES,
    ELSEWHERE,
    FLAGS,
    NAMES_HERE,
    ONLY_UNCONDITIONAL,
    PROTOCOLS,
    SETTINGS,
)
from lm_eval_codd.runs.run_sources import (
    drop_circuit_settings,
    read_adapter,
    read_checkpoint,
    read_circuit,
    read_planner,
    read_tokenizer,
)
from lm_eval_codd.runs.run_task import (
    own_task,
    read_batch_size,
    read_chat_template,
    read_documents,
    read_include_path,
    read_json_object,
    read_metadata,
    read_num_shot,
    read_turns,
    task_name,
)
from lm_eval_codd.runs.unconditional import KINDS
from lm_eval_codd.settings import (
    DEFAULT_NUM_STEPS,
    ONLY_LIKELIHOODS,
    READ_BY_LIKELIHOODS,
    DecodingConfig,
    Family,
    LikelihoodConfig,
    refuse_attention,
    refuse_shared_rows,
    unknown_value,
)

# The official harness cuts prompts to 2048 - 256 tokens for LLaDA, whatever the answer's length. For Dream it reads
# the checkpoint's own length (131,072), which cuts nothing.
_OFFICIAL_PROMPT_LENGTH: Final = 2048 - 256

# Of every task on windows of a corpus.
_WINDOWS: Final = "dlm_ppl_"


def parse_run(text: str, defaults: Mapping[str, Any] | None = None) -> Run:
    """The run that a `--run` string for one task describes; see `parse_runs`."""
    flags, said, renamed = _flags(text)
    with as_typed([*said, *renamed]):
        return make_run({**(defaults or {}), **flags})


def parse_runs(text: str, defaults: Mapping[str, Any] | None = None, remarks: list[str] | None = None) -> list[Run]:
    """The runs that a `--run` string describes, one for each of its tasks, which commas separate, and of its groups'.

    Args:
        text: flags of a run.
        defaults: flags that the launcher was given for all runs.
        remarks: gets a line for each flag that was given under another project's name.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """
    flags, said, renamed = _flags(text)
    if remarks is not None:
        remarks += [line for line in said if line not in remarks]
    given = {**(defaults or {}), **flags}
    tasks = [task for name in given.get("task", "").split(",") for task in members(name)]
    with as_typed([*said, *renamed]):
        return [make_run({**given, "task": task}) for task in tasks]


def _flags(text: str) -> tuple[dict[str, Any], list[ReadAs], list[ReadAs]]:
    """The flags of a run by their names here, and a line for each that has another one: elsewhere, and in lm_eval."""
    try:
        tokens = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()}: a quote or a backslash is left open") from None
    given = parse(tokens, FLAGS, ELSEWHERE)
    alias = given.get("model_alias", given.get("model", MODEL_ALIASES[0]))
    here = {**NAMES_HERE, "pretrained": CHECKPOINT_FLAGS.get(alias, f"{alias}_ckpt")}
    known = [flag.name for flag in FLAGS]
    flags, said = translate(given, known, kind="flag", here=here)
    renamed = [(typed, here[typed]) for typed in given if typed in here and typed not in known]
    return flags, said, [ReadAs(f"`--{typed}` is `--{name}` here", name) for typed, name in renamed]


def make_run(given: Mapping[str, Any]) -> Run:
    """A checked run from the values of its flags (`run_flags.FLAGS`); raises `ValueError` like `parse_run`."""
    alias = _model_alias(given)
    if alias in KINDS:
        return make_unconditional(alias, given)
    task = task_name(given["task"])
    _refuse_what_others_read(given, alias, task)
    own = own_task(task)
    if own is not None and own.gen_length is not None:
        given = {"gen_length": own.gen_length, **given}
    family = _family(alias, given)
    include_path = read_include_path(given, task)
    is_decoded = not decodes_nothing(task, include_path)
    flag, checkpoint = read_checkpoint(alias, given)
    given = {**block_settings(checkpoint, family, given), **given}
    config = _config(family, given)
    if is_decoded:
        attention = attention_of(checkpoint, family, given)
        refuse_attention(config, family, attention=attention, is_encoder=is_encoder(checkpoint))
    if not is_decoded and config.rule is not None:
        raise ValueError(
            f"`--task {given['task']}` asks for log-likelihoods, and those of {family} checkpoints, which are "
            "block-causal, are not defined by their authors; use a task that generates"
        )
    config = config if is_decoded else _read_by_likelihoods(family, config)
    gen_length = config.gen_length if is_decoded else None
    own_length = None
    if not checkpoints.is_hub_id(checkpoint):
        folder = str(packaged.CHECKPOINTS.get(checkpoint, checkpoint))
        own_length = checkpoints.check_model(flag, folder, gen_length)
        check_family(flag, folder, checkpoints.model_type(folder), family)
    limit, samples = read_documents(given)
    protocol = given.get("protocol", "paper")
    max_length = _max_length(given, gen_length, own_length)
    if protocol == "official" and family == "llada" and not checkpoints.is_packaged(checkpoint):
        max_length = min(filter(None, (_OFFICIAL_PROMPT_LENGTH + config.gen_length, own_length)))
    return Run(
        family=family,
        checkpoint=checkpoint,
        task=task,
        config=config,
        attention=given.get("attention"),
        peft=read_adapter(given),
        circuit=read_circuit(given, config),
        planner=read_planner(given, config),
        tokenizer=read_tokenizer(given),
        add_bos_token=given.get("add_bos_token"),
        chat_template_args=read_json_object("chat_template_args", given.get("chat_template_args")),
        metadata=read_metadata(given, task),
        likelihood=_likelihood(given),
        dtype=given.get("dtype"),
        batch_size=read_batch_size(given),
        chat_template=read_chat_template(given, checkpoint, task),
        num_shot=read_num_shot(given, task),
        fewshot_as_multiturn=read_turns(given, task),
        include_path=include_path,
        limit=limit,
        samples=samples,
        protocol=protocol,
        max_length=max_length,
        tag=given.get("tag") or None,
        confirm_run_unsafe_code=given.get("confirm_run_unsafe_code", False),
    )


def _model_alias(given: Mapping[str, Any]) -> str:
    """Which model a run is of; what it and the run's words may be is checked here."""
    for name in ("model_alias", "task"):
        if not given.get(name):
            raise ValueError(f"`--{name}` is missing")
    alias = given["model_alias"]
    if alias == "dlm":
        names = ", ".join(DIT_MODELS.values())
        raise ValueError(f"`--model_alias dlm` leaves the algorithm to the checkpoint; name it: {names}")
    if alias in MODELS and alias not in MODEL_ALIASES and not alias.startswith("codd_"):
        raise ValueError(
            f"`--model_alias {alias}` is none of the launcher's, which are {', '.join(MODEL_ALIASES)}; evaluate it "
            f"with lm_eval --model {alias}"
        )
    if alias not in MODEL_ALIASES:
        raise ValueError(unknown_value("model_alias", alias, MODEL_ALIASES))
    for name, allowed in (("dtype", DTYPES), ("protocol", PROTOCOLS)):
        if name in given and given[name] not in allowed:
            raise ValueError(unknown_value(name, given[name], allowed))
    return str(alias)


def _refuse_what_others_read(given: Mapping[str, Any], alias: str, task: str) -> None:
    """Refuse flags and tasks of models without prompts."""
    for name in ONLY_UNCONDITIONAL:
        if name in given:
            raise ValueError(
                f"`--{name}` is of models without prompts and not read with --model_alias {alias}; leave it out"
            )
    if task == GEN_PPL or task.startswith(_WINDOWS):
        raise ValueError(
            f"`--task {given['task']}` measures token ids, and --model_alias {alias} answers with text; use one of "
            f"{', '.join(KINDS if task == GEN_PPL else DIT_MODELS.values())}"
        )


def _family(alias: str, given: Mapping[str, Any]) -> Family:
    if alias == MASKED_LM:
        if given.get("attention") not in (None, *ATTENTIONS):
            raise ValueError(unknown_value("attention", given["attention"], ATTENTIONS))
        return recognise(*read_checkpoint(alias, given), given)
    for name in ("family", "attention"):
        if given.get(name) is not None:
            raise ValueError(f"`--{name} {given[name]}` is read with --model_alias {MASKED_LM}; leave it out")
    return cast("Family", alias)


def _config(family: Family, given: Mapping[str, Any]) -> DecodingConfig:
    """The run's decoding, with the switches of the official eval.py turned into the settings that they stand for."""
    settings = {name: given[name] for name in SETTINGS if name in given}
    _read_dream_switches(family, given, settings)
    if given.get("pc_ckpt", "none") == "none":
        drop_circuit_settings(given, settings)
    if given.get("protocol") == "official":
        if settings.get("stop_at_eos"):
            raise ValueError("`--stop_at_eos true` contradicts `--protocol official`; leave one out")
        settings["stop_at_eos"] = False
    config = DecodingConfig.for_family(family, **settings)
    refuse_shared_rows(config, read_batch_size(given))
    # The same run whichever way its steps were given, and where they are not read.
    if not config.reads("num_steps") or config.rule is not None:
        return config
    steps = DEFAULT_NUM_STEPS if config.steps_follow_confidence else config.num_steps
    return dataclasses.replace(config, num_steps=steps, tokens_per_step=None)


def _read_by_likelihoods(family: Family, config: DecodingConfig) -> DecodingConfig:
    """The family's decoding, which does not take place, with those settings that log-likelihoods read too."""
    settings = {name: getattr(config, name) for name in READ_BY_LIKELIHOODS}
    return DecodingConfig.for_family(family, **settings, num_steps=DEFAULT_NUM_STEPS)


def _likelihood(given: Mapping[str, Any]) -> str | None:
    """The settings of log-likelihoods that are not their default."""
    own = {name: given[name] for name in ONLY_LIKELIHOODS if name in given}
    checked, usual = vars(LikelihoodConfig(**own)), vars(LikelihoodConfig())
    return read_json_object(
        "likelihood", json.dumps({name: checked[name] for name in own if checked[name] != usual[name]})
    )


def _read_dream_switches(family: Family, given: Mapping[str, Any], settings: dict[str, Any]) -> None:
    meanings = {"dream_block": {"paradigm": "block"}, "dream_window": {"paradigm": "full", "pc_windows": "best"}}
    chosen = [name for name in meanings if given.get(name)]
    if chosen and family != "dream":
        raise ValueError(f"`--{chosen[0]}` is for --model_alias dream; leave it out, or use --paradigm")
    if len(chosen) == 2:
        raise ValueError("`--dream_block` and `--dream_window` exclude each other; use one")
    for switch in chosen:
        for name, value in meanings[switch].items():
            if settings.get(name, value) != value:
                raise ValueError(f"`--{name} {settings[name]}` contradicts `--{switch}`; leave one out")
            settings[name] = value


def _max_length(given: Mapping[str, Any], gen_length: int | None, own_length: int | None) -> int | None:
    length = given.get("max_length")
    if length is None:
        return None
    if given.get("protocol") == "official":
        raise ValueError("`--max_length` and `--protocol official` both say how long prompts may be; leave one out")
    if length <= (gen_length or 0) or (own_length is not None and length > own_length):
        least = "1 or more" if gen_length is None else f"more than `--gen_length {gen_length}`"
        most = "" if own_length is None else f" and at most {own_length}, the checkpoint's"
        raise ValueError(f"`--max_length {length}` must be {least}{most}")
    return length
