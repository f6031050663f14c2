"""`train_dit`: a model of the family from nothing, from settings to a folder that `load_dit` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.placement import find_device
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.dit.config import DiTConfig, Ids
from lm_eval_codd.dit.curriculum import curriculum_loss
from lm_eval_codd.dit.training.learning import Weights, new_dit
from lm_eval_codd.dit.training.noise import bound_of_batch, gamma_range, gaussian_noise, spread_times
from lm_eval_codd.dit.training.report import report_of, warn_of_warmup, write_model
from lm_eval_codd.dit.training.rows import Rows, check_ids, load_rows
from lm_eval_codd.training.loop import run_updates
from lm_eval_codd.training.noise import Order, generator_for
from lm_eval_codd.training.run_folder import finish, finished_report, refuse_checkpoint, settings_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from lm_eval_codd.dit.model import DiT
    from lm_eval_codd.dit.training.settings import DiTTrainingConfig


def train_dit(config: DiTTrainingConfig, output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train a model; writes its folder, with `training.json` beside it, into `output`.

    In float32, 20 bytes a parameter with gradients, AdamW's moments and the average. The curriculum's noise is
    [batch_size, length, vocab_size] numbers several times over.

    Args:
        config: the settings.
        output: a folder; made when missing.
        resume: go on from the checkpoint in `output`; without one there, start; a run that is finished stays as it is.

    Returns:
        What training.json holds. Its figures are of the averaged weights, on held-out rows that are always noised
        alike: `held_out_loss` and `bound`, the bound in nats per token (ar: exact, of all tokens but the first), with
        `bound_stderr` over the rows.

    Raises:
        ValueError: one line; something does not fit, or `output` holds a run and `resume` is not given, or one with
            other settings.
    """
    if (report := finished_report(output, config, resume=resume)) is not None:
        return report
    refuse_checkpoint(output)
    device = find_device(config.device)
    tokenizer = None if config.tokenizer is None else load_plain_tokenizer(config.tokenizer)
    vocab_size, ids = _vocabulary(config, tokenizer)
    rows = load_rows(config, tokenizer, config.length, ids)
    check_ids(config.data, rows, vocab_size, None if config.algo == "duo" else ids.mask)
    dit = new_dit(_network(config, rows.length, vocab_size, ids), config.seed, device)
    learner = _Learner(dit, rows, config)
    warn_of_warmup(config, config.steps)
    key = {**settings_of(config), "data identity": rows.identity}
    progress = run_updates(learner, output, key, config.steps, config.save_every, config.algo, str(device))
    write_model(output, learner.weights.average)
    report = report_of(config, learner.weights.average, rows, progress)
    finish(output, report)
    return report


def _vocabulary(config: DiTTrainingConfig, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int, Ids]:
    """Logit columns, and special tokens: those that are given, else the tokenizer's."""
    if tokenizer is None and config.vocab_size is None:
        raise ValueError("`vocab_size` is not known without a `tokenizer`; give one of them")
    known = _ids_of(tokenizer) if tokenizer is not None else Ids((config.vocab_size or 1) - 1, None, None)
    ids = Ids(
        known.mask if config.mask_id is None else config.mask_id,
        known.bos if config.bos_id is None else config.bos_id,
        known.eos if config.eos_id is None else config.eos_id,
    )
    size = config.vocab_size
    if size is None:
        assert tokenizer is not None
        size = 1 + max(ids.mask, *tokenizer.get_vocab().values())
    for name, value in (("mask_id", ids.mask), ("bos_id", ids.bos), ("eos_id", ids.eos)):
        if value is not None and value >= size:
            raise ValueError(f"`{name}={value}` is outside of `vocab_size={size}`; use an id below it")
    return size, ids


def _ids_of(tokenizer: PreTrainedTokenizerBase) -> Ids:
    """As in the published models, a mask that the tokenizer lacks comes last, in the place of padding where that is."""
    bos, eos, pad, mask = (getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad", "mask"))
    if mask is None:
        last = max(tokenizer.get_vocab().values())
        mask = last if pad == last and pad not in (bos, eos) else last + 1
    return Ids(mask, bos, eos)


def _network(config: DiTTrainingConfig, length: int, vocab_size: int, ids: Ids) -> DiTConfig:
    return DiTConfig(
        algo=config.algo,
        vocab_size=vocab_size,
        hidden_dim=config.hidden_dim,
        cond_dim=config.cond_dim,
        n_blocks=config.n_blocks,
        n_heads=config.n_heads,
        model_length=length,
        causal=config.algo == "ar",
        time_conditioning=config.algo not in ("mdlm", "ar"),
        ids=ids,
    )


class _Learner:
    """A model, its rows, and the loss of an update."""

    def __init__(self, dit: DiT, rows: Rows, config: DiTTrainingConfig) -> None:
        self.weights = Weights(dit, config)
        self._rows, self._config = rows, config
        self._order = Order(len(rows.train), config.batch_size, config.seed)
        if config.curriculum_steps:
            self._ends = gamma_range(dit.vocab_size, config.gamma_min, config.gamma_max)

    def update(self, step: int) -> tuple[float, bool]:
        """See `Learner`."""
        x0 = self._rows.train[self._order.batch(step)[0]]
        generator = generator_for("noise", self._config.seed, step)
        return self.weights.update(self._loss(x0, step, generator).mean(), step)

    def _loss(self, x0: Tensor, step: int, generator: torch.Generator) -> Tensor:
        dit = self.weights.dit
        if step >= self._config.curriculum_steps:
            return bound_of_batch(dit, x0, generator)
        t = spread_times(len(x0), generator)
        noise = gaussian_noise(x0, dit.vocab_size, generator)
        return curriculum_loss(dit, x0, t, noise, *self._ends, self._config.tau)

    def measure(self, step: int) -> dict[str, float]:
        """See `Learner`."""
        figures = self.weights.bound(self._rows.held_out)
        return {"held_out_loss": figures["bound"], **figures}

    def state(self) -> dict[str, Tensor]:
        """See `Learner`."""
        return self.weights.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Learner`."""
        self.weights.load_state(state)
