"""`lm-eval-codd inspect CKPT`: by the room that reads such checkpoints."""

from __future__ import annotations

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.command_line import Parser


def main(argv: list[str] | None = None) -> int:
    """Print a checkpoint's description; the exit status. Raises `ValueError`, one line, where it has none."""
    if _is_dit(argv):
        from lm_eval_codd.dit.inspect import main as say
    else:
        from lm_eval_codd.backbones.inspect import main as say
    return say(argv)


def _is_dit(argv: list[str] | None) -> bool:
    """Whether the arguments name a checkpoint of the DiT family; where they say nothing yet, it is not."""
    parser = Parser(add_help=False)
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--revision")
    known, _ = parser.parse_known_args(argv)
    if known.checkpoint is None:
        return False
    from lm_eval_codd.dit.config import MODEL_TYPES
    from lm_eval_codd.dit.lightning import is_lightning

    if is_lightning(known.checkpoint):
        return True
    try:
        config = find_checkpoint(known.checkpoint, known.revision, files=CONFIG_FILES).config
    except CheckpointError:
        return False  # which is then said by the room that reads all others
    return config.get("model_type") in MODEL_TYPES
