"""`--model coupling`: Coupling Models in lm-eval, which have samples and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval_codd.carried import TokenText
from lm_eval_codd.latent import load_coupling
from lm_eval_codd.models.arguments import check_checkpoint, choose_device
from lm_eval_codd.models.coupling_setup import CouplingSetup
from lm_eval_codd.models.coupling_texts import CouplingTexts
from lm_eval_codd.models.coupling_work import CouplingSampling
from lm_eval_codd.models.evaluation import Evaluation, running_evaluation
from lm_eval_codd.models.gen_kwargs import spell_none, stop_strings
from lm_eval_codd.models.pairs import where
from lm_eval_codd.models.requests import Prompt
from lm_eval_codd.models.writing import WritingLM
from lm_eval_codd.settings.coupling import CouplingSettings

if TYPE_CHECKING:
    import torch
    from lm_eval.api.instance import Instance

    from lm_eval_codd.decoding import Generation
    from lm_eval_codd.models.requests import Request


class CouplingLM(WritingLM[CouplingSettings]):
    """A Coupling Model: unconditional samples of one length.

    Every field of `CouplingSettings` is an argument too. Who wins: these arguments, then `--gen_kwargs`; a task's own
    temperature and the like never override them. Its requests have no prompt, and each is a function of its document's
    number and the seed.

    Args:
        pretrained: a `.pt` of the training code.
        tokenizer: folder or hub id of its tokenizer; without one, a sample's text is its ids.
        ema: the averaged weights, where the file has any; False takes the last ones.
        mask_id: of a latent_mdm, where the file does not say it.
        dtype: of the weights; None or `auto` is the file's own.
        device: see `choose_device`.
        batch_size: samples at once: a number, or `auto` for as many as fit.
        max_batch_size: where `auto` starts.
        journal: a folder in which every sample is written down as soon as it is made, and looked up.
        trust_remote_code: accepted; no checkpoint's code is ever run.
        **settings: fields of `CouplingSettings`.

    Raises:
        ValueError: one line, for an argument that is unknown, impossible or missing.
    """

    settings = CouplingSettings
    always_draws = "latents are always drawn"
    no_likelihood = (
        "a Coupling Model has no likelihood: it gives samples alone; judge them with --tasks dlm_gen_ppl, "
        "--metadata protocol=coupling"
    )
    _texts: CouplingTexts
    has_token_ids = True
    _samples_by_document = True

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        tokenizer: str | None = None,
        ema: bool = True,
        mask_id: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        journal: str | None = None,
        trust_remote_code: bool | None = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        example = "a .pt of the training code, such as pretrained=step_1000.pt"
        pretrained = check_checkpoint(settings, self._arguments(), pretrained, trust=trust_remote_code, example=example)
        self._given = spell_none(settings, self._fields())
        evaluation = running_evaluation() or Evaluation()
        self._resolve_settings(evaluation)
        self._prepare(evaluation, batch_size=batch_size, max_batch_size=max_batch_size, journal=journal)
        self.model = load_coupling(pretrained, dtype, choose_device(device, self._ranks.local_rank), ema, mask_id)
        self.config.check_goes_with(self.model.kind, self.model.source)
        self._max_length = self.model.length
        self._texts = CouplingTexts.of(pretrained, tokenizer, self.model.vocab_size)
        if self._texts.is_there:
            self.tokenizer = self._texts.tokenizer
        self._begin(self.model.device, {"pretrained": pretrained, "tokenizer": tokenizer, "ema": ema})
        self._answering = CouplingSampling(self.model, self._batch_size, self._journal)

    def _setup(self) -> CouplingSetup:
        return CouplingSetup(
            config=self.config, model=self.model, max_length=self.max_length, world_size=self.world_size
        )

    def _config_of(self, instance: Instance, evaluation: Evaluation) -> CouplingSettings:
        config = self._resolved(evaluation)
        config.check_goes_with(self.model.kind, self.model.source)
        return config

    def _prompt(self, instance: Instance, config: CouplingSettings) -> Prompt:
        if instance.args[0]:
            raise ValueError(
                f"{where(instance)}: a Coupling Model takes no prompt: it makes texts of {self.model.length} tokens "
                "from noise alone; use --tasks dlm_gen_ppl, --metadata protocol=coupling"
            )
        return Prompt([])

    def _text(self, request: Request, generation: Generation, config: CouplingSettings) -> TokenText:
        text = self._texts.sample(generation.tokens, stop_strings(request.instance.args[1]), is_whole=False)
        return TokenText(text, generation.tokens, generation.num_forward)

    @property
    def eot_token_id(self) -> int | None:
        """The tokenizer's padding, which fills up a text."""
        return self._texts.pad_id

    @property
    def max_gen_toks(self) -> int:
        """Tokens of a sample."""
        return self.model.length
