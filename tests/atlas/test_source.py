"""Sources of published cells: what is there, how a file of one is read, and which cells a text chooses."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from lm_eval_codd.atlas import source as sources
from lm_eval_codd.atlas.cell import Remeasured, make_cell
from lm_eval_codd.atlas.plan import all_sources, count_cells
from lm_eval_codd.atlas.recipe import recipe_of
from lm_eval_codd.atlas.source import chosen_cells, read_source, source_names
from lm_eval_codd.task_files import task_files

CELL = {
    "id": "a.b",
    "model": "GSAI-ML/LLaDA-8B-Base",
    "method": "vanilla",
    "task": {"benchmark": "gsm8k", "harness": "lm-eval", "name": "gsm8k", "shots": 5},
    "value": 70.3,
    "printed_decimals": 1,
}


MEANS = {cell.id: cell for cell in read_source("crb").cells if cell.tasks}
ROOT = Path(__file__).parents[2]


class TestTheAtlas:
    def test_has_every_source_and_the_tables_of_codd(self):
        counts = {name: len(read_source(name).cells) for name in source_names()}
        assert counts["codd"] == 286
        of_others = {name: count for name, count in counts.items() if name != "codd"}
        assert of_others.items() >= {"llada": 129, "dllm": 130, "fast_dllm": 64, "duo": 162, "wino": 11}.items()
        assert sum(of_others.values()) >= 603

    def test_is_as_large_as_its_documentation_says(self):
        counts = {name: len(read_source(name).cells) for name in source_names()}
        total, num_others = sum(counts.values()), len(counts) - 1
        text, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/paper.md", "README.md"))
        of_codd = counts["codd"]
        assert f": {total - of_codd} figures of {num_others} sources, and {of_codd} of the CoDD paper's tables" in text
        num_run = sum(count_cells(source)["run"] for source in all_sources())
        known = f"{total:,} published figures, of the CoDD paper and {num_others} other sources"
        assert f"{known}, and can run {num_run} of them" in readme

    def test_has_no_cell_twice(self):
        counts = Counter(cell.id for name in source_names() for cell in read_source(name).cells)
        assert max(counts.values()) == 1

    def test_knows_which_figures_are_no_k_of_n(self):
        """Counted anew, where the number of documents is known and small enough to tell."""
        cells = [cell for name in source_names() if name != "codd" for cell in read_source(name).cells]
        marked = [cell for cell in cells if cell.is_implausible]
        assert len(marked) >= 31
        for cell in marked:
            nearest = 100 * round(cell.value / 100 * cell.n) / cell.n
            assert not cell.bounds[0] <= nearest <= cell.bounds[1], cell.id

    def test_says_what_an_incomplete_cell_lacks(self):
        cells = [cell for name in source_names() for cell in read_source(name).cells]
        assert {cell.complete for cell in cells} == {"yes", "no", "up to the metric"}
        assert not [cell.id for cell in cells if (cell.complete == "yes") == bool(cell.unknown)]


class TestAFile:
    def write(self, tmp_path, monkeypatch, **content):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        monkeypatch.setattr(sources, "paper_dir", lambda: tmp_path)
        monkeypatch.setattr(sources, "source_names", lambda: ("own",))
        read_source.cache_clear()
        try:
            return read_source("own")
        finally:
            read_source.cache_clear()

    def test_is_a_source_with_its_cells(self, tmp_path, monkeypatch):
        own = self.write(tmp_path, monkeypatch, source={"title": "T", "paths": ["a", "b"]}, cells=[CELL])
        assert (own.name, own.title, own.about["paths"]) == ("own", "T", "a, b")
        (cell,) = own.cells
        assert (cell.benchmark, cell.task, cell.shots, cell.figure) == ("gsm8k", "gsm8k", 5, "70.3")
        assert cell.bounds == pytest.approx((70.25, 70.35))

    @pytest.mark.parametrize(
        "content, message",
        [
            ({"source": {}, "cells": [CELL]}, "has no `source` with a `title`"),
            ({"source": {"title": "T"}, "cells": {}}, "has no list of `cells`"),
            ({"source": {"title": "T"}, "cells": [CELL, CELL]}, "has the cell a.b twice"),
        ],
    )
    def test_that_is_none_says_what_it_lacks(self, content, message, tmp_path, monkeypatch):
        with pytest.raises(ValueError, match=message):
            self.write(tmp_path, monkeypatch, **content)

    @pytest.mark.parametrize(
        "change, message",
        [
            ({"id": "a b"}, "a cell has no `id` of letters"),
            ({"value": None}, "own.yaml: a.b has no `value`"),
            ({"value": "70"}, "`value` is '70', which is not a number"),
            ({"value": float("nan")}, "`value` is nan, which is not a number"),
            ({"task": {}}, "a.b has no `task` with a `benchmark`"),
            ({"complete": "maybe"}, "`complete` is maybe; it is yes, up to the metric, or no"),
            ({"band": [3, 1]}, "`band` is .*, which is not two numbers, the lower first"),
            ({"settigns": {}}, "has `settigns`, which no cell has"),
            ({"unknown": "steps"}, "`unknown` is 'steps', which is not a list"),
            ({"reproduces": [{"by": "X"}]}, "`reproduces` is not a list of by, value, where, differs"),
        ],
    )
    def test_with_a_malformed_cell_names_cell_and_value(self, change, message):
        with pytest.raises(ValueError, match=message):
            make_cell({**CELL, **change}, "own.yaml")

    def test_may_say_what_counts_as_the_figure(self):
        cell = make_cell({**CELL, "value": 23.2, "unit": "perplexity", "band": [23, 23.5]}, "own.yaml")
        assert (cell.bounds, cell.figure) == ((23.0, 23.5), "23.2 perplexity")


class TestChoosing:
    def test_all_cells_some_or_those_that_begin_alike(self):
        source, cells = chosen_cells("wino")
        assert len(cells) == len(source.cells) == 11
        _, cells = chosen_cells("wino:wino.gsm8k.eb,wino.arc_c.*")
        assert [cell.id for cell in cells] == ["wino.gsm8k.eb", "wino.arc_c.baseline", "wino.arc_c.wino"]

    def test_a_cell_that_is_none_is_named_with_the_nearest(self):
        with pytest.raises(
            ValueError,
            match=r"^`wino:wino.gsm8k.ebb`: no such cell; `./eval.sh --paper wino --dry-run` lists .*wino.gsm8k.eb",
        ):
            chosen_cells("wino:wino.gsm8k.ebb")


class TestMeansOfTheCodeRevisionBenchmark:
    def test_are_cells_of_their_paper_as_printed(self):
        assert len(MEANS) == 29
        cell = MEANS["crb.open-dcoder-0.5b.n1.T4"]
        assert (cell.model, cell.figure, cell.n) == ("fredzzp/open-dcoder-0.5B", "26.32", 3213)
        assert cell.metrics == ("pass_at_1_t4,run",) and len(cell.tasks) == 12
        of_mbpp = MEANS["crb.open-dcoder-0.5b-mixture-mdm-step2000.mbpp.T4"]
        assert (of_mbpp.value, len(of_mbpp.tasks)) == (17.49, 15)
        assert all(task.startswith("codd_crb_mbpp_") and "plus" not in task for task in of_mbpp.tasks)

    def test_are_runs_of_its_groups_with_the_published_settings(self):
        for cell in MEANS.values():
            run = recipe_of(read_source("crb"), cell).run
            assert run.task in ("codd_crb_1", "codd_crb") and set(cell.tasks) <= {
                name for name, _ in task_files().configs(run.task)
            }
            config = run.config
            assert (config.decoder, config.num_steps, config.threshold, config.temperature) == ("corrective", 5, 0.9, 0)


def test_what_others_measured_is_a_figure_or_their_words():
    assert str(Remeasured(by="dLLM", value=70.7)) == "dLLM has 70.7"
    assert str(Remeasured(by="thread 88", value="much lower")) == "thread 88: much lower"


def repeated_keys(node: yaml.Node) -> list[str]:
    """Keys that a mapping of a YAML file has twice, of which a reader keeps the last."""
    if not isinstance(node, yaml.MappingNode):
        return [key for item in node.value if isinstance(item, yaml.Node) for key in repeated_keys(item)]
    counts = Counter(key.value for key, _ in node.value)
    return [key for key, n in counts.items() if n > 1] + [
        key for _, value in node.value for key in repeated_keys(value)
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_file_says_a_thing_twice(path):
    assert repeated_keys(yaml.compose("a: 1\nb: [{c: 1, c: 2}]")) == ["c"]
    assert repeated_keys(yaml.compose(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))) == []
