"""A run: one model on one task with one set of settings; its size, its cost, its identity."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Final

from lm_eval_codd.catalogue import (
    DEFAULT_CHECKPOINTS,
    GROUPS,
    MASKED_LM,
    STOCK_GROUPS,
    STOCK_ROWS,
    TASK_PREFIX,
    TASKS,
    short_name,
)
from lm_eval_codd.demo import packaged
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.settings import (
    CIRCUIT_SETTINGS,
    DECODERS,
    READ_BY_LIKELIHOODS,
    SHARED_WITH_DECODING,
    DecodingConfig,
    Family,
    LikelihoodConfig,
    extensions_of,
    rule_of,
)
from lm_eval_codd.task_files import asks_for_no_text, likelihoods_asked

_DEMO_BYTES: Final = 2e6
_HUB_BYTES: Final = 16e9
_UNKNOWN_ROWS: Final = 1000
# Of a document whose likelihoods are asked for, before anybody has read it.
_GUESSED_CHOICES: Final = 4
_GUESSED_TOKENS: Final = 32

# What the first identities held, and hashes in names therefore cover, default or not.
_FIRST_FIELDS: Final = """
    family checkpoint task config peft circuit dtype batch_size num_shot limit samples protocol max_length tag
    alg num_steps tokens_per_step gen_length block_length paradigm temperature top_p top_k alg_temp eps cfg_scale seed
    stop_at_eos logits_eos_inf confidence_eos_eot_inf mask_id eos_id eot_id pc_temperature pc_frac reverse_frac
    pc_sampling pc_windows cache threshold factor
"""
_ALWAYS_WRITTEN: Final = frozenset(_FIRST_FIELDS.split())


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that makes a run what it is. Two equal runs give the same answers.

    `checkpoint`, `peft`, `circuit`, `planner` and `tokenizer` are in the spelling of `checkpoints.resolve`. `task` is
    the name given to lm-eval. `chat_template` is whether prompts go through one, or its name; `num_shot` None is the
    task's own number of examples. `chat_template_args`, `metadata` (arguments of the task) and `likelihood` (settings
    of log-likelihoods that are not their default) are JSON objects with sorted keys. `samples` is the slice (first,
    first left out) of documents; `max_length` in tokens, prompt and answer.
    """

    family: Family
    checkpoint: str
    task: str
    config: DecodingConfig
    attention: str | None = None
    peft: str | None = None
    circuit: str | None = None
    dtype: str | None = None
    batch_size: str = "1"
    chat_template: bool | str = True
    num_shot: int | None = None
    include_path: str | None = None
    limit: float | None = None
    samples: tuple[int, int] | None = None
    protocol: str = "paper"
    max_length: int | None = None
    tag: str | None = None
    planner: str | None = None
    tokenizer: str | None = None
    add_bos_token: bool | None = None
    chat_template_args: str | None = None
    metadata: str | None = None
    likelihood: str | None = None
    fewshot_as_multiturn: bool | None = None
    # A permission, which changes no answer.
    confirm_run_unsafe_code: bool = dataclasses.field(default=False, compare=False)

    @property
    def sources(self) -> dict[str, str]:
        """Where its parts come from, by the names of their model arguments."""
        named = (
            ("pretrained", self.checkpoint),
            ("peft", self.peft),
            ("pc", self.circuit),
            ("planner", self.planner),
            ("tokenizer", self.tokenizer),
        )
        return {name: source for name, source in named if source is not None}

    @property
    def model(self) -> str:
        """Its model as lm-eval knows it."""
        name = self.family if self.family in DEFAULT_CHECKPOINTS else MASKED_LM
        return name if self.circuit is None else f"codd_{name}"

    @property
    def short_task(self) -> str:
        """`gsm8k` for `codd_gsm8k`, and `stock-gsm8k` for lm-eval's own task of that name."""
        own = short_name(self.task)
        if own is None:
            return f"stock-{self.task}" if self.task in TASKS else self.task
        return own

    @property
    def likelihoods(self) -> LikelihoodConfig:
        """The settings of its log-likelihoods; those that decoding has too are the decode's."""
        own = {} if self.likelihood is None else json.loads(self.likelihood)
        return LikelihoodConfig(**{name: getattr(self.config, name) for name in SHARED_WITH_DECODING}, **own)

    @property
    def likelihoods_asked(self) -> frozenset[str]:
        """What its task asks for beside text (`task_files.likelihoods_asked`)."""
        return frozenset() if is_own_task(self.task) else likelihoods_asked(self.task, self.include_path)

    @property
    def decodes_nothing(self) -> bool:
        """Whether its task asks for nothing but likelihoods; then `config` has defaults where only decoding reads."""
        return decodes_nothing(self.task, self.include_path)

    @property
    def rule(self) -> str:
        """What it decodes by, as tables name it, or what it estimates likelihoods by."""
        return self.likelihoods.estimator if self.decodes_nothing else rule_of(vars(self.config))

    @property
    def num_steps(self) -> int | None:
        """Denoising steps; None where none are counted: confidences decide, or nothing is decoded."""
        return None if self.config.steps_follow_confidence or self.decodes_nothing else self.config.num_steps

    @property
    def named(self) -> tuple[str, ...]:
        """What its name says behind the task: the rule, and the steps where they are a number."""
        if self.decodes_nothing:
            return (self.likelihoods.estimator,)
        rule = self.config.alg if self.config.reads("alg") else self.config.decoder
        return (rule,) if self.num_steps is None else (rule, f"steps{self.num_steps}")

    @property
    def unusual(self) -> dict[str, Any]:
        """The settings of its decode that are not what the model does by itself."""
        usual = self.config.usual(self.family)
        return {name: value for name, value in vars(self.config).items() if value != usual[name]}

    def arguments(self) -> dict[str, Any]:
        """Of its model, beside `sources`: what it is, the steps, and every setting that is not the family's default.

        A checkpoint's own defaults stay out of a run: its flags and its name say everything.
        """
        template_args = None if self.chat_template_args is None else json.loads(self.chat_template_args)
        given = {
            "family": None if self.family in DEFAULT_CHECKPOINTS else self.family,
            "own_defaults": False,
            "attention": self.attention,
            "dtype": self.dtype,
            "max_length": self.max_length,
            "add_bos_token": self.add_bos_token,
            "chat_template_args": template_args,
        }
        args = {name: value for name, value in given.items() if value is not None}
        args |= {} if self.likelihood is None else json.loads(self.likelihood)
        config = self.config
        if config.decoder != DecodingConfig.decoder:
            args["decoder"] = config.decoder
        # A model takes the length of its blocks from the checkpoint, where nothing else is said.
        always = ("alg", "num_steps", "block_length") if config.rule is not None else ("alg", "num_steps")
        unread = {
            *(CIRCUIT_SETTINGS if self.circuit is None else ()),
            *(("num_steps",) if config.steps_follow_confidence else ()),
        }
        read = [name for name in vars(config) if name not in unread and config.reads(name)]
        if self.decodes_nothing:
            read = [name for name in read if name in READ_BY_LIKELIHOODS]
        said = {*always, *self.unusual}
        return args | {name: getattr(config, name) for name in read if name in said}

    @property
    def is_bound(self) -> bool:
        """Whether `num_forward` is only the most that a row takes, or a guess at it."""
        by_confidence = DECODERS[self.config.decoder].by_confidence or self.config.steps_follow_confidence
        return by_confidence or bool(self.likelihoods_asked)

    @property
    def metadata_of_task(self) -> str | None:
        """A JSON object of what its task reads, its model's arguments among it where they say which rows there are."""
        return self.metadata

    @property
    def comes_with_rows(self) -> bool:
        """Whether the rows of its task, or of all tasks of its group, are in this package or generated by it."""
        names = GROUPS.get(self.task.removeprefix(TASK_PREFIX), (short_name(self.task),))
        return all(name is not None and TASKS[name].comes_with_rows for name in names)

    @property
    def num_rows(self) -> int | None:
        """Documents that will be answered; None for tasks whose size only lm-eval knows."""
        total = self.num_documents
        if self.samples is not None:
            return self.samples[1] - self.samples[0]
        if self.limit is None:
            return total
        if self.limit >= 1:
            return min(int(self.limit), total or int(self.limit))
        return None if total is None else math.ceil(total * self.limit)

    @property
    def num_documents(self) -> int | None:
        """Those of its task; None for tasks whose size only lm-eval knows."""
        return num_documents(self.short_task)

    @property
    def num_answers(self) -> int | None:
        """Answers that will be decoded; None where `num_rows` is.

        Repeats of a row that nothing is drawn for are one.
        """
        own = short_name(self.task)
        repeats = TASKS[own].repeats if own and self.config.draws(coupled=self.circuit is not None) else 1
        return None if self.num_rows is None else self.num_rows * repeats

    @property
    def num_forward(self) -> int:
        """Network evaluations of one answer at most: a step that commits nothing needs none.

        Of a document whose likelihoods are asked for: its masks, taken that a question has four choices; fewer where
        targets are short, more for texts that are longer than the model.

        Where the confidences say how much a step commits, that is one token a step; such rows need far fewer. A step
        that may mask again needs one whatever it commits.
        """
        if asked := self.likelihoods_asked:
            samples = self.likelihoods.num_samples if self.likelihoods.reads("num_samples") else _GUESSED_TOKENS
            return samples * (_GUESSED_CHOICES if "multiple_choice" in asked else 1)
        config, most = self.config, self.config.gen_length
        if config.decoder == "block_diffusion":  # a finished block may take a forward too
            return most + config.num_blocks
        if config.steps_follow_confidence:
            return most
        if DECODERS[config.decoder].revises:
            return config.steps
        rounded = config.has_rounded_counts(self.family)
        return min(config.steps_of_block * config.num_blocks if rounded else config.steps, most)

    @property
    def extensions(self) -> tuple[str, ...]:
        """What of it is this project's own and has no reference, as `circuit with decoder=p2`."""
        return extensions_of(vars(self.config), coupled=self.circuit is not None)

    @property
    def cost(self) -> float:
        """What the run takes, in units that only compare runs: forwards x answers x weights x answer length."""
        size: float | None = checkpoints.weight_bytes(self.checkpoint)
        if size is None:
            size = _DEMO_BYTES if checkpoints.is_packaged(self.checkpoint) else _HUB_BYTES
        halves = 2 if self.config.cfg_scale else 1  # guidance evaluates two rows for one
        models = halves + (self.planner is not None)
        return models * self.num_forward * (self.num_answers or _UNKNOWN_ROWS) * size * self.config.gen_length

    def fingerprints(self) -> dict[str, str]:
        """What the run's local files are now (`checkpoints.fingerprint`), by field; hub ids have none."""
        sources = {
            "checkpoint": (self.checkpoint, packaged.CHECKPOINTS),
            "peft": (self.peft, packaged.CHECKPOINTS),
            "planner": (self.planner, packaged.CHECKPOINTS),
            "tokenizer": (self.tokenizer, packaged.CHECKPOINTS),
            "circuit": (self.circuit, packaged.CIRCUITS),
        }
        prints = {name: checkpoints.fingerprint(path, own) for name, (path, own) in sources.items() if path is not None}
        return {name: text for name, text in prints.items() if text is not None}

    def identity(self) -> dict[str, Any]:
        """The run as plain data: what run.json records and what tells two runs apart.

        Defaults of later settings are left out, so that a new setting changes neither records nor hashes in names.
        """
        fields = dataclasses.asdict(self) | {"samples": list(self.samples) if self.samples else None}
        del fields["confirm_run_unsafe_code"]
        config, kind = fields.pop("config"), type(self.config)
        return {name: value for name, value in fields.items() if is_written(name, value, type(self))} | {
            "config": {name: value for name, value in config.items() if is_written(name, value, kind)}
        }


def num_documents(short: str) -> int | None:
    """Documents of a task by its short name, `stock-` before lm-eval's own of such a name; None where not known."""
    name = short.removeprefix("stock-")
    return TASKS[short].rows if short in TASKS else STOCK_ROWS.get(name, STOCK_GROUPS.get(name))


def is_own_task(task: str) -> bool:
    """Whether a task, by lm-eval's name, comes with this package."""
    return short_name(task) is not None


def decodes_nothing(task: str, include_path: str | None) -> bool:
    """Whether a task, by lm-eval's name, asks for nothing but likelihoods."""
    return not is_own_task(task) and asks_for_no_text(task, include_path)


def defaults_of(cls: type) -> dict[str, Any]:
    """Of a kind of runs, or of settings, what is meant where nothing is said."""
    fields = [field for field in dataclasses.fields(cls) if field.name != "confirm_run_unsafe_code"]
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}


def is_written(name: str, value: object, cls: type) -> bool:
    """Whether identities hold a field of a run or of its settings."""
    is_first = issubclass(cls, Run | DecodingConfig) and name in _ALWAYS_WRITTEN
    return is_first or name not in (defaults := defaults_of(cls)) or value != defaults[name]
