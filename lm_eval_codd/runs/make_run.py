"""From the flags of a run to the run, checked before anything starts."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from lm_eval_codd import packaged
from lm_eval_codd.catalogue import MASKED_LM, MODEL_ALIASES, TASKS, Task, members, short_name
from lm_eval_codd.catalogue import task_name as own_task_name
from lm_eval_codd.names import translate
from lm_eval_codd.registration import MODELS
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.flags import parse
from lm_eval_codd.runs.recognition import block_settings, check_family, recognise
from lm_eval_codd.runs.run import Run, decodes_nothing, is_own_task, num_documents
from lm_eval_codd.runs.run_flags import (
    ATTENTIONS,
    CIRCUIT_SETTINGS,
    DTYPES,
    ELSEWHERE,
    FLAGS,
    NAMES_HERE,
    PROTOCOLS,
    SETTINGS,
    TEMPLATE_WORDS,
)
from lm_eval_codd.runs.run_sources import (
    read_adapter,
    read_checkpoint,
    read_circuit,
    read_planner,
    read_tokenizer,
)
from lm_eval_codd.settings import (
    DEFAULT_NUM_STEPS,
    ONLY_LIKELIHOODS,
    READ_BY_LIKELIHOODS,
    DecodingConfig,
    Family,
    LikelihoodConfig,
    unknown_value,
)
from lm_eval_codd.templates import PAPER, TEMPLATE, check_template

# The official harness cuts prompts to 2048 - 256 tokens for LLaDA, whatever the answer's length. For Dream it reads
# the checkpoint's own length (131,072), which cuts nothing.
_OFFICIAL_PROMPT_LENGTH: Final = 2048 - 256

# How lm-eval's own tasks are named beside ours.
_STOCK: Final = "stock:"

# What is typed for `--chat_template false` and true, and is no template's name.
_NO_TEMPLATES: Final = ("no", "yes", "off", "on", "none", "0", "1")

# Far above what anybody means; more is a slip of the finger, which would be noticed hours later.
_MOST_DOCUMENTS: Final = 10**9
_MOST_NAMED: Final = 10**6
_MOST_ROWS: Final = 10**5
_MOST_SHOTS: Final = 1000


def parse_run(text: str, defaults: Mapping[str, Any] | None = None) -> Run:
    """The run that a `--run` string for one task describes; see `parse_runs`."""
    return make_run({**(defaults or {}), **_flags(text)[0]})


def parse_runs(text: str, defaults: Mapping[str, Any] | None = None, remarks: list[str] | None = None) -> list[Run]:
    """The runs that a `--run` string describes, one for each of its tasks, which commas separate, and of its groups'.

    Args:
        text: flags of a run.
        defaults: flags that the launcher was given for all runs.
        remarks: gets a line for each flag that was given under another project's name.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """
    flags, said = _flags(text)
    if remarks is not None:
        remarks += [line for line in said if line not in remarks]
    given = {**(defaults or {}), **flags}
    tasks = [task for name in given.get("task", "").split(",") for task in members(name)]
    return [make_run({**given, "task": task}) for task in tasks]


def _flags(text: str) -> tuple[dict[str, Any], list[str]]:
    """The flags of a run by their names here, and a line for each that was given under another project's name."""
    try:
        tokens = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()}: a quote or a backslash is left open") from None
    given = parse(tokens, FLAGS, ELSEWHERE)
    alias = given.get("model_alias", given.get("model", MODEL_ALIASES[0]))
    here = {**NAMES_HERE, "pretrained": f"{alias}_ckpt"}
    return translate(given, [flag.name for flag in FLAGS], kind="flag", here=here)


def make_run(given: Mapping[str, Any]) -> Run:
    """A checked run from the values of its flags (`run_flags.FLAGS`); raises `ValueError` like `parse_run`."""
    for name in ("model_alias", "task"):
        if not given.get(name):
            raise ValueError(f"`--{name}` is missing")
    alias = given["model_alias"]
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
    task = task_name(given["task"])
    own = _own(task)
    if own is not None and own.gen_length is not None:
        given = {"gen_length": own.gen_length, **given}
    family = _family(alias, given)
    include_path = _include_path(given, task)
    is_decoded = not decodes_nothing(task, include_path)
    given = {**block_settings(read_checkpoint(alias, given)[1], family, given), **given}
    config = _config(family, given)
    if not is_decoded and config.rule is not None:
        raise ValueError(
            f"`--task {given['task']}` asks for log-likelihoods, and those of {family} checkpoints, which are "
            "block-causal, are not defined by their authors; use a task that generates"
        )
    config = config if is_decoded else _read_by_likelihoods(family, config)
    gen_length = config.gen_length if is_decoded else None
    flag, checkpoint = read_checkpoint(alias, given)
    own_length = None
    if not checkpoints.is_hub_id(checkpoint):
        folder = str(packaged.CHECKPOINTS.get(checkpoint, checkpoint))
        own_length = checkpoints.check_model(flag, folder, gen_length)
        check_family(flag, folder, checkpoints.model_type(folder), family)
    limit, samples = _documents(given)
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
        chat_template_args=_json_object("chat_template_args", given.get("chat_template_args")),
        metadata=_metadata(given, task),
        likelihood=_likelihood(given),
        dtype=given.get("dtype"),
        batch_size=_batch_size(given.get("batch_size", "1")),
        chat_template=_chat_template(given, checkpoint, task),
        num_shot=_num_shot(given, task),
        fewshot_as_multiturn=_turns(given, task),
        include_path=include_path,
        limit=limit,
        samples=samples,
        protocol=protocol,
        max_length=max_length,
        tag=given.get("tag") or None,
        confirm_run_unsafe_code=given.get("confirm_run_unsafe_code", False),
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


def task_name(name: str) -> str:
    """lm-eval's name of the task; our short names win over lm-eval's own, which `stock:` reaches.

    Raises:
        ValueError: it is a flag, or more than one task.
    """
    if not name or name.startswith("-") or "," in name or name != name.strip():
        raise ValueError(f"`--task {name}` is not the name of a task; give one, such as gsm8k")
    if name.startswith(_STOCK):
        return name.removeprefix(_STOCK)
    return own_task_name(name) if name in TASKS else name


def _own(task: str) -> Task | None:
    """What is known of a task by lm-eval's name, if it comes with this package."""
    short = short_name(task)
    return None if short is None else TASKS[short]


def _num_shot(given: Mapping[str, Any], task: str) -> int | None:
    number = given.get("num_shot")
    if number is not None:
        _within("num_shot", number, 0, _MOST_SHOTS)
    short = short_name(task)
    if short is None:
        return number
    if number:
        stock = TASKS[short].stock
        or_else = "" if stock is None else f", or use lm-eval's ({_STOCK}{stock})"
        raise ValueError(f"`--num_shot {number}`: {short} is zero-shot; leave it out{or_else}")
    return 0


def _turns(given: Mapping[str, Any], task: str) -> bool | None:
    """Whether examples are turns; None where lm-eval decides, and where there are none."""
    value = given.get("fewshot_as_multiturn")
    if value is None:
        return None
    written = str(value).lower()
    if is_own_task(task):
        raise ValueError(f"`--fewshot_as_multiturn {written}`: {short_name(task)} is zero-shot; leave it out")
    if value and given.get("chat_template", "auto").lower() == "false":
        raise ValueError("`--fewshot_as_multiturn true` needs a chat template; leave out one of them")
    return value


def _include_path(given: Mapping[str, Any], task: str) -> str | None:
    """The user's folder of tasks, for tasks that are not of this package."""
    value = given.get("include_path")
    if value is None:
        return None
    folder = Path(value).expanduser()
    if not value or not folder.is_dir():
        raise ValueError(f"`--include_path {value}`: there is no such folder; give the folder of your task files")
    return None if is_own_task(task) else str(folder.resolve())


def _chat_template(given: Mapping[str, Any], checkpoint: str, task: str) -> bool | str:
    """Whether prompts go through a chat template, or its name; by default as the task's protocol has it.

    A checkpoint that is not on this machine yet is taken to have one.
    """
    value = given.get("chat_template", "auto")
    if value.lower() in (*TEMPLATE_WORDS, *_NO_TEMPLATES):
        value = value.lower()
    if value in _NO_TEMPLATES:
        raise ValueError(f"`--chat_template {value}` must be auto, true, false, or the name of a template")
    own = _own(task)
    if value == "false" or (value == "auto" and own is not None and not own.chat_template):
        return False
    folder = checkpoints.folder_of(checkpoint, packaged.CHECKPOINTS)
    names = None if folder is None else checkpoints.chat_templates(folder)
    if value == "auto":
        return names is None or bool(names)
    if names == []:
        raise ValueError(
            f"`--chat_template {value}`: the tokenizer of {checkpoint} has no chat template; use auto or false for a "
            "base checkpoint, or put one into its folder as chat_template.jinja"
        )
    if value == "true":
        return True
    if names is not None and value not in names:
        raise ValueError(
            f"`--chat_template {value}`: the tokenizer's templates are {', '.join(names)}; use one of them, auto, true "
            "or false"
        )
    return value


def _config(family: Family, given: Mapping[str, Any]) -> DecodingConfig:
    """The run's decoding, with the switches of the official eval.py turned into the settings that they stand for."""
    settings = {name: given[name] for name in SETTINGS if name in given}
    _read_dream_switches(family, given, settings)
    if given.get("pc_ckpt", "none") == "none":
        _drop_circuit_settings(given, settings)
    if given.get("protocol") == "official":
        if settings.get("stop_at_eos"):
            raise ValueError("`--stop_at_eos true` contradicts `--protocol official`; leave one out")
        settings["stop_at_eos"] = False
    config = DecodingConfig.for_family(family, **settings)
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
    return _json_object("likelihood", json.dumps({name: checked[name] for name in own if checked[name] != usual[name]}))


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


def _drop_circuit_settings(given: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """A circuit's settings change nothing without one: dropped where `none` is said, an error where it is not."""
    for name in CIRCUIT_SETTINGS:
        if name in given and "pc_ckpt" not in given:
            raise ValueError(f"`--{name}` is read by a circuit only; add --pc_ckpt, or leave it out")
        settings.pop(name, None)


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


def _metadata(given: Mapping[str, Any], task: str) -> str | None:
    """Arguments of a task, its template among them; the default one is not said."""
    arguments = json.loads(_read_metadata(given.get("metadata")) or "{}")
    chosen, other = given.get(TEMPLATE), arguments.pop(TEMPLATE, None)
    if chosen is not None and other is not None and chosen != other:
        raise ValueError(f"`--template {chosen}` contradicts `--metadata {TEMPLATE}={other}`; leave one out")
    name = chosen if chosen is not None else other
    if name is not None and name != PAPER:
        check_template(task, str(name), f"`--template {name}`")
        arguments[TEMPLATE] = name
    return json.dumps(arguments, sort_keys=True) if arguments else None


def _read_metadata(text: str | None) -> str | None:
    """A JSON object, or `name=value` and more of them after commas."""
    if text is None or text.lstrip().startswith("{"):
        return _json_object("metadata", text)
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"`--metadata {text}` must be name=value, such as clean=off, or a JSON object")
    return json.dumps({name.strip(): value for name, _, value in pairs}, sort_keys=True)


def _json_object(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f'`--{name} {text}` must be a JSON object, such as {{"enable_thinking": false}}')
    return json.dumps(content, sort_keys=True) if content else None


def _documents(given: Mapping[str, Any]) -> tuple[float | None, tuple[int, int] | None]:
    """The documents a run is held to: a limit, a slice, or neither. -1 stands for 'not given', as in eval.py."""
    limit = given.get("limit")
    if limit is not None and not (0 < limit < 1 or (limit >= 1 and float(limit).is_integer())):
        raise ValueError(f"`--limit {limit:g}` must be a whole number, or a share between 0 and 1")
    if limit is not None and limit > _MOST_DOCUMENTS:
        raise ValueError(
            f"`--limit {limit:g}` is more than any task has; use at most {_MOST_DOCUMENTS}, or leave it out for all"
        )
    first, end = (None if given.get(name) == -1 else given.get(name) for name in ("sample_sid", "sample_eid"))
    if first is None and end is None:
        return limit, None
    if first is None or end is None:
        raise ValueError("`--sample_sid` and `--sample_eid` go together; give both")
    if limit is not None:
        raise ValueError("`--limit` and `--sample_sid`, `--sample_eid` exclude each other; use one")
    if not 0 <= first < end:
        raise ValueError(f"`--sample_sid {first} --sample_eid {end}` is an empty slice; sid must be below eid, from 0")
    rows = num_documents(short_name(task_name(given["task"])) or given["task"])
    if rows is not None and end > rows:
        raise ValueError(f"`--sample_eid {end}` is beyond the {rows} documents of {given['task']}")
    # Every one of them is named to lm-eval.
    _within("sample_eid", end, 1, _MOST_NAMED)
    return None, (first, end)


def _batch_size(value: str) -> str:
    if value != "auto" and not (value.isdecimal() and int(value) >= 1):
        raise ValueError(f"`--batch_size {value}` must be a whole number of 1 or more, or auto")
    if value != "auto":
        _within("batch_size", int(value), 1, _MOST_ROWS)
    return value


def _within(name: str, value: int, lowest: int, most: int) -> None:
    if not lowest <= value <= most:
        raise ValueError(f"`--{name} {value}` must be {lowest} or more, and at most {most}")
