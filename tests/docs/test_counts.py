"""How many published figures README and docs/paper.md say that there are."""

from pathlib import Path

from lm_eval_codd.atlas.plan import all_sources

ROOT = Path(__file__).parents[2]


def test_published_figures_are_as_many_as_they_say():
    cells = {source.name: len(source.cells) for source in all_sources()}
    others = {name: count for name, count in cells.items() if name != "codd"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{sum(cells.values()):,} published figures, of the CoDD paper and {len(others)} other sources" in readme
    paper = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    assert f"{sum(others.values())} figures of {len(others)} sources, and {cells['codd']} of the CoDD paper" in paper
