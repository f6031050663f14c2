"""Fine-tuning a backbone to an objective, from settings to a folder that `load_backbone` reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from lm_eval_codd.backbones import load_backbone, load_tokenizer
from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.backbones.saving import Saver
from lm_eval_codd.training.adam import Adam
from lm_eval_codd.training.data import Data, Example, load_data
from lm_eval_codd.training.loop import Progress, run_updates
from lm_eval_codd.training.noise import HELD_OUT_DRAW, Order, generator_for
from lm_eval_codd.training.objectives.batch import Batch, Objective
from lm_eval_codd.training.objectives.corrective import Corrective
from lm_eval_codd.training.objectives.dscd import Dscd
from lm_eval_codd.training.objectives.papl import Papl
from lm_eval_codd.training.objectives.path import Path as PathObjective
from lm_eval_codd.training.objectives.repr_align import ReprAlign
from lm_eval_codd.training.run_folder import finish, finished_report, outcome, refuse_checkpoint, settings_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig


logger = logging.getLogger(__name__)

# By the names of `fine_tuning_settings.OBJECTIVES`: what makes the objective of a run, a teacher included.
OBJECTIVES: Final[dict[str, Callable[[FineTuningConfig, Backbone, PreTrainedTokenizerFast], Objective]]] = {
    "papl": Papl.build,
    "path": PathObjective.build,
    "repr_align": ReprAlign.build,
    "dscd": Dscd.build,
    "corrective": Corrective.build,
}
_WARMUP: Final = 0.05


def fine_tune(config: FineTuningConfig, output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Fine-tune a backbone; writes its folder, with `training.json` beside it, into `output`.

    Weights are trained in float32, 16 bytes a parameter with gradients and AdamW's moments, and written in the dtype
    of the checkpoint that they come from.

    Args:
        config: the settings.
        output: a folder; made when missing.
        resume: go on from the checkpoint in `output`; without one there, start; a run that is finished stays as it is.

    Returns:
        What training.json holds. Its figures are the mean loss over held-out rows, always noised alike.

    Raises:
        ValueError: one line; something does not fit, or `output` holds a run and `resume` is not given, or one with
            other settings.
    """
    if (report := finished_report(output, config, resume=resume)) is not None:
        return report
    refuse_checkpoint(output)
    backbone = load_backbone(
        config.model, config.family, "float32", config.device, config.revision, mask_id=config.mask_id
    )
    _refuse_blocks(config, backbone)
    saver = Saver(backbone, config.family, config.revision, config.mask_id)
    tokenizer = load_tokenizer(config.model, config.family, config.revision)
    data = load_data(config, tokenizer, backbone)
    train, held_out = (_filled(rows, config.gen_length, backbone.eos_id) for rows in (data.train, data.held_out))
    objective = OBJECTIVES[config.objective](config, backbone, tokenizer)
    key = {**settings_of(config), "backbone identity": backbone.identity, "data identity": data.identity}
    if config.teacher is not None:
        key["teacher identity"] = find_checkpoint(config.teacher, kind="teacher").identity
    order = Order(len(train), config.batch_size, config.seed)
    total = config.steps or (config.epochs or 1) * order.batches_per_epoch
    learner = _Learner(backbone, objective, config, train, held_out, order, total)
    progress = run_updates(learner, output, key, total, config.save_every, config.objective, str(backbone.device))

    saver.save(output)
    report = _report(config, backbone, data, progress)
    finish(output, report)
    if progress.num_idle:
        logger.warning(
            "%d of %d updates had no gradient and taught nothing; DSCD, which stops where either part of its loss "
            "passes 5, needs a model that already answers such rows (held-out loss before training %.4f)",
            progress.num_idle,
            total,
            progress.history[0]["held_out_loss"],
        )
    return report


def _report(config: FineTuningConfig, backbone: Backbone, data: Data, progress: Progress) -> dict[str, Any]:
    return {
        "settings": asdict(config),
        "data": {
            "identity": data.identity,
            "num_train": len(data.train),
            "num_held_out": len(data.held_out),
            "num_dropped": data.num_dropped,
            "num_cut": data.num_cut,
        },
        "backbone": {"source": backbone.source, "identity": backbone.identity, "family": backbone.family},
        **outcome(progress.history, progress.seconds, backbone.device),
    }


class _Learner:
    """A backbone's parameters, their optimizer, the objective, and the rows."""

    def __init__(
        self,
        backbone: Backbone,
        objective: Objective,
        config: FineTuningConfig,
        train: Sequence[Example],
        held_out: Sequence[Example],
        order: Order,
        total: int,
    ) -> None:
        self._backbone, self._objective, self._config = backbone, objective, config
        self._train, self._held_out, self._order, self._total = train, held_out, order, total
        model = backbone.model.requires_grad_(True)
        if not objective.trains_embeddings:
            model.get_input_embeddings().requires_grad_(False)
            model.get_output_embeddings().requires_grad_(False)
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._adam = Adam(learned, config.weight_decay)
        backbone.learns = True

    def update(self, step: int) -> tuple[float, bool]:
        """See `Learner`."""
        rows, epoch = self._order.batch(step)
        batch = self._batch([(row, self._train[row]) for row in rows.tolist()], epoch)
        loss = self._objective.loss(self._backbone, batch, step, self._total)
        warmup = max(round(_WARMUP * self._total), 1)
        rate = self._config.lr * min((step + 1) / warmup, 1 - step / self._total)
        return loss.item(), self._adam.update(loss, rate)

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """See `Learner`. The mean over the batches of held-out rows, weighed by their rows."""
        numbered, size, total = list(enumerate(self._held_out)), self._config.batch_size, self._total
        losses = 0.0
        for start in range(0, len(numbered), size):
            rows = numbered[start : start + size]
            batch = self._batch(rows, HELD_OUT_DRAW)
            losses += len(rows) * self._objective.loss(self._backbone, batch, total, total).item()
        return {"held_out_loss": losses / len(numbered)}

    def state(self) -> dict[str, Tensor]:
        """See `Learner`."""
        return self._adam.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Learner`."""
        self._adam.load_state(state)

    def _batch(self, rows: Sequence[tuple[int, Example]], draw: int) -> Batch:
        generators = [generator_for("noise", self._config.seed, draw, row) for row, _ in rows]
        return Batch.of([example for _, example in rows], generators)


def _filled(examples: Sequence[Example], gen_length: int | None, eos_id: int) -> list[Example]:
    """Answers filled up to `gen_length` with end-of-text, as decoding leaves them."""
    return [Example(e.prompt, e.answer + [eos_id] * ((gen_length or 0) - len(e.answer))) for e in examples]


def _refuse_blocks(config: FineTuningConfig, backbone: Backbone) -> None:
    if backbone.block_length is not None:
        raise ValueError(
            f"`model={config.model}` attends by blocks of {backbone.block_length}, and these objectives noise a whole "
            "answer at once, which such a model never sees; give one whose positions see all others"
        )
