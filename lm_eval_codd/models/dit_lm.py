"""`--model duo`, `mdlm`, `sedd`, `d3pm`, `dit_ar`, and `dlm` for any of them: the DiT family in lm-eval."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lm_eval_codd import circuits
from lm_eval_codd.carried import TokenText
from lm_eval_codd.dit import load_dit
from lm_eval_codd.dit.loading import read_dit_config
from lm_eval_codd.dit.samplers.coupled import check_circuit, refuse_circuit
from lm_eval_codd.models.arguments import check_checkpoint, choose_device, choose_max_length, whole_number
from lm_eval_codd.models.dit_choices import DIT_SETTINGS, DiTChoices
from lm_eval_codd.models.dit_rows import DiTRows
from lm_eval_codd.models.dit_setup import DiTSetup, DiTTotals
from lm_eval_codd.models.dit_texts import DiTTexts
from lm_eval_codd.models.dit_work import DiTSampling, DiTScoring
from lm_eval_codd.models.evaluation import Evaluation, running_evaluation
from lm_eval_codd.models.gen_kwargs import stop_strings
from lm_eval_codd.models.generations import GenerationLM
from lm_eval_codd.models.likelihoods import LikelihoodLM
from lm_eval_codd.models.pairs import where
from lm_eval_codd.models.record import Record
from lm_eval_codd.models.requests import Prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from lm_eval.api.instance import Instance

    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.pairs import Pair
    from lm_eval_codd.models.requests import Request
    from lm_eval_codd.settings import DiTSettings

eval_logger = logging.getLogger("lm_eval.codd")

_MODEL_OF: Final = {"ar": "dit_ar"}


class DLM(GenerationLM, LikelihoodLM):
    """A model of the DiT family; a subclass says with which algorithm.

    Every field of `DiTSettings` is an argument too. Who wins: these arguments, then `--gen_kwargs`, then a task written
    for such models, then the algorithm's usual ones. Settings are resolved before weights are loaded.

    Args:
        pretrained: folder or hub id of the checkpoint, or a Lightning file (.ckpt).
        algo: duo, mdlm, sedd, d3pm or ar, where the checkpoint does not say it; the layouts are equal, so what is said
            here is believed.
        ema: of a .ckpt, the averaged weights; False takes the last ones.
        mask_id: of the mask token, as for `load_dit`.
        tokenizer: folder or hub id. None: tokenizer.json beside the checkpoint's weights; without one, requests of ids
            are answered, and text is refused.
        dtype: of the weights; None or `auto` is the checkpoint's own.
        revision, pc_revision: branch, tag or commit on the hub, of the checkpoint and the circuit.
        device: see `choose_device`.
        max_length: tokens of a row; the checkpoint's by default.
        batch_size: rows at once: a number, or `auto` for as many as fit.
        max_batch_size: where `auto` starts.
        pc: a circuit (file, folder or hub id) that couples what leaves the mask in one step: mdlm, sedd, d3pm. An
            extension without reference.
        journal: a folder in which every sample and bound is written down as soon as it is made, and looked up.
        trust_remote_code: accepted; no checkpoint's code is ever run.
        **settings: fields of `DiTSettings`.

    Raises:
        ValueError: one line, for an argument that is unknown, impossible or missing.
    """

    algo: ClassVar[str | None] = None
    has_token_ids = True
    _samples_by_document = True
    _answering: DiTSampling
    _settings: DiTChoices
    _texts: DiTTexts

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        algo: str | None = None,
        ema: bool = True,
        mask_id: int | None = None,
        tokenizer: str | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        device: str | None = None,
        max_length: int | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        pc: str | None = None,
        pc_revision: str | None = None,
        journal: str | None = None,
        trust_remote_code: bool | None = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        example = "a folder, hub id or .ckpt, such as pretrained=kuleshov-group/mdlm-owt"
        pretrained = check_checkpoint(settings, self._arguments(), pretrained, trust=trust_remote_code, example=example)
        revision, pc_revision = (None if one is None else str(one) for one in (revision, pc_revision))
        config = read_dit_config(pretrained, algo, revision, ema, mask_id)
        self._check_algo(pretrained, algo, config.algo)
        if pc is not None:
            refuse_circuit(config.algo)
        self._max_length = choose_max_length(
            None if max_length is None else whole_number("max_length", max_length), config.model_length
        )
        evaluation = running_evaluation() or Evaluation()
        self._settings = DiTChoices(config.algo, settings, coupled=pc is not None)
        self._resolve_settings(evaluation)
        self._prepare(evaluation, batch_size=batch_size, max_batch_size=max_batch_size, journal=journal)
        computed_on = choose_device(device, self._ranks.local_rank)
        self._texts = DiTTexts.load(pretrained, revision, tokenizer, config)
        circuit = None if pc is None else circuits.load_circuit(pc, revision=pc_revision)
        self.dit = load_dit(pretrained, algo, dtype, computed_on, revision, ema, config.ids.mask)
        if self._texts.is_there:
            self.tokenizer = self._texts.tokenizer
            if self.dit.bos_id is None:
                self.dit.bos_id, self.dit.eos_id = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if circuit is not None:
            check_circuit(self.dit, circuit)
            circuit = circuit.to(device=self.dit.device)
        self.circuit = circuit
        made_from = {
            **{"pretrained": pretrained, "revision": revision, "tokenizer": tokenizer, "ema": ema},
            **{"pc": pc, "pc_revision": pc_revision},
        }
        self._begin(self.dit.device, made_from)
        begin = () if self.dit.bos_id is None else (self.dit.bos_id,)
        self._rows = DiTRows(begin, self.dit.eos_id, self._max_length, self.dit.autoregressive is not None)
        self._answering = DiTSampling(self.dit, circuit, self._batch_size, self._journal, self._max_length)
        self._scoring = DiTScoring(self.dit, self._scoring_batch_size, self._journal)

    @classmethod
    def _arguments(cls) -> frozenset[str]:
        return frozenset({*DIT_SETTINGS, *inspect.signature(cls).parameters} - {"settings"})

    def _check_algo(self, pretrained: str, asked: str | None, algo: str) -> None:
        if self.algo in (None, algo):
            return
        if asked is not None:
            raise ValueError(f"`algo={asked}` is another model's; use --model {_model_of(algo)}")
        raise ValueError(
            f"checkpoint `{pretrained}` says that it is {algo}, and weights of all algorithms look alike; use "
            f"--model {_model_of(algo)}, or say algo={self.algo} if that is what it was trained with"
        )

    def _new_record(self) -> Record:
        return Record(DiTTotals(), **self._made_from)

    def _setup(self) -> DiTSetup:
        return DiTSetup(
            config=dataclasses.replace(self.config, gen_length=self.max_gen_toks),
            dit=self.dit,
            circuit=self.circuit,
            max_length=self.max_length,
            world_size=self.world_size,
            has_tokenizer=self._texts.is_there,
        )

    def _resolve_settings(self, evaluation: Evaluation) -> None:
        self._say(self._settings.remarks(evaluation.gen_kwargs))
        self.config = self._settings.resolve(evaluation.gen_kwargs, seed=evaluation.torch_seed)
        self.likelihoods = self.config
        self._check_room(self.config)

    def _check_room(self, config: DiTSettings) -> None:
        if config.gen_length is not None and config.gen_length > self._max_length:
            raise ValueError(
                f"`gen_length={config.gen_length}` is more than `max_length={self._max_length}`; use at most that"
            )

    # --- text

    def _config_of(self, instance: Instance, evaluation: Evaluation) -> DiTSettings:
        config = self._settings.resolve(evaluation.gen_kwargs, instance.args[1], seed=evaluation.torch_seed)
        self._check_room(config)
        if config != self.config:
            self._record.note_settings_of_task(instance.task_name, config, self.config)
        return config

    def _draws(self, config: DiTSettings) -> bool:
        return True

    def _prompt(self, instance: Instance, config: DiTSettings) -> Prompt:
        tokens = self._ids_of(instance.args[0])
        if not tokens:
            return Prompt([])
        # Without gen_length the answer is what a prompt leaves of the row, so nothing says how much of it to cut.
        room = self.max_length - (config.gen_length or 1)
        if room <= len(self._rows.begin) or (config.gen_length is None and len(tokens) > room):
            raise ValueError(
                f"{where(instance)}: `max_length={self.max_length}` has no room for a prompt of {len(tokens)} tokens "
                f"and its answer; give a smaller gen_length, which cuts prompts at the left"
            )
        totals = self._totals
        totals.truncated_prompts += len(tokens) > room
        totals.clamped_prompts += 1
        return Prompt(self._rows.shortened(tokens, room))

    def _text(self, request: Request, generation: Generation, config: DiTSettings) -> TokenText:
        ids = generation.tokens[len(request.prompt) :]
        self._totals.tokens_without_text += self._texts.num_without_text(ids)
        text = self._texts.sample(ids, stop_strings(request.instance.args[1]), is_whole=not request.prompt)
        return TokenText(text, ids, generation.num_forward)

    @property
    def _totals(self) -> DiTTotals:
        totals = self._record.totals
        assert isinstance(totals, DiTTotals)
        return totals

    # --- tokens

    def _ids_of(self, text: str) -> list[int]:
        """Of a text; those that it carries as they are, else behind the begin token. None of an empty one."""
        if isinstance(text, TokenText):
            return list(text.ids)
        return self.tok_encode(text) if text else []

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids of a text behind the begin token, where the model has one.

        Args:
            string: the text.
            add_special_tokens: False leaves the begin token out.
            **kwargs: not read.
        """
        begin = () if add_special_tokens is False else self._rows.begin
        return [*begin, *self._texts.ids(string)]

    # --- log-likelihoods

    def _fitted(self, request: Instance, prompt: Sequence[int], target: Sequence[int], config: Any) -> Pair:
        pair = self._rows.pair(request, prompt, target, config)
        self._record.likelihoods.truncated_contexts += len(pair.prompt) < len(prompt)
        return pair

    def _windows(self, request: Instance) -> list[Pair]:
        """The text's own ids as one window of which all is scored; else windows behind a begin token each."""
        text = request.args[-1]  # lm-eval 0.5 puts an empty context before it
        if not isinstance(text, TokenText):
            return self._rows.windows(self._texts.ids(text), self.likelihoods)
        return [self._rows.whole(request, text.ids, self.likelihoods)] if text.ids else []

    def _scored(self, pair: Pair) -> tuple[int, ...]:
        return (*pair.prompt, *pair.target) if pair.config.mode == "joint" else pair.target

    # --- what lm-eval asks

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends a row."""
        return self.dit.eos_id

    @property
    def max_gen_toks(self) -> int:
        """Tokens of a sample."""
        return self.config.gen_length or self.max_length


class DUO(DLM):
    """Uniform noise: every token may be wrong until the end."""

    algo = "duo"


class MDLM(DLM):
    """Masks, and a network that is not told the time."""

    algo = "mdlm"


class SEDD(DLM):
    """Masks, and a network that says scores."""

    algo = "sedd"


class D3PM(DLM):
    """Masks in 1000 discrete steps."""

    algo = "d3pm"


class DiTAR(DLM):
    """The autoregressive transformer that the others are compared with."""

    algo = "ar"


def _model_of(algo: str) -> str:
    return _MODEL_OF.get(algo, algo)
