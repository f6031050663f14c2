"""`lm-eval-codd inspect CKPT`: by the room that reads such checkpoints."""

from __future__ import annotations

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.terminal.parser import Parser


def main(argv: list[str] | None = None) -> int:
    """Print a checkpoint's description; the exit status. Raises `ValueError`, one line, where it has none."""
    named = _named(argv)
    if named is not None and named[0].endswith(".jpc"):
        raise ValueError(
            f"`{named[0]}` is a circuit, not a checkpoint; `lm-eval-codd convert-circuit` says what it holds"
        )
    if named is not None and _is_coupling(named[0]):
        from lm_eval_codd.latent.inspect import main as say
    elif named is not None and _is_dit(*named):
        from lm_eval_codd.dit.inspect import main as say
    else:
        from lm_eval_codd.backbones.inspect import main as say
    return say(argv)


def _named(argv: list[str] | None) -> tuple[str, str | None] | None:
    """Checkpoint and revision that the arguments name; None where they say nothing yet."""
    parser = Parser(add_help=False)
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--revision")
    known, _ = parser.parse_known_args(argv)
    return None if known.checkpoint is None else (known.checkpoint, known.revision)


def _is_coupling(checkpoint: str) -> bool:
    from lm_eval_codd.latent.loading import is_coupling

    return is_coupling(checkpoint)


def _is_dit(checkpoint: str, revision: str | None) -> bool:
    from lm_eval_codd.dit.config import MODEL_TYPES
    from lm_eval_codd.dit.lightning import is_lightning

    if is_lightning(checkpoint):
        return True
    try:
        config = find_checkpoint(checkpoint, revision, files=CONFIG_FILES).config
    except CheckpointError:
        return False  # which is then said by the room that reads all others
    return config.get("model_type") in MODEL_TYPES
