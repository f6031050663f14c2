"""The lm-eval model class: requests in, answers out. Subclasses say of which family they are, if of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lm_eval_codd import decoding
from lm_eval_codd.code_revision.tokens import Tokens
from lm_eval_codd.models.answering import Answering
from lm_eval_codd.models.arguments import (
    Kind,
    argument_names,
    check_arguments,
    choose_device,
    choose_max_length,
    json_object,
    true_or_false,
    whole_number,
)
from lm_eval_codd.models.drafts import is_draft, read_draft, revised
from lm_eval_codd.models.evaluation import Evaluation, running_evaluation
from lm_eval_codd.models.gen_kwargs import Settings, check_room, stop_strings
from lm_eval_codd.models.generations import GenerationLM
from lm_eval_codd.models.likelihoods import LikelihoodLM
from lm_eval_codd.models.masked_setup import MaskedSetup
from lm_eval_codd.models.own_defaults import defaults_of
from lm_eval_codd.models.parts import Sources, load_parts, load_tokenizer_of
from lm_eval_codd.models.recognition import of_family, recognise, unseen_settings
from lm_eval_codd.models.requests import Prompt
from lm_eval_codd.models.scoring import Scoring
from lm_eval_codd.models.texts import Texts
from lm_eval_codd.settings import refuse_shared_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from lm_eval.api.instance import Instance

    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.requests import Request
    from lm_eval_codd.settings import DecodingConfig, Family


class DiffusionLM(GenerationLM, LikelihoodLM):
    """A masked diffusion language model in lm-eval.

    Every field of `DecodingConfig` and of `LikelihoodConfig` is an argument too. Who wins: these arguments, then
    `--gen_kwargs`, then the checkpoint's own defaults, then the family's published ones. A task's own temperature,
    do_sample and max_gen_toks never override them; its `until` strings cut the decoded text. Settings are resolved
    before weights are loaded.

    Args:
        pretrained: folder or hub id of the checkpoint.
        tokenizer: folder or hub id of another tokenizer than the checkpoint's.
        dtype: of the weights; None or `auto` is the checkpoint's own.
        peft: folder or hub id of a LoRA adapter.
        revision, peft_revision, pc_revision: branch, tag or commit on the hub, of the checkpoint, adapter and circuit.
        family: accepted when it is this class's own; of `masked_lm`, as for `load_backbone`.
        attention: `full` or `block`, for a family that has checkpoints of either kind, as for `load_backbone`.
        device: see `choose_device`.
        device_map: as in transformers (`auto`), to spread a checkpoint over several devices instead.
        max_length: prompt and answer together, in tokens; the checkpoint's by default. A prompt that is longer than
            `max_length - gen_length` loses its left end.
        batch_size: requests decoded at once: a number, or `auto` for as many as fit.
        max_batch_size: where `auto` starts.
        add_bos_token: True puts the tokenizer's bos in front of every prompt that does not begin with it, False never.
            None: as the tokenizer does by default, but never in front of a prompt that went through a chat template.
        chat_template_args: more arguments of the chat template, such as `{"enable_thinking": false}`.
        attn_implementation: accepted; attention is torch's scaled_dot_product_attention whatever it says.
        trust_remote_code: accepted; no checkpoint's code is ever run.
        pc: the circuit: a file, a folder or a hub id. For the `codd_` models, and required there.
        planner: folder or hub id of a model of the same vocabulary, which scores what is decided (`decoder=p2`).
        planner_revision: branch, tag or commit on the hub, of the planner.
        own_defaults: whether the checkpoint's own defaults (`lm_eval_codd` in its generation_config.json) are read.
        journal: a folder in which every answer is written down as soon as it is made; those that are there already and
            depend on nothing that changed are not decoded again. None: no journal.
        **settings: fields of `DecodingConfig` and of `LikelihoodConfig`.

    Raises:
        ValueError: one line, for an argument that is unknown, impossible or missing.
    """

    _settings: Settings
    family: ClassVar[Family | None] = None
    example: ClassVar[str]
    takes_circuit: ClassVar[bool] = False

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        tokenizer: str | None = None,
        dtype: str | torch.dtype | None = None,
        peft: str | None = None,
        revision: str | None = None,
        family: str | None = None,
        attention: str | None = None,
        device: str | None = None,
        device_map: str | dict[str, Any] | None = None,
        max_length: int | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        add_bos_token: bool | None = None,
        chat_template_args: dict[str, Any] | str | None = None,
        attn_implementation: str | None = None,
        trust_remote_code: bool | None = False,
        pc: str | None = None,
        peft_revision: str | None = None,
        pc_revision: str | None = None,
        planner: str | None = None,
        planner_revision: str | None = None,
        own_defaults: bool = True,
        journal: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        pretrained = check_arguments(
            self._kind(),
            settings,
            pretrained=pretrained,
            family=family,
            trust=trust_remote_code,
            attn_implementation=attn_implementation,
            pc=pc,
        )
        add_bos_token = true_or_false("add_bos_token", add_bos_token)
        chat_template_args = json_object("chat_template_args", chat_template_args)
        sources = Sources(
            pretrained=pretrained,
            revision=revision,
            peft=peft,
            pc=pc,
            peft_revision=peft_revision,
            pc_revision=pc_revision,
            planner=planner,
            planner_revision=planner_revision,
            tokenizer=tokenizer,
        )
        max_length = None if max_length is None else whole_number("max_length", max_length)
        recognised = (
            recognise(pretrained, sources.revision, family, attention)
            if self.family is None
            else of_family(self.family, attention)
        )
        chat_template_args = {**recognised.template_args, **chat_template_args}
        of_checkpoint, longest = defaults_of(pretrained, sources.revision, recognised, own=own_defaults)
        longest = max_length if longest is None else choose_max_length(max_length, longest)
        evaluation = running_evaluation() or Evaluation()
        typed = {*settings, *evaluation.gen_kwargs}
        self._say(unseen_settings(pretrained, recognised.tokenizer_layout, typed))
        # Where nothing is decoded, neither need an answer fit the model nor a circuit the answer.
        decodes = not evaluation.asks_for_no_text
        if recognised.block_length is not None and not decodes:
            raise ValueError(decoding.no_likelihoods(recognised.family))
        self._settings = Settings(recognised.family, settings, of_checkpoint, longest if decodes else None)
        self._resolve_settings(evaluation)
        refuse_shared_rows(self.config, batch_size)
        if planner is not None:
            decoding.check_takes_planner(self.config)
        self._prepare(evaluation, batch_size=batch_size, max_batch_size=max_batch_size, journal=journal)
        computed_on = choose_device(device, self._ranks.local_rank) if device_map is None else device
        self.tokenizer = load_tokenizer_of(sources, recognised)
        self._texts = Texts(self.tokenizer, tokenizer or pretrained, add_bos_token, chat_template_args)
        self._tokens = Tokens(self.tokenizer, tokenizer or pretrained)
        self.backbone, self.circuit, self.planner = load_parts(
            sources, self.config, recognised, dtype=dtype, device=computed_on, device_map=device_map, decodes=decodes
        )
        self._max_length = choose_max_length(max_length, self.backbone.max_length)
        if decodes:
            check_room(self.config.gen_length, self._max_length)

        made_from = {
            **vars(sources),
            "own_defaults": of_checkpoint,
            "add_bos_token": add_bos_token,
            "chat_template_args": chat_template_args,
        }
        self._begin(self.backbone.device, made_from)
        parts = self.backbone, self.circuit
        self._answering = Answering(*parts, self._batch_size, self._journal, self.planner)
        self._scoring = Scoring(*parts, self._scoring_batch_size, self._journal)

    @classmethod
    def _arguments(cls) -> frozenset[str]:
        return cls._kind().arguments

    @classmethod
    def _kind(cls) -> Kind:
        return Kind(cls.family or "masked_lm", cls.family, cls.example, cls.takes_circuit, argument_names(cls))

    def _setup(self) -> MaskedSetup:
        return MaskedSetup(
            config=self.config,
            backbone=self.backbone,
            circuit=self.circuit,
            planner=self.planner,
            likelihoods=self.likelihoods,
            max_length=self.max_length,
            world_size=self.world_size,
            lacks_template=bool(self.tokenizer.chat_template)
            and not (self.has_applied_chat_template or self._is_plain),
        )

    def _resolve_settings(self, evaluation: Evaluation) -> None:
        self._say(self._settings.remarks(evaluation.gen_kwargs))
        self.config = self._settings.resolve(evaluation.gen_kwargs, seed=evaluation.torch_seed)
        self.likelihoods = self._settings.resolve_likelihoods(evaluation.gen_kwargs, seed=evaluation.torch_seed)

    def _draws(self, config: DecodingConfig) -> bool:
        return config.draws(coupled=self.circuit is not None)

    def _remarks(self, groups: Mapping[DecodingConfig, Sequence[Request]]) -> Iterator[str]:
        """A line for each task that asks for several answers to a row, which nothing would tell apart."""
        for config, group in groups.items():
            asked = {request.instance.task_name: request.instance.repeats for request in group}
            for task, repeats in asked.items() if not self._draws(config) else ():
                if (repeats or 1) > 1:
                    yield (
                        f"{task}: nothing is drawn at `temperature={config.temperature:g}`, so the {repeats} answers "
                        "to a row are equal and one is decoded; give a temperature above 0, such as 0.8"
                    )

    def _config_of(self, instance: Instance, evaluation: Evaluation) -> DecodingConfig:
        config = self._settings.resolve(evaluation.gen_kwargs, instance.args[1], seed=evaluation.torch_seed)
        check_room(config.gen_length, self.max_length)
        if config != self.config:
            self._record.note_settings_of_task(instance.task_name, config, self.config)
        return config

    def _prompt(self, instance: Instance, config: DecodingConfig) -> Prompt:
        if is_draft(instance):
            return read_draft(instance, config, self._tokens, self.max_length)
        prompt = self.tok_encode(instance.args[0])
        room = self.max_length - config.gen_length
        self._record.totals.truncated_prompts += len(prompt) > room
        return Prompt(prompt[-room:])

    def _text(self, request: Request, generation: Generation, config: DecodingConfig) -> str:
        tokens = generation.tokens[: generation.num_answer_tokens] if config.stop_at_eos else generation.tokens
        if request.draft is not None:
            return revised(generation, self._tokens)
        return self._texts.answer(tokens, stop_strings(request.instance.args[1]))

    @property
    def eot_token_id(self) -> int:
        """The end token that fills up an answer."""
        return self.backbone.eos_id

    @property
    def max_gen_toks(self) -> int:
        """Tokens of an answer: `gen_length`."""
        return self.config.gen_length
