"""The settings of the published likelihood cells can be said: a copy of those cells, each built."""

from pathlib import Path

import pytest
import yaml

from lm_eval_codd.launch.command import model_args
from lm_eval_codd.models.arguments import argument_names, from_harness
from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.gen_kwargs import LIKELIHOOD_SETTINGS, SETTINGS, Settings
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.settings import ONLY_LIKELIHOODS

CELLS = yaml.safe_load((Path(__file__).parents[1] / "golden" / "likelihood" / "cells.yaml").read_text())


def said(cell):
    """A cell's settings as `--model_args` of this project, by the names that its source has for them."""
    settings = cell["settings"]
    args = {name: settings[name] for name in ("cfg_scale", "is_check_greedy") if name in settings}
    if isinstance(settings.get("mc_num"), int):  # else its source leaves the number to its code
        args["mc_num"] = settings["mc_num"]
    if "Dream" in cell["model"]:
        args["nll_type"] = "mc"
    # LLaDA's code draws a ladder a batch of masks.
    batch = settings.get("batch_of_masks")
    if batch is not None:
        args |= {"ladder": "official", "ladder_size": batch}
    if settings.get("add_bos"):
        args["add_bos_token"] = True
    return args


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell["id"])
class TestEveryCell:
    def test_through_lm_evals_arguments(self, cell):
        model = Dream if "Dream" in cell["model"] else LLaDA
        args = from_harness(argument_names(model), {"pretrained": cell["model"], **said(cell)}, {"batch_size": "8"})
        settings = {name: value for name, value in args.items() if name in {*SETTINGS, *LIKELIHOOD_SETTINGS}}
        config = Settings(model.family, settings).resolve_likelihoods({})
        asked = cell["settings"]
        assert config.num_samples == (asked["mc_num"] if isinstance(asked["mc_num"], int) else 128)
        assert config.cfg_scale == asked.get("cfg_scale", 0.0)
        assert config.estimator == ("mc_bernoulli" if model is Dream else "mc")
        assert args.get("add_bos_token") is (True if asked.get("add_bos") else None)
        assert (config.ladder, config.ladder_size) == (
            ("official", asked["batch_of_masks"]) if "batch_of_masks" in asked else ("unbiased", 16)
        )
        assert args.get("is_greedy") is asked.get("is_check_greedy")

    def test_through_the_launcher(self, cell):
        alias = "dream" if "Dream" in cell["model"] else "llada"
        flags = " ".join(f"--{name} {value}" for name, value in said(cell).items())
        run = parse_run(
            f"--model_alias {alias} --{alias}_ckpt {cell['model']} --task {cell['task']} --num_shot {cell['shots']} "
            f"--chat_template {'true' if cell['template'] == 'chat' else 'false'} {flags}"
        )
        args = model_args(run)
        given = {name: getattr(run.likelihoods, name) for name in ONLY_LIKELIHOODS}
        assert given["num_samples"] == args.get("num_samples", 128)
        assert run.likelihoods.cfg_scale == args.get("cfg_scale", 0.0) == cell["settings"].get("cfg_scale", 0.0)
        assert run.num_shot == cell["shots"] and run.chat_template is (cell["template"] == "chat")


def test_there_are_all_of_them():
    assert sum(cell["complete"] != "no" for cell in CELLS) == 41
