"""Fine-tuning a backbone to an objective, from settings to a folder that `load_backbone` reads."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from tqdm import tqdm

from lm_eval_codd.backbones import load_backbone, load_tokenizer
from lm_eval_codd.backbones.checkpoint import find_checkpoint
from lm_eval_codd.backbones.saving import Saver
from lm_eval_codd.training.checkpoint import read_checkpoint, under, write_checkpoint
from lm_eval_codd.training.data import Data, Example, load_data
from lm_eval_codd.training.noise import HELD_OUT_DRAW, Order, generator_for
from lm_eval_codd.training.objectives.batch import Batch, Objective
from lm_eval_codd.training.objectives.corrective import Corrective
from lm_eval_codd.training.objectives.dscd import Dscd
from lm_eval_codd.training.objectives.papl import Papl
from lm_eval_codd.training.objectives.path import Path as PathObjective
from lm_eval_codd.training.objectives.repr_align import ReprAlign
from lm_eval_codd.training.run_folder import finish, finished_report, is_interrupted, settings_of

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
_LARGEST_GRADIENT: Final = 1.0


@dataclass
class _State:
    """How far a run is. Order and noise are functions of the seed and the step, so there is no other state."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    num_idle: int = 0  # updates without any gradient


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
    if (output / "config.json").exists() and not is_interrupted(output):
        raise ValueError(f"`output={output}` holds a checkpoint already, which is not overwritten; give another folder")
    backbone = load_backbone(
        config.model, config.family, "float32", config.device, config.revision, mask_id=config.mask_id
    )
    _refuse_blocks(config, backbone)
    saver = Saver(backbone, config.family, config.revision, config.mask_id)
    tokenizer = load_tokenizer(config.model, config.family, config.revision)
    data = load_data(config, tokenizer, backbone)
    train, held_out = (_filled(rows, config.gen_length, backbone.eos_id) for rows in (data.train, data.held_out))
    objective = OBJECTIVES[config.objective](config, backbone, tokenizer)
    learner = _Learner(backbone, objective, config)
    key = {**settings_of(config), "backbone identity": backbone.identity, "data identity": data.identity}
    if config.teacher is not None:
        key["teacher identity"] = find_checkpoint(config.teacher, kind="teacher").identity
    state = _State()
    if is_interrupted(output):
        tensors, said = read_checkpoint(output, key, str(backbone.device))
        learner.load_state(tensors)
        state = _State(said["step"], said["history"], said["seconds"], said["num_idle"])
    output.mkdir(parents=True, exist_ok=True)

    order = Order(len(train), config.batch_size, config.seed)
    total = config.steps or (config.epochs or 1) * order.batches_per_epoch
    started = time.monotonic() - state.seconds

    def note() -> None:
        state.history.append({"step": state.step, "held_out_loss": learner.measure(held_out, total)})
        state.seconds = time.monotonic() - started

    if not state.history:
        note()
    with tqdm(total=total, initial=state.step, desc=config.objective, unit="step") as bar:
        for step in range(state.step, total):
            rows, epoch = order.batch(step)
            loss, moved = learner.update([(row, train[row]) for row in rows.tolist()], epoch, step, total)
            state.num_idle += not moved
            state.step = step + 1
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", held_out=f"{state.history[-1]['held_out_loss']:.4f}", refresh=False)
            if state.step % config.save_every == 0 or state.step == total:
                note()
                write_checkpoint(output, learner.state(), {**asdict(state), "key": key})

    saver.save(output)
    report = _report(config, backbone, data, state)
    finish(output, report)
    if state.num_idle:
        logger.warning(
            "%d of %d updates had no gradient and taught nothing; DSCD, which stops where either part of its loss "
            "passes 5, needs a model that already answers such rows (held-out loss before training %.4f)",
            state.num_idle,
            total,
            state.history[0]["held_out_loss"],
        )
    return report


def _report(config: FineTuningConfig, backbone: Backbone, data: Data, state: _State) -> dict[str, Any]:
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
        "figures": state.history[-1],
        "history": state.history,
        "seconds": round(state.seconds, 1),
        "device": str(backbone.device),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }


class _Learner:
    """A backbone's parameters, their optimizer, and the objective."""

    def __init__(self, backbone: Backbone, objective: Objective, config: FineTuningConfig) -> None:
        self._backbone, self._objective, self._config = backbone, objective, config
        model = backbone.model.requires_grad_(True)
        if not objective.trains_embeddings:
            model.get_input_embeddings().requires_grad_(False)
            model.get_output_embeddings().requires_grad_(False)
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        matrices = [p for p in self._parameters.values() if p.ndim > 1]
        others = [p for p in self._parameters.values() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=config.lr)
        backbone.learns = True

    def update(self, rows: Sequence[tuple[int, Example]], epoch: int, step: int, total: int) -> tuple[float, bool]:
        """One step on rows and their numbers; the loss before it, and whether it had a gradient.

        Raises:
            ValueError: the loss is not finite.
        """
        loss = self._objective.loss(self._backbone, self._batch(rows, epoch), step, total)
        value = _finite(loss.item(), f"of update {step}")
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), _LARGEST_GRADIENT)
        warmup = max(round(_WARMUP * total), 1)
        for group in self._adam.param_groups:
            group["lr"] = self._config.lr * min((step + 1) / warmup, 1 - step / total)
        self._adam.step()
        return value, bool(norm)

    @torch.no_grad()
    def measure(self, examples: Sequence[Example], total: int) -> float:
        """Mean loss over the batches of held-out rows, weighed by their rows.

        Raises:
            ValueError: it is not finite.
        """
        numbered, size = list(enumerate(examples)), self._config.batch_size
        losses = 0.0
        for start in range(0, len(numbered), size):
            rows = numbered[start : start + size]
            batch = self._batch(rows, HELD_OUT_DRAW)
            losses += len(rows) * self._objective.loss(self._backbone, batch, total, total).item()
        return _finite(losses / len(numbered), "on held-out rows")

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here."""
        tensors = {f"model.{name}": parameter.detach() for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            tensors |= {f"{part}.{name}": tensor for part, tensor in self._adam.state[parameter].items()}
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        parts = {part: under(part, state) for part in ("model", "step", "exp_avg", "exp_avg_sq")}
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(parts["model"][name])
                self._adam.state[parameter] = {
                    "step": parts["step"][name].cpu(),
                    "exp_avg": parts["exp_avg"][name],
                    "exp_avg_sq": parts["exp_avg_sq"][name],
                }

    def _batch(self, rows: Sequence[tuple[int, Example]], draw: int) -> Batch:
        generators = [generator_for("noise", self._config.seed, draw, row) for row, _ in rows]
        return Batch.of([example for _, example in rows], generators)


def _finite(loss: float, what: str) -> float:
    if not math.isfinite(loss):
        raise ValueError(f"the loss {what} is {loss}; give a smaller `lr`, and another `output`")
    return loss


def _filled(examples: Sequence[Example], gen_length: int | None, eos_id: int) -> list[Example]:
    """Answers filled up to `gen_length` with end-of-text, as decoding leaves them."""
    return [Example(e.prompt, e.answer + [eos_id] * ((gen_length or 0) - len(e.answer))) for e in examples]


def _refuse_blocks(config: FineTuningConfig, backbone: Backbone) -> None:
    if backbone.block_length is not None:
        raise ValueError(
            f"`model={config.model}` attends by blocks of {backbone.block_length}, and these objectives noise a whole "
            "answer at once, which such a model never sees; give one whose positions see all others"
        )
