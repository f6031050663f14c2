"""What lm-eval learns of this package, its models and tasks, and the folders of its data. Imports nothing heavy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.names import near_names
from lm_eval_codd.terminal.errors import end_quietly_in_lm_eval
from lm_eval_codd.terminal.host_errors import explained

# Each value is the module and class where the model is defined, not a re-export: lm-eval compares the two.
MODELS: Final = {
    "llada": "lm_eval_codd.models.llada:LLaDA",
    "dream": "lm_eval_codd.models.dream:Dream",
    "masked_lm": "lm_eval_codd.models.masked_lm:MaskedLM",
    "codd_llada": "lm_eval_codd.models.codd:CoddLLaDA",
    "codd_dream": "lm_eval_codd.models.codd:CoddDream",
    "codd_masked_lm": "lm_eval_codd.models.codd:CoddMaskedLM",
    "duo": "lm_eval_codd.models.dit_lm:DUO",
    "mdlm": "lm_eval_codd.models.dit_lm:MDLM",
    "sedd": "lm_eval_codd.models.dit_lm:SEDD",
    "d3pm": "lm_eval_codd.models.dit_lm:D3PM",
    "dit_ar": "lm_eval_codd.models.dit_lm:DiTAR",
    "dlm": "lm_eval_codd.models.dit_lm:DLM",
    "coupling": "lm_eval_codd.models.coupling_lm:CouplingLM",
    "diffusion_gemma": "lm_eval_codd.models.native_lm:DiffusionGemma",
}


def register() -> None:
    """Add our names to lm-eval's registry, and let our errors end its command line in one line.

    A name that is taken stays as it is; a model is imported when asked for.
    """
    # The built-in models first: lm-eval adds them only while the registry is empty.
    import lm_eval.models  # noqa: F401
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)
    _end_quietly()


def _end_quietly() -> None:
    end_quietly_in_lm_eval((Path(__file__).resolve().parent, tasks_dir()), _about_names)


def _about_names(error: BaseException, model: str) -> str | None:
    """What to do about lm-eval's own error, where it was to evaluate a model of this package, or of nearly its name."""
    if not isinstance(error, ValueError | ConnectionError):
        return None
    models: Collection[str] = MODELS
    if model not in MODELS:
        from lm_eval.api.registry import model_registry

        models = set(model_registry.keys())
        if not MODELS.keys() & near_names(model, models, most=1):
            return None
    return explained(str(error), model, models=models, tasks=task_names(), command="lm-eval")


def register_tasks() -> None:
    """Let lm-eval index our tasks beside its own, without `--include_path`; errors as `register` does.

    A folder that the user includes comes after ours, so that a task of the same name there wins. A `TaskManager`
    without lm-eval's own tasks is left alone.

    Raises:
        TypeError: this lm-eval's `TaskManager` takes no folders.
    """
    from lm_eval.tasks import TaskManager

    _end_quietly()  # lm-eval looks for tasks before it asks for a model
    init = TaskManager.__init__
    if hasattr(init, "_with_codd_tasks"):
        return
    signature = inspect.signature(init)
    if not {"include_path", "include_defaults"} <= set(signature.parameters):
        raise TypeError("TaskManager takes no `include_path`")

    @functools.wraps(init)
    def with_our_tasks(*args: Any, **kwargs: Any) -> None:
        try:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            if given.arguments["include_defaults"]:
                given.arguments["include_path"] = _with_our_folder(given.arguments["include_path"])
        except TypeError:  # arguments that lm-eval refuses, in its own words
            return init(*args, **kwargs)
        return init(*given.args, **given.kwargs)

    with_our_tasks._with_codd_tasks = True  # type: ignore[attr-defined]
    TaskManager.__init__ = with_our_tasks


def _with_our_folder(include_path: str | Path | list[str | Path] | None) -> list[str | Path]:
    given = [include_path] if isinstance(include_path, (str, Path)) else list(include_path or [])
    ours = tasks_dir()
    # Indexed twice, lm-eval would warn that each task replaces itself.
    included = any(ours == Path(folder).resolve() for folder in given)
    return given if included else [str(ours), *given]


def tasks_dir() -> Path:
    """The folder of tasks, for lm-eval's `--include_path`: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def task_names() -> set[str]:
    """The tasks of this package, by lm-eval's names."""
    return {path.stem for path in tasks_dir().glob("*/*.yaml")}


def paper_dir() -> Path:
    """The folder of the paper's tables and of the sweeps behind them; placed like that of the tasks."""
    package = Path(__file__).resolve().parent
    installed = package / "paper"
    return installed if installed.is_dir() else package.parent / "results" / "paper"
