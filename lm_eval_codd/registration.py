"""The names this package gives to `lm_eval --model`, and the folders of its data. Imports neither torch nor lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Each value is the module and class where the model is defined, not a re-export: lm-eval compares the two.
MODELS: Final = {
    "llada": "lm_eval_codd.models.llada:LLaDA",
    "dream": "lm_eval_codd.models.dream:Dream",
    "codd_llada": "lm_eval_codd.models.codd:CoddLLaDA",
    "codd_dream": "lm_eval_codd.models.codd:CoddDream",
}


def register() -> None:
    """Add our names to lm-eval's registry. A name that is taken stays as it is; a model is imported when asked for."""
    # The built-in models first: lm-eval adds them only while the registry is empty.
    import lm_eval.models  # noqa: F401
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def tasks_dir() -> Path:
    """The folder of tasks, for lm-eval's `--include_path`: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def paper_dir() -> Path:
    """The folder of the paper's tables and of the sweeps behind them; placed like that of the tasks."""
    package = Path(__file__).resolve().parent
    installed = package / "paper"
    return installed if installed.is_dir() else package.parent / "results" / "paper"
