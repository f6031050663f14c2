"""What a model is to lm-eval, whatever it computes: arguments, evaluations, texts, ranks, what is kept and counted."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lm_eval.api.model import CacheHook, TemplateLM
from lm_eval.utils import simple_parse_args_string

from lm_eval_codd.models.arguments import from_harness
from lm_eval_codd.models.batching import BatchSize
from lm_eval_codd.models.cache_guard import guard_cache
from lm_eval_codd.models.evaluation import Evaluation, applied_chat_template, running_evaluation
from lm_eval_codd.models.front_door import check_system_instruction, refuse_idle_ranks
from lm_eval_codd.models.journal import Journal
from lm_eval_codd.models.ranks import Ranks
from lm_eval_codd.models.record import Record, surroundings
from lm_eval_codd.names import as_typed, read_as

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from lm_eval_codd.models.record import Setup
    from lm_eval_codd.models.texts import Texts

eval_logger = logging.getLogger("lm_eval.codd")

H = TypeVar("H", bound="HarnessLM")


class HarnessLM(TemplateLM):
    """The part of a model that lm-eval's own conventions make. A subclass loads what answers, and joins the ranks.

    Attributes:
        tokenizer: of prompts and answers.
        has_applied_chat_template: whether the evaluation's prompts went through a chat template.
        has_token_ids: whether it reads and writes `TokenText`, for tasks that are measured on token ids.
    """

    has_token_ids: ClassVar[bool] = False
    tokenizer: PreTrainedTokenizerBase
    _texts: Texts
    _max_length: int

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()
        self._last_tasks: list[weakref.ref[Any]] = []
        self._asked_types: set[str] = set()
        self.has_applied_chat_template = self._is_plain = False

    @classmethod
    def _arguments(cls) -> Collection[str]:
        """What the constructor takes, settings included."""
        raise NotImplementedError

    def _prepare(
        self, evaluation: Evaluation, *, batch_size: int | str, max_batch_size: int | None, journal: str | None
    ) -> None:
        """Make the store of answers and join the ranks: once settings are resolved, before weights are loaded.

        Raises:
            ValueError: one line: an argument is impossible, or a rank would have nothing to do.
        """
        self._batch_size = BatchSize(batch_size, max_batch_size)
        self._scoring_batch_size = BatchSize(batch_size, max_batch_size)
        self._journal = None if journal is None else Journal(str(journal))
        self._ranks = Ranks()
        self._rank, self._world_size = self._ranks.rank, self._ranks.world_size
        refuse_idle_ranks(evaluation, self._world_size)

    def _begin(self, device: torch.device, made_from: Mapping[str, Any]) -> None:
        """Begin the record and open the journal, once weights are loaded.

        Args:
            device: where they are.
            made_from: as of `Record`.
        """
        self._device, self._made_from = device, dict(made_from)
        self._record = self._new_record()
        if self._journal is not None:
            self._journal.start(surroundings(device))

    def _new_record(self) -> Record:
        """With nothing counted yet."""
        return Record(**self._made_from)

    def _setup(self) -> Setup:
        """What answers, for the record."""
        raise NotImplementedError

    def _resolve_settings(self, evaluation: Evaluation) -> None:
        """Settings for an evaluation. Raises `ValueError`, one line, for what cannot be."""
        raise NotImplementedError

    @classmethod
    def create_from_arg_string(cls: type[H], arg_string: str, additional_config: dict | None = None) -> H:
        """From `--model_args` as typed, and lm-eval's own options."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(cls: type[H], arg_dict: dict[str, Any], additional_config: dict | None = None) -> H:
        """From `--model_args` as parsed, and lm-eval's own options (`--batch_size`, `--device`, ...)."""
        evaluation, known = running_evaluation(), cls._arguments()
        typed = {} if evaluation is None else evaluation.gen_kwargs
        with as_typed([*read_as(arg_dict, known), *read_as(typed, known)]):
            return cls(**from_harness(known, arg_dict, additional_config))

    def _start_evaluation(self, request_type: str) -> Evaluation:
        """Settings, counts and warnings anew, where an evaluation asks for its first type of request.

        Outside of lm-eval nothing says where one evaluation ends: everything that is answered then counts together.
        """
        evaluation = running_evaluation()
        if evaluation is not None and not self._goes_on(evaluation, request_type):
            self._say(check_system_instruction(evaluation))
            self._record = self._new_record()
            # With --cache_requests the prompts are there already, and nothing is applied any more.
            self.has_applied_chat_template = bool(evaluation.chat_template)
            self._is_plain = evaluation.wants_no_template
            if not evaluation.use_cache:
                self.cache_hook = CacheHook(None)  # lm-eval leaves an earlier evaluation's in place
        evaluation = evaluation or Evaluation()
        with as_typed(read_as(evaluation.gen_kwargs, self._arguments())):
            self._resolve_settings(evaluation)
        return evaluation

    def _goes_on(self, evaluation: Evaluation, request_type: str) -> bool:
        """Whether this is the evaluation that asked last, with another type of request: each type comes once."""
        tasks = list(evaluation.tasks.values())
        last = [task() for task in self._last_tasks]
        goes_on = len(tasks) == len(last) and all(a is b for a, b in zip(tasks, last, strict=True))
        goes_on = goes_on and request_type not in self._asked_types
        self._last_tasks = [weakref.ref(task) for task in tasks]
        self._asked_types = {*self._asked_types, request_type} if goes_on else {request_type}
        return goes_on

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                eval_logger.warning("%s", line)

    @property
    def max_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self._max_length

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Those in use by kind of request, for lm-eval's report: what `auto` found, or what a halving left."""
        return {}

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids of a text.

        Args:
            string: the text.
            add_special_tokens: whether the tokenizer adds its own (a leading bos). None: as `add_bos_token` says.
            **kwargs: not read.
        """
        if add_special_tokens is not None:
            return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return self._texts.encode(string, templated=self.has_applied_chat_template)

    @property
    def tokenizer_name(self) -> str:
        """Where the tokenizer comes from, in a form that can be part of a file name."""
        return str(self._texts.source).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The chat template that is applied, for the results.

        Args:
            chat_template: `--apply_chat_template`: whether, or which of the tokenizer's by its name.

        Raises:
            ValueError: the tokenizer has no such template.
        """
        return self._texts.template(chat_template)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the tokenizer's template writes it. Raises `ValueError` when it has none."""
        text = self._texts.conversation(
            chat_history, applied_chat_template() or True, add_generation_prompt=add_generation_prompt
        )
        self.has_applied_chat_template = True
        return text

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Take `--use_cache`'s hook. Raises `ValueError` when its answers were made in another way."""
        super().set_cache_hook(cache_hook)
        # A new evaluation, which may find every answer and ask for none.
        self._record = self._new_record()
        self._resolve_settings(running_evaluation() or Evaluation())
        if cache_hook.dbdict is not None:
            guard_cache(cache_hook.dbdict, self._setup().fingerprint())

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Every rank's `tensor`, concatenated."""
        return self._ranks.all_gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Every rank's `obj`, on rank `dst`; None on the others."""
        return self._ranks.gather_object(obj, dst)

    def barrier(self) -> None:
        """Wait for every rank, and exchange what decoding cost: lm-eval calls this once the requests are answered."""
        self._record.totals_of_ranks = self._ranks.all_gather_object(self._record.totals)
        self._record.likelihoods_of_ranks = self._ranks.all_gather_object(self._record.likelihoods)
        self._record.routing_of_ranks = self._ranks.all_gather_object(self._record.routing)

    def get_model_info(self) -> dict[str, Any]:
        """How the answers were made and what that cost, over all ranks: part of `config` in the result."""
        return self._record.as_result(self._setup())
