"""What both trainings leave behind: the averaged model, and what it was made of."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_codd.dit.saving import fields_of, save_dit
from lm_eval_codd.training.run_folder import outcome

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from lm_eval_codd.dit.model import DiT
    from lm_eval_codd.dit.training.rows import Rows
    from lm_eval_codd.dit.training.settings import RunSettings
    from lm_eval_codd.training.loop import Progress

logger = logging.getLogger(__name__)


def warn_of_warmup(config: RunSettings, total: int) -> None:
    """Say that a run is over before its learning rate is there, as with published defaults on little data."""
    if config.warmup >= total:
        logger.warning(
            "`warmup=%d` is not below the %d updates of this run, so its learning rate is never reached; give a "
            "smaller warmup",
            config.warmup,
            total,
        )


def write_model(output: Path, dit: DiT) -> None:
    """The folder that `load_dit` reads."""
    save_dit(output, fields_of(dit.config), dit.network.state_dict())


def report_of(config: DataclassInstance, dit: DiT, rows: Rows, progress: Progress) -> dict[str, Any]:
    """training.json."""
    return {
        "settings": asdict(config),
        "data": {
            "identity": rows.identity,
            "num_train": len(rows.train),
            "num_held_out": len(rows.held_out),
            "length": rows.length,
            "num_dropped": rows.num_dropped,
        },
        "model": {"algo": dit.algo, "vocab_size": dit.vocab_size, "num_parameters": dit.num_parameters},
        **outcome(progress.history, progress.seconds, dit.device),
    }
