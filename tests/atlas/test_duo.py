"""The published perplexities of the DiT family: each with its band, each sample's with its entropy."""

import re
from pathlib import Path

import pytest
import yaml

from lm_eval_codd.atlas.plan import plan_cells
from lm_eval_codd.atlas.source import read_source

TASKS = Path(__file__).parents[2] / "tasks"
CELLS = {cell.id: cell for cell in read_source("duo").cells}
BANDS = {"wikitext": 0.05, "ptb": 0.1}
# Names in the specification's tables that are others here.
MODELS = {"D3PM": "d3pm-absorb"}


def slug(name):
    return MODELS.get(name, name.lower().replace("_", "-"))


def test_every_figure_of_the_specification_is_there_as_printed(shared_dir):
    text = (shared_dir / "spec" / "dit.md").read_text()
    tables = yaml.safe_load(re.search(r"```yaml\n(test_ppl:.*?)```", text, re.DOTALL).group(1))
    printed = {}
    for table, kind in (("test_ppl", "test"), ("zero_shot_ppl", "zero-shot")):
        columns = tables[table].pop("columns")
        for model, values in tables[table].items():
            printed |= {
                f"{slug(model)}.{kind}.{slug(column)}": value for column, value in zip(columns, values, strict=True)
            }
    columns = tables["gen_ppl"].pop("columns")
    for steps, row in tables["gen_ppl"].items():
        for column, (perplexity, entropy) in zip(columns, row, strict=True):
            printed |= {f"{slug(column)}.gen-ppl.{steps}": perplexity, f"{slug(column)}.entropy.{steps}": entropy}
    printed = {name: value for name, value in printed.items() if value is not None}
    assert printed == {name: CELLS[name].value for name in printed}
    assert set(CELLS) - set(printed) == {"sedd-uniform.test.lm1b", "sedd-uniform.test.owt", "mdlm.sar.genppl"}


@pytest.mark.parametrize("name", [name for name in CELLS if ".zero-shot." in name])
def test_zero_shot_bands(name):
    cell = CELLS[name]
    share = BANDS.get(cell.benchmark, 0.1)
    assert cell.bounds == pytest.approx((cell.value * (1 - share), cell.value * (1 + share)), abs=1e-4)
    assert cell.settings["insert_eos"] is False


def test_generative_perplexity_has_its_entropy_beside_it():
    sampled = [name for name in CELLS if ".gen-ppl." in name]
    assert len(sampled) == 56
    for name in sampled:
        perplexity, entropy = CELLS[name], CELLS[name.replace(".gen-ppl.", ".entropy.")]
        assert perplexity.bounds == pytest.approx((0.9 * perplexity.value, 1.1 * perplexity.value), abs=1e-4)
        assert entropy.bounds == pytest.approx((entropy.value - 0.05, entropy.value + 0.05), abs=1e-4)
        assert perplexity.lm_eval == entropy.lm_eval and perplexity.settings == entropy.settings


def test_what_has_weights_on_the_hub_can_be_run_and_the_rest_says_why_not():
    plan = plan_cells(["duo"])
    assert len(plan.ready) == 96 and not plan.by_lm_eval and not plan.unstated
    assert len({one.recipe.run for one in plan.ready}) == 56
    known = {path.stem for path in TASKS.glob("dlm_*/*.yaml")}
    for one in plan.ready:
        run, asked = one.recipe.run, one.cell.lm_eval
        assert (run.model, run.checkpoint, run.task) == (asked["model"], one.cell.model, asked["tasks"])
        assert run.num_steps == asked["model_args"].get("num_steps") and run.tokenizer == "openai-community/gpt2"
        assert run.config.noise_removal == asked["model_args"].get("noise_removal", "ancestral")
        assert one.cell.lm_eval["tasks"] in known and one.cell.lm_eval["model_args"]["pretrained"] == one.cell.model
        assert one.candidates in (("token_perplexity,none",), ("gen_ppl,none",), ("entropy,none",))
    assert all(one.recipe.refusal and "\n" not in one.recipe.refusal for one in plan.refused)
