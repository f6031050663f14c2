"""Every published cell that is run here, held against the settings that are recorded of it."""

import json
from dataclasses import replace

import pytest

from lm_eval_codd.atlas.plan import plan_cells
from lm_eval_codd.atlas.recipe import recipe_of
from lm_eval_codd.atlas.source import read_source, source_names
from lm_eval_codd.catalogue import TASKS, short_name
from lm_eval_codd.launch.published import show_cells
from lm_eval_codd.runs.run import Run
from lm_eval_codd.task_files import read_task_file, task_files

# Recorded names of settings, and what is one here.
NAMES = {"steps": "num_steps", "remasking": "alg", "cfg": "cfg_scale", "conf_threshold": "threshold"}
# Recorded words of a rule, and what is one here; no tempering of confidences is none.
WORDS = {("alg", "confidence_threshold"): "low_confidence", ("alg_temp", 0.0): None}


@pytest.fixture(scope="module")
def plan():
    return plan_cells(source_names())


@pytest.fixture(scope="module")
def planned(plan):
    """Cells with runs that decode or estimate likelihoods of text."""
    return [one for one in plan.ready if isinstance(one.recipe.run, Run)]


def own_tasks(cells):
    """Cells whose task is of this package, with its short name."""
    return [(one, name) for one in cells if (name := short_name(one.recipe.run.task)) is not None]


def test_the_walk_sees_most_of_the_atlas(planned):
    assert len(planned) > 400
    assert len(own_tasks(planned)) > 200


def test_examples_are_as_many_as_recorded(planned):
    for one in planned:
        run, short = one.recipe.run, short_name(one.recipe.run.task)
        if one.cell.shots is None:
            continue
        shots = run.num_shot
        if short is not None:
            shots = TASKS[short].examples or json.loads(run.metadata or "{}").get("shots", 0)
        assert (shots or 0) == one.cell.shots, one.label


def test_a_chat_template_is_applied_where_one_is_recorded(planned):
    for one in planned:
        if one.cell.template is not None:
            assert bool(one.recipe.run.chat_template) == ("chat" in one.cell.template), one.label


def test_decoding_has_the_recorded_values(planned):
    compared = 0
    for one in planned:
        recorded, config = one.cell.settings, one.recipe.run.config
        for name, value in recorded.items():
            here = NAMES.get(name, name)
            if here not in vars(config) or value is None:
                continue
            # A threshold takes the place of steps; bd3lm counts those of a block, see test_recipe.
            if here == "num_steps" and (getattr(config, "threshold", None) or getattr(config, "rule", "") == "bd3lm"):
                continue
            value = recorded.get(value, value) if isinstance(value, str) else value
            assert getattr(config, here) == WORDS.get((here, value), value), (one.label, name)
            compared += 1
    assert compared > 1000


def test_answers_of_a_task_with_a_length_of_its_own_are_as_long_as_recorded(planned):
    for one, short in own_tasks(planned):
        wanted = TASKS[short].gen_length
        assert wanted is None or one.cell.settings.get("gen_length", wanted) == wanted, one.label


def test_stop_strings_are_the_recorded_ones(planned):
    seen = 0
    for one, _ in own_tasks(planned):
        if "stop_words" in one.cell.settings:
            config = read_task_file(task_files().names[one.recipe.run.task])
            assert config["generation_kwargs"]["until"] == one.cell.settings["stop_words"], one.label
            seen += 1
    assert seen == 5


def test_rows_are_as_many_as_a_figure_is_of(planned):
    for one, short in own_tasks(planned):
        assert one.cell.n in (None, TASKS[short].rows), one.label


@pytest.mark.parametrize("name", source_names())
def test_a_task_that_stands_for_one_of_a_source_has_its_examples_and_template(name):
    """Of cells that are not run, too."""
    source = read_source(name)
    for cell in source.cells:
        task = TASKS.get(source.tasks.get(cell.task or "", ""))
        if task is None:
            continue
        if cell.template is not None and "chat" in cell.template:
            assert task.chat_template, cell.id
        assert cell.shots in (None, task.examples) or cell.shots <= task.most_shots, cell.id


class TestADisagreement:
    """Of a source's record and a task of this package is no run."""

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"template": "chat"}, "its prompts go through a chat template, and those of gsm8k_llada_base do not"),
            ({"shots": 8}, "its prompts have 8 examples, and those of gsm8k_llada_base have 4"),
        ],
    )
    def test_is_said_in_one_line(self, changed, why):
        source = read_source("llada")
        (cell,) = [cell for cell in source.cells if cell.id == "llada-base.gsm8k.opencompass256"]
        assert recipe_of(source, cell).run is not None
        assert recipe_of(source, replace(cell, **changed)).refusal == why


def test_a_dry_run_says_what_was_not_checked_of_each_task(plan, planned, capsys):
    show_cells(plan, {})
    shown = capsys.readouterr().out
    unverified = {(one.recipe.run.task, one.unverified) for one in planned if one.unverified}
    assert len(unverified) > 10
    for task, said in unverified:
        assert f"\n  {task}: {said}\n" in shown
