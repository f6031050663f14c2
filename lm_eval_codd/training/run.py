"""A training run from settings to a circuit on disk."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lm_eval_codd.backbones import load_backbone, load_tokenizer
from lm_eval_codd.circuits import HMM, load_circuit, save_circuit
from lm_eval_codd.circuits.files.storage import SAFETENSORS_NAME
from lm_eval_codd.training.checkpoint import Checkpoint
from lm_eval_codd.training.data import Data, load_data, windows_of
from lm_eval_codd.training.evidence import CachedEvidence, LiveEvidence
from lm_eval_codd.training.noise import generator_for
from lm_eval_codd.training.run_folder import finish, finished_report, is_interrupted, outcome, settings_of
from lm_eval_codd.training.stages import ConditionalLikelihood, MaximumLikelihood, Stage, measure
from lm_eval_codd.training.updates import random_circuit

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.evidence import Evidence
    from lm_eval_codd.training.settings import TrainingConfig

logger = logging.getLogger(__name__)


def train_circuit(config: TrainingConfig, output: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train a circuit for a backbone; writes `circuit.safetensors` and `training.json` into `output`.

    Memory on the device, at paper size (H 1024, V 126464) with batch_size 16 and answers of about 160 tokens: backbone
    16 GB in bfloat16; the emission table 0.5 GB and as much again for each of its logits, two moments, gradient, F+, F-
    and a few temporaries, 5 GB; evidence of the ~1300 masked positions of a batch 0.7 GB in float32, and twice that
    while it is made; posteriors of the windows under 0.5 GB. Together below 25 GB. What grows is the evidence: 0.5 MB
    a masked position, so halve `batch_size` where answers are several times longer.

    Args:
        config: the settings.
        output: a folder; made when missing.
        resume: go on from the checkpoint in `output`; without one there, start; a run that is finished stays as it is.

    Returns:
        What training.json holds.

    Raises:
        ValueError: one line; something does not fit, or `output` holds a run and `resume` is not given, or one with
            other settings.
    """
    if (report := finished_report(output, config, resume=resume)) is not None:
        _warn_if_worse(report)
        return report

    backbone = load_backbone(config.backbone, config.family, config.dtype, config.device, config.revision)
    tokenizer = load_tokenizer(config.backbone, config.family, config.revision)
    data = load_data(config, tokenizer, backbone)
    key = {**settings_of(config), "backbone identity": backbone.identity, "data identity": data.identity}
    windows = windows_of(data.train, config.window)
    state = Checkpoint(_initial_circuit(config, backbone, windows), key=key)
    if is_interrupted(output):
        state = Checkpoint.load(output, key, str(backbone.device))
    output.mkdir(parents=True, exist_ok=True)

    held_out = LiveEvidence(backbone, data.held_out, config.window, config.gen_length, config.seed)
    stages: list[Stage] = []
    if config.objective != "conditional":
        stages.append(MaximumLikelihood(windows, config, backbone.device))
    if config.objective != "ml":
        stages.append(ConditionalLikelihood(_evidence(config, backbone, data), len(data.train), config))
    _train(state, stages, held_out, config, output)

    save_circuit(state.circuit, output / SAFETENSORS_NAME)
    report = {
        "settings": asdict(config),
        "data": {
            "identity": data.identity,
            "num_train": len(data.train),
            "num_held_out": len(data.held_out),
            "num_windows": len(windows),
            "num_dropped": data.num_dropped,
            "num_cut": data.num_cut,
        },
        "backbone": {"source": backbone.source, "identity": backbone.identity, "family": backbone.family},
        "circuit": {
            "identity": state.circuit.identity,
            "num_positions": state.circuit.num_positions,
            "num_latents": state.circuit.num_latents,
            "vocab_size": state.circuit.vocab_size,
        },
        **outcome(state.history, state.seconds, backbone.device),
    }
    finish(output, report)
    _warn_if_worse(report)
    return report


def _warn_if_worse(report: dict[str, Any]) -> None:
    figures = report["figures"]
    if figures["coupled"] < figures["backbone"]:
        logger.warning(
            "WARNING: THIS CIRCUIT IS WORSE THAN NONE: held-out text is less likely with it (%.4f a masked token) than "
            "from the backbone alone (%.4f); train longer (--epochs), on more data, or with a smaller --lr",
            figures["coupled"],
            figures["backbone"],
        )


def _train(
    state: Checkpoint, stages: list[Stage], held_out: LiveEvidence, config: TrainingConfig, output: Path
) -> None:
    """Run the stages from where `state` is to their end, in place; a checkpoint and figures every `save_every`."""
    rows = range(len(held_out.examples))
    started = time.monotonic() - state.seconds

    def note(stage: str, step: int) -> None:
        figures = measure(state.circuit, held_out, rows, config.batch_size)
        state.history.append({"stage": stage, "step": step, **figures})

    for number in range(state.stage, len(stages)):
        stage = stages[number]
        stage.load_state(state.optimizer)
        if state.step == 0:
            state.circuit = stage.start(state.circuit)
            note(stage.name, 0)
        with tqdm(total=stage.num_steps, initial=state.step, desc=stage.name, unit="step") as bar:
            bar.set_postfix(_shown(state))
            for step in range(state.step, stage.num_steps):
                state.circuit = stage.step(state.circuit, step)
                bar.update()
                state.step = step + 1
                if state.step % config.save_every and state.step < stage.num_steps:
                    continue
                note(stage.name, state.step)
                bar.set_postfix(_shown(state))
                state.optimizer, state.seconds = stage.state(), time.monotonic() - started
                if state.step < stage.num_steps:
                    state.save(output)
        state.stage, state.step, state.optimizer = number + 1, 0, {}
        state.save(output)


def _shown(state: Checkpoint) -> dict[str, str]:
    """Held-out log-likelihood per masked token."""
    latest = state.history[-1]
    return {"backbone": f"{latest['backbone']:.4f}", "circuit": f"{latest['coupled']:.4f}"}


def _initial_circuit(config: TrainingConfig, backbone: Backbone, windows: Tensor) -> HMM:
    if config.init is not None:
        circuit = load_circuit(config.init, "float32", backbone.device)
        if circuit.num_positions != config.window or circuit.vocab_size != backbone.vocab_size:
            raise ValueError(
                f"`init={config.init}` has windows of {circuit.num_positions} positions over {circuit.vocab_size} "
                f"tokens; it must have {config.window} (`window`) and the backbone's {backbone.vocab_size}"
            )
        return circuit
    counts = windows.flatten().bincount(minlength=backbone.vocab_size).float()
    # Good and Turing: tokens not seen yet are together as frequent as those seen once.
    unseen = counts == 0
    counts[unseen] = max(float((counts == 1).sum()), 1.0) / max(int(unseen.sum()), 1)
    generator = generator_for("start", config.seed)
    return random_circuit(counts.to(backbone.device), config.window, config.num_latents, generator)


def _evidence(config: TrainingConfig, backbone: Backbone, data: Data) -> Evidence:
    options = (backbone, data.train, config.window, config.gen_length, config.seed)
    if config.evidence_cache is None:
        return LiveEvidence(*options, top_k=config.top_k_evidence)
    names = ("window", "gen_length", "seed", "held_out", "limit")
    key = {name: getattr(config, name) for name in names}
    key |= {"backbone identity": backbone.identity, "data identity": data.identity}
    num_rows = len(data.train) * config.evidence_draws
    with tqdm(total=num_rows, desc="evidence", unit="row") as bar:
        return CachedEvidence(
            LiveEvidence(*options),
            Path(config.evidence_cache),
            config.evidence_draws,
            key,
            batch_size=config.batch_size,
            top_k=config.top_k_evidence,
            progress=bar.update,
        )
