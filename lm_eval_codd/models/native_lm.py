"""`--model diffusion_gemma`: DiffusionGemma in lm-eval, by transformers' own `generate`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.backbones.native import load_native
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.models.arguments import (
    check_checkpoint,
    choose_device,
    choose_max_length,
    json_object,
    true_or_false,
    whole_number,
)
from lm_eval_codd.models.evaluation import Evaluation, running_evaluation
from lm_eval_codd.models.gen_kwargs import LIKELIHOOD_SETTINGS, SETTINGS, spell_none, stop_strings
from lm_eval_codd.models.native_setup import NativeSetup
from lm_eval_codd.models.native_work import NativeAnswering
from lm_eval_codd.models.pairs import where
from lm_eval_codd.models.requests import Prompt
from lm_eval_codd.models.texts import Texts
from lm_eval_codd.models.writing import WritingLM
from lm_eval_codd.settings.native import NativeSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch
    from lm_eval.api.instance import Instance

    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.requests import Request

_OWN: Final = {field.name: field for field in dataclasses.fields(NativeSettings)}
# What models with a mask read, and this one has nothing of.
_OF_OTHERS: Final = frozenset(
    {*SETTINGS, *LIKELIHOOD_SETTINGS, "pc", "pc_revision", "planner", "planner_revision", "peft", "peft_revision"}
    | {"family", "attention"}
) - frozenset(_OWN)


class DiffusionGemma(WritingLM[NativeSettings]):
    """DiffusionGemma: canvases of random ids, denoised by the class's own `generate`.

    Every field of `NativeSettings` is an argument too. Who wins: these arguments, then `--gen_kwargs`, then the
    checkpoint's generation_config.json, then the class's defaults; a task's own temperature and the like never override
    them, its `until` strings cut the text. Answers are made one at a time, so `batch_size` does nothing.

    Args:
        pretrained: folder or hub id of the checkpoint.
        tokenizer: folder or hub id of another tokenizer than the checkpoint's.
        revision: branch, tag or commit on the hub.
        dtype: of the weights; None or `auto` is the checkpoint's own.
        device: see `choose_device`.
        device_map: as in transformers (`auto`), to spread a checkpoint over several devices instead.
        max_length: prompt and answer together, in tokens; the checkpoint's by default.
        batch_size: accepted.
        max_batch_size: accepted.
        add_bos_token: as of `DiffusionLM`.
        chat_template_args: likewise.
        journal: a folder in which every answer is written down as soon as it is made, and looked up.
        trust_remote_code: accepted; no checkpoint's code is ever run.
        **settings: fields of `NativeSettings`.

    Raises:
        ValueError: one line, for an argument that is unknown, impossible, missing, or of models with a mask.
    """

    settings = NativeSettings
    not_read = tuple(sorted(_OF_OTHERS))
    always_draws = "canvases begin as random ids"
    no_likelihood = (
        "DiffusionGemma has no likelihood: it denoises random ids, and its authors define none; ask for tasks that "
        "generate"
    )

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        tokenizer: str | None = None,
        revision: str | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        device_map: str | dict[str, Any] | None = None,
        max_length: int | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        add_bos_token: bool | None = None,
        chat_template_args: dict[str, Any] | str | None = None,
        journal: str | None = None,
        trust_remote_code: bool | None = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        self._check_given(settings)
        example = "a folder or a hub id, such as google/diffusiongemma-26B-A4B-it"
        pretrained = check_checkpoint(settings, self._arguments(), pretrained, trust=trust_remote_code, example=example)
        add_bos_token = true_or_false("add_bos_token", add_bos_token)
        chat_template_args = json_object("chat_template_args", chat_template_args)
        max_length = None if max_length is None else whole_number("max_length", max_length)
        self._given = spell_none(settings, self._fields())
        evaluation = running_evaluation() or Evaluation()
        self._resolve_settings(evaluation)
        self._prepare(evaluation, batch_size=batch_size, max_batch_size=max_batch_size, journal=journal)
        computed_on = choose_device(device, self._ranks.local_rank) if device_map is None else device
        revision = None if revision is None else str(revision)
        self.tokenizer = load_plain_tokenizer(tokenizer or pretrained, None if tokenizer else revision)
        self._texts = Texts(self.tokenizer, tokenizer or pretrained, add_bos_token, chat_template_args)
        self.native = load_native(pretrained, dtype, computed_on, revision, device_map=device_map)
        self._max_length = choose_max_length(max_length, self.native.max_length)
        self._check_room(self.config)
        made_from = {
            **{"pretrained": pretrained, "revision": revision, "tokenizer": tokenizer},
            **{"add_bos_token": add_bos_token, "chat_template_args": chat_template_args},
        }
        self._begin(self.native.device, made_from)
        self._answering = NativeAnswering(self.native, self._journal)

    @classmethod
    def _check_given(cls, given: Mapping[str, Any]) -> None:
        """Raise `ValueError` for a setting of models with a mask, by its name."""
        for name, value in given.items():
            if name in _OF_OTHERS:
                raise ValueError(
                    f"`{name}={value}` is of models with a mask, and DiffusionGemma has none: transformers' own "
                    f"`generate` decodes it, by {', '.join(_OWN)}; leave it out"
                )

    def _setup(self) -> NativeSetup:
        return NativeSetup(
            config=self.config,
            native=self.native,
            max_length=self.max_length,
            world_size=self.world_size,
            lacks_template=bool(self.tokenizer.chat_template)
            and not (self.has_applied_chat_template or self._is_plain),
        )

    def _remarks(self, groups: Mapping[NativeSettings, Any]) -> Iterable[str]:
        if self._batch_size.now not in (None, 1):
            yield (
                f"`batch_size={self._batch_size.now}` does nothing: `generate` draws a batch from one stream, so "
                "answers are made one at a time, and do not depend on each other"
            )

    def _config_of(self, instance: Instance, evaluation: Evaluation) -> NativeSettings:
        config = self._resolved(evaluation)
        self._check_room(config)
        return config

    def _check_room(self, config: NativeSettings) -> None:
        if self._room(config) < 1:
            raise ValueError(
                f"`gen_length={config.gen_length}`, in canvases of {self.native.canvas_length}, leaves no room for a "
                f"prompt in `max_length={self.max_length}`; use a smaller gen_length"
            )

    def _room(self, config: NativeSettings) -> int:
        return self.native.room_for(config.gen_length) - (self.native.max_length - self.max_length)

    def _prompt(self, instance: Instance, config: NativeSettings) -> Prompt:
        prompt, room = self.tok_encode(instance.args[0]), self._room(config)
        if not prompt:
            raise ValueError(f"{where(instance)}: an empty prompt, of which DiffusionGemma makes nothing")
        self._record.totals.truncated_prompts += len(prompt) > room
        return Prompt(prompt[-room:])

    def _text(self, request: Request, generation: Generation, config: NativeSettings) -> str:
        tokens = generation.tokens[: generation.num_answer_tokens]
        return self._texts.answer(tokens, stop_strings(request.instance.args[1]))

    @property
    def eot_token_id(self) -> int:
        """The end token that fills up an answer."""
        return self.native.ends[0]

    @property
    def max_gen_toks(self) -> int:
        """Tokens of an answer."""
        return self.config.gen_length

    @property
    def batch_sizes(self) -> dict[str, int]:
        """For lm-eval's report: one at a time."""
        return {"generate_until": 1}
