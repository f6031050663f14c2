"""Results of models without prompts or masks in the terms of others: the sampler is the rule, its steps a column."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from lm_eval_codd.catalogue import COUPLING, DIT_TITLES, NATIVE
from lm_eval_codd.settings import DecodingConfig, DiTSettings, facts_of
from lm_eval_codd.settings.coupling import CouplingSettings
from lm_eval_codd.settings.dit import PREDICTORS_OF, WHOLE_WINDOWS

__all__ = ["ROW", "SAMPLER_AXES", "in_terms_of_others", "usual_sampler"]

_OF_DIT: Final = {field.name: field for field in dataclasses.fields(DiTSettings)}
_OF_COUPLING: Final = {field.name: field for field in dataclasses.fields(CouplingSettings)}
# Settings of the DiT family's samplers: the rule and the column.
SAMPLER_AXES: Final = tuple(name for name, field in _OF_DIT.items() if facts_of(field).is_axis)
# Those of the rule beside the predictor and the precision.
_RULE_OF_DIT: Final = ("noise_removal", "p_nucleus", "psi_modes", "psi_shares", "psi_times")
# What samples are, where the others have a paradigm; and answers, of DiffusionGemma.
ROW: Final = "row"
CANVASES: Final = "canvases"
# DiffusionGemma's settings that make its rule: none has a counterpart among the others'.
_RULE_OF_NATIVE: Final = ("entropy_bound", "t_min", "t_max", "stability_threshold", "confidence_threshold")


def in_terms_of_others(config: Mapping[str, Any], task_config: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """`config` of a results file as of a masked family with prompts, where it is of none; else as it is.

    Args:
        config: of the results file.
        task_config: of the task in it.
        task: its name.

    Raises:
        ValueError: one line: a setting is impossible, or the algorithm is not known.
    """
    family = config.get("family")
    if family not in ("dit", COUPLING, NATIVE):
        return config
    of_task = _mapping(_mapping(config.get("settings_of_tasks")).get(task))
    given = {**_mapping(config.get("settings")), **of_task}
    own = [f"this project's extension, without a reference: {one}" for one in _texts(config.get("extensions"))]
    translated = {**config, "settings_of_tasks": {}, "warnings": [*own, *_texts(config.get("warnings"))]}
    if family == COUPLING:
        coupling = CouplingSettings(**{name: given[name] for name in _OF_COUPLING if name in given})
        return {**translated, "settings": _of_coupling(str(config.get("layout")), coupling)}
    if family == NATIVE:
        resolved = {
            **_mapping(config.get("generation")),
            **{n: value for n, value in of_task.items() if value is not None},
        }
        return {**translated, "settings": _of_native(resolved)}
    algo = config.get("algo")
    if algo not in DIT_TITLES:
        raise ValueError(f"`config.algo` is {algo!r}, which is none of {', '.join(DIT_TITLES)}")
    settings = DiTSettings(**{name: given[name] for name in _OF_DIT if name in given})
    translated["family"] = algo
    if task_config.get("output_type", "generate_until") == "generate_until":
        return {**translated, "settings": _of_samples(str(algo), settings, config.get("model_max_length"))}
    bounds = _of_bounds(str(algo), settings, _mapping(config.get("likelihoods")), task_config)
    return {**translated, "settings": {"paradigm": ROW, "seed": settings.seed}, "likelihoods": bounds}


def usual_sampler(algo: str) -> dict[str, Any]:
    """The settings of `SAMPLER_AXES` that are usual for an algorithm of the DiT family."""
    usual = {name: _OF_DIT[name].default for name in SAMPLER_AXES}
    return usual | {"predictor": next(iter(PREDICTORS_OF.get(algo, ())), None)}


def _of_samples(algo: str, settings: DiTSettings, max_length: object) -> dict[str, Any]:
    axes, usual = {name: getattr(settings, name) for name in SAMPLER_AXES}, usual_sampler(algo)
    others = [f"{name}={axes[name]}" for name in _RULE_OF_DIT if axes[name] != usual[name]]
    words = ["left to right"] if algo == "ar" else [str(settings.predictor), *others]
    words += [] if settings.use_float64 else [settings.precision]
    # A whole row has the length that results give for the model.
    is_whole = settings.gen_length in (None, max_length)
    length = DecodingConfig.gen_length if is_whole else settings.gen_length
    circuit = {"pc_frac": settings.pc_frac, "reverse_frac": settings.reverse_frac}
    return {**axes, **circuit, "alg": " ".join(words), "paradigm": ROW, "gen_length": length, "seed": settings.seed}


def _of_bounds(
    algo: str, settings: DiTSettings, likelihoods: Mapping[str, Any], task_config: Mapping[str, Any]
) -> dict[str, Any]:
    if not likelihoods:
        return {}
    is_of_ids = "packing" in _mapping(task_config.get("metadata"))
    mode = str(likelihoods.get("windows_of_ids") if is_of_ids else settings.mode)
    what = str(likelihoods.get("what") or "").removesuffix(WHOLE_WINDOWS)  # older results never say it
    if is_of_ids and algo != "ar" and settings.mode != "joint":
        what += WHOLE_WINDOWS
    asked = {"estimator": "exact" if algo == "ar" else mode, "num_samples": settings.num_samples}
    return {**likelihoods, "what": what, "settings": asked}


def _of_coupling(layout: str, settings: CouplingSettings) -> dict[str, Any]:
    usual = {name: field.default for name, field in _OF_COUPLING.items()}
    given = {name: value for name, value in vars(settings).items() if name not in ("seed", "steps")}
    words = [f"{name}={value:g}" for name, value in given.items() if value != usual[name]]
    rule = " ".join([layout, *words])
    return {"alg": rule, "paradigm": ROW, "num_steps": settings.steps or 1, "seed": settings.seed}


def _of_native(resolved: Mapping[str, Any]) -> dict[str, Any]:
    given = [f"{name}={resolved[name]:g}" for name in _RULE_OF_NATIVE if isinstance(resolved.get(name), int | float)]
    columns = {name: resolved[name] for name in ("num_steps", "gen_length", "seed") if name in resolved}
    return {"alg": " ".join(given), "paradigm": CANVASES, **columns}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
