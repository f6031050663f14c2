"""Results folders as a run of a published cell would leave them, made from the cell itself."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lm_eval_codd.atlas.plan import Planned
from lm_eval_codd.reporting.unconditional import usual_sampler
from lm_eval_codd.task_files import task_files


def members(task: str) -> list[str]:
    files = task_files()
    return [name for name, _ in files.configs(task)] if task in files.names else [task]


def right_answers(planned: Planned) -> tuple[int, int]:
    """The right answers that the cell's figure stands for, of its documents (1000 where their number is not known)."""
    n = planned.cell.n or 1000
    return round(planned.cell.value / 100 * n), n


def write_cell(
    results: Path,
    planned: Planned,
    *,
    right: int | None = None,
    metric: str | None = None,
    settings: Mapping | None = None,
    change: Mapping | None = None,
    published: Mapping | None = None,
    number: int = 0,
) -> Path:
    """A run's folder. `right` answers under `metric`, by default as printed and under the first that may be it.

    `settings` replaces settings of the decode, `change` parts of the results file.
    """
    run = planned.recipe.run
    folder = results / f"{number:03d}-{planned.cell.id}"
    folder.mkdir(parents=True)
    as_printed, n = right_answers(planned)
    right = as_printed if right is None else right
    metric = metric or next(iter(planned.candidates), "score,none")
    name, _, filter_name = metric.partition(",")
    tasks = members(run.task)
    shares = [(right * (i + 1) // len(tasks) - right * i // len(tasks)) for i in range(len(tasks))]
    sizes = [(n * (i + 1) // len(tasks) - n * i // len(tasks)) for i in range(len(tasks))]
    likelihoods = {"settings": vars(run.likelihoods), "what": "estimate"} if run.decodes_nothing else {}
    data = {
        "results": {
            task: {metric: share / size, f"{name}_stderr,{filter_name}": 0.01}
            for task, share, size in zip(tasks, shares, sizes, strict=True)
        },
        "configs": {
            task: {
                "output_type": "multiple_choice" if run.decodes_nothing else "generate_until",
                # lm-eval's own tasks do not say which figure is reported; this package's do.
                "metadata": {
                    **json.loads(run.metadata or "{}"),
                    **({} if planned.candidates else {"reported": metric}),
                },
            }
            for task in tasks
        },
        "n-samples": {task: {"original": size, "effective": size} for task, size in zip(tasks, sizes, strict=True)},
        "n-shot": {task: run.num_shot or 0 for task in tasks},
        "config": {
            "family": run.family,
            "settings": {**vars(run.config), **(settings or {})},
            "likelihoods": likelihoods,
            "pretrained": run.checkpoint,
            "pc": run.circuit,
            "add_bos_token": run.add_bos_token,
            "batch_size": "1",
        },
        "chat_template_sha": "0" * 64 if run.chat_template else None,
        "fewshot_as_multiturn": bool(run.chat_template) and run.fewshot_as_multiturn is not False,
        "date": 1.0 + number,
        **(change or {}),
    }
    (folder / "results_2026.json").write_text(json.dumps(data))
    record = {"status": "finished", "task": run.task, "results": "results_2026.json", "identity": {"config": {}}}
    (folder / "run.json").write_text(json.dumps({**record, **({"published": published} if published else {})}))
    return folder


def write_values(
    results: Path, cells: Iterable[Planned], *, change: float = 0.0, settings: Mapping | None = None
) -> None:
    """Folders of runs of models without prompts, one for all cells that share their command; values as printed.

    `change` is added to each value, `settings` to the model's arguments.
    """
    runs: dict[str, list[Planned]] = {}
    for planned in cells:
        runs.setdefault(json.dumps(planned.recipe.lm_eval, sort_keys=True), []).append(planned)
    for number, (key, of_run) in enumerate(runs.items()):
        asked = json.loads(key)
        is_sampled, algo = asked["tasks"] == "dlm_gen_ppl", asked["model"].removeprefix("dit_")
        folder = results / f"values-{number:03d}"
        folder.mkdir(parents=True)
        scores = {metric: one.cell.value + change for one in of_run for metric in one.candidates}
        errors = {metric.replace(",", "_stderr,", 1): 1e-9 for metric in scores}
        data = {
            "results": {asked["tasks"]: {**scores, **errors}},
            "configs": {asked["tasks"]: {"output_type": "generate_until" if is_sampled else "loglikelihood_rolling"}},
            "n-samples": {asked["tasks"]: {"original": 9, "effective": 9}},
            "n-shot": {},
            "config": {
                "family": "dit",
                "algo": algo,
                "pretrained": asked["model_args"]["pretrained"],
                "settings": {**usual_sampler(algo), **asked["model_args"], **(settings or {})},
                "likelihoods": {} if is_sampled else {"windows_of_ids": "joint", "what": "upper bound"},
            },
            "date": float(number),
        }
        (folder / "results_2026.json").write_text(json.dumps(data))


def write_means(results: Path, cells: Iterable[Planned]) -> Path | None:
    """Folders of runs of groups of tasks, one for all cells that share theirs; each task has the printed mean.

    Tasks of the group that are none of a cell's have half of the answers right.

    Returns the last results file.
    """
    runs: dict[str, list[Planned]] = {}
    for planned in cells:
        run = planned.recipe.run
        runs.setdefault(f"{run.task} {run.checkpoint}", []).append(planned)
    path = None
    for number, of_run in enumerate(runs.values()):
        run = of_run[0].recipe.run
        folder = results / f"means-{number:03d}"
        folder.mkdir(parents=True)
        scores: dict[str, dict[str, float]] = {task: {} for task in members(run.task)}
        for one in of_run:
            (metric,) = one.candidates
            for task in scores:
                value = one.cell.value / 100 if task in one.cell.tasks else 0.5
                scores[task] |= {metric: value, metric.replace(",", "_stderr,", 1): 0.01}
        data = {
            "results": scores,
            "configs": {task: {"output_type": "generate_until", "metadata": {}} for task in scores},
            "n-samples": {task: {"original": 9, "effective": 9} for task in scores},
            "n-shot": dict.fromkeys(scores, 0),
            "config": {
                "family": run.family,
                "settings": vars(run.config),
                "pretrained": run.checkpoint,
                "add_bos_token": run.add_bos_token,
            },
            "date": float(number),
        }
        path = folder / "results_2026.json"
        path.write_text(json.dumps(data))
    return path
