"""`distil_dit`: a DUO of fewer steps, by discrete consistency distillation (arXiv 2506.10892, section 5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lm_eval_codd.backbones.placement import find_device
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.dit.curriculum import require_duo
from lm_eval_codd.dit.distillation import distillation_loss
from lm_eval_codd.dit.loading import load_dit
from lm_eval_codd.dit.training.learning import Weights, copy_of, load_tensors, tensors_of
from lm_eval_codd.dit.training.noise import gamma_range, gaussian_noise, spread_times
from lm_eval_codd.dit.training.report import report_of, warn_of_warmup, write_model
from lm_eval_codd.dit.training.rows import Rows, check_ids, load_rows
from lm_eval_codd.training.checkpoint import under
from lm_eval_codd.training.loop import run_updates
from lm_eval_codd.training.noise import HELD_OUT_DRAW, Order, generator_for
from lm_eval_codd.training.run_folder import finish, finished_report, refuse_checkpoint, settings_of

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.model import DiT
    from lm_eval_codd.dit.training.settings import DistillationConfig


def distil_dit(config: DistillationConfig, output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Distil a DUO; writes the student's folder, with `training.json` beside it, into `output`.

    The student starts from the teacher's weights (of a .ckpt the averaged ones), and after each round teaches the next.

    Args:
        config: the settings.
        output: a folder; made when missing.
        resume: as for `train_dit`.

    Returns:
        What training.json holds. Its figures are of the averaged weights on held-out rows: `held_out_loss`, the
        divergence from the round's teacher at the round's jump, and `bound` with `bound_stderr`, as for `train_dit`.

    Raises:
        ValueError: one line, as for `train_dit`; or the teacher is no duo.
    """
    if (report := finished_report(output, config, resume=resume)) is not None:
        return report
    refuse_checkpoint(output)
    device = find_device(config.device)
    teacher = load_dit(config.teacher, dtype="float32", device=device)
    require_duo(teacher)
    tokenizer = None if config.tokenizer is None else load_plain_tokenizer(config.tokenizer)
    rows = load_rows(config, tokenizer, teacher.max_length, teacher.config.ids)
    check_ids(config.data, rows, teacher.vocab_size, None)
    learner = _Learner(teacher, rows, config)
    key = {**settings_of(config), "data identity": rows.identity, "teacher identity": teacher.identity}
    total = config.rounds * config.round_steps
    warn_of_warmup(config, total)
    progress = run_updates(learner, output, key, total, config.save_every, "distil", str(device))
    write_model(output, learner.weights.average)
    report = report_of(config, learner.weights.average, rows, progress)
    report["teacher"] = {"source": teacher.source, "identity": teacher.identity}
    finish(output, report)
    return report


class _Learner:
    """A student, the teacher of the round, and the rows."""

    def __init__(self, teacher: DiT, rows: Rows, config: DistillationConfig) -> None:
        self.weights = Weights(copy_of(teacher), config)
        self._teacher = copy_of(teacher)
        self._rows, self._config = rows, config
        self._order = Order(len(rows.train), config.batch_size, config.seed)
        self._ends = gamma_range(teacher.vocab_size, config.gamma_min, config.gamma_max)

    def update(self, step: int) -> tuple[float, bool]:
        """See `Learner`."""
        number, place = divmod(step, self._config.round_steps)
        if number and not place:
            averaged = self._config.next_teacher == "average"
            self._teacher = copy_of(self.weights.average if averaged else self.weights.dit)
        x0 = self._rows.train[self._order.batch(step)[0]]
        loss = self._loss(self.weights.dit, x0, number, generator_for("noise", self._config.seed, step))
        return self.weights.update(loss.mean(), step)

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """See `Learner`. At the end of a round, of that round."""
        number, losses = max(step - 1, 0) // self._config.round_steps, 0.0
        for start in range(0, len(self._rows.held_out), self._config.batch_size):
            x0 = self._rows.held_out[start : start + self._config.batch_size]
            generator = generator_for("noise", self._config.seed, HELD_OUT_DRAW, start)
            losses += float(self._loss(self.weights.average, x0, number, generator).mean(dim=1).sum())
        return {"held_out_loss": losses / len(self._rows.held_out), **self.weights.bound(self._rows.held_out)}

    def state(self) -> dict[str, Tensor]:
        """See `Learner`."""
        return self.weights.state() | tensors_of("teacher", self._teacher)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Learner`."""
        self.weights.load_state(state)
        load_tensors(self._teacher, under("teacher", state))

    def _loss(self, student: DiT, x0: Tensor, number: int, generator: torch.Generator) -> Tensor:
        t = spread_times(len(x0), generator)
        noise = gaussian_noise(x0, student.vocab_size, generator)
        jump = 2**number / self._config.jumps
        return distillation_loss(student, self._teacher, x0, t, jump, noise, *self._ends, self._config.kind)
