"""What the demo says at its end."""

import json
import re
import shlex
import statistics
from pathlib import Path

import pytest

from lm_eval_codd.catalogue import CALLED_AS
from lm_eval_codd.launch.closing import show_demo
from lm_eval_codd.launch.demo import difference_text
from lm_eval_codd.launch.demos import DEMOS
from lm_eval_codd.reporting.cells import BASE, group_runs
from lm_eval_codd.reporting.pairs import compare_outcomes
from lm_eval_codd.reporting.reference import read_references
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import outcomes, write_run

README = Path(__file__).parents[2] / "README.md"
DECODERS = README.parent / "docs" / "decoders.md"
WORDS = DEMOS["words"]
DEMO = {"benchmark": "demo", "checkpoint": "demo", "gen_length": 32, "block_length": 32}


def rows(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]


def papers_template():
    """The references but for those of other ways to put the questions."""
    return [one for one in read_references(WORDS.reference) if "task_arguments" not in one.identity]


def test_the_templates_of_the_reference_are_those_of_the_demo():
    others = [one for one in read_references(WORDS.reference) if "task_arguments" in one.identity]
    found = {(one.identity["task_arguments"]["template"], one.key.system, one.key.steps) for one in others}
    assert found == {(template, system, 4) for template in ("wording", "marker") for system in (BASE, "CoDD")}


def test_the_readmes_table_is_the_reference():
    fixed = [one for one in papers_template() if one.key.alg == "low_confidence"]
    references = {(one.key.system, one.key.steps): one.outcomes for one in fixed}
    steps = sorted({steps for _, steps in references}, reverse=True)
    shares = {key: f"{100 * sum(values.values()) / len(values):.1f}" for key, values in references.items()}
    pairs = [compare_outcomes(references[BASE, step], references["CoDD", step]) for step in steps]
    wanted = [
        ["accuracy in %, n = 300", *(f"{step} steps" for step in steps)],
        ["backbone", *(shares[BASE, step] for step in steps)],
        ["CoDD", *(shares["CoDD", step] for step in steps)],
        ["difference (McNemar's p)", *map(difference_text, pairs)],
    ]
    table = [row for row in rows(README.read_text(encoding="utf-8")) if row[0] in {line[0] for line in wanted}]
    assert table == wanted


def test_the_readmes_sentence_of_templates_is_the_reference():
    """The mean difference over the templates of 4 steps, an item's differences being one cluster."""
    found = {
        ((one.identity.get("task_arguments") or {}).get("template"), one.key.system): {
            key.doc_id: right for key, right in one.outcomes.items()
        }
        for one in read_references(WORDS.reference)
        if one.key.alg == "low_confidence" and one.key.steps == 4
    }
    templates = {template for template, _ in found}
    gains = [
        100 * sum(found[one, "CoDD"][item] - found[one, BASE][item] for one in templates) / len(templates)
        for item in found[None, BASE]
    ]
    mean, error = statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5
    said = re.search(
        r"under each: \+([\d.]+) points over all \(\+([\d.]+) to \+([\d.]+)\), ahead in 3 of 3",
        README.read_text(encoding="utf-8"),
    )
    assert len(templates) == 3 and said[1] == f"{mean:.2f}"
    assert [float(bound) for bound in said.groups()[1:]] == pytest.approx(
        [mean - 1.96 * error, mean + 1.96 * error], abs=0.05
    )


def test_the_decoders_in_docs_are_those_of_the_reference():
    references = papers_template()
    others = [one for one in references if one.key.alg != "low_confidence"]
    wanted = set()
    for one in others:
        nfe, tokens = one.surroundings["nfe"], one.surroundings["answer_tokens"]
        enough = [
            other
            for other in references
            if other not in others and other.key.system == one.key.compared_system and other.surroundings["nfe"] >= nfe
        ]
        fixed = min(enough, key=lambda other: other.key.steps)
        pair = compare_outcomes(fixed.outcomes, one.outcomes)
        name = one.key.alg if one.key.system == BASE else f"{one.key.alg}, {one.key.system}"
        figures = (share(one), f"{nfe:.1f}", f"{tokens / nfe:.1f}", f"{share(fixed)} at {fixed.key.steps}")
        wanted.add((name, *figures, difference_text(pair)))
    first, *lines = rows(DECODERS.read_text(encoding="utf-8"))[1:]
    assert len(wanted) == 15
    # Other tables of the file have fewer columns.
    assert {tuple(row) for row in lines if len(row) == len(first)} == wanted


def share(reference) -> str:
    return f"{100 * sum(reference.outcomes.values()) / len(reference.outcomes):.1f}"


class TestTheDemosEnd:
    def test_is_its_table(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv(CALLED_AS, "./my eval.sh")
        for steps, base, codd in ((4, 226, 279), (8, 193, 278)):
            write_run(tmp_path, outcomes(300, base), steps=steps, **DEMO)
            write_run(tmp_path, outcomes(300, codd), steps=steps, circuit="demo", **DEMO)
        show_demo(WORDS, [folder.name for folder in tmp_path.iterdir()], tmp_path)
        out = capsys.readouterr().out
        assert f"every answer:  {tmp_path / 'report.html'}\n" in out
        assert f"'./my eval.sh' report {shlex.quote(str(tmp_path))}\n" in out
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        assert len(list((tmp_path / "plots").glob("*.png"))) == 4
        assert "decoder, n = 300" not in out
        header, _, base, codd, difference = rows(out[out.rindex("\n**") :])
        assert header == ["accuracy in %, n = 300", "8 steps", "4 steps"]
        assert base == ["backbone", "64.3", "75.3"]
        assert codd == ["CoDD", "92.7", "93.0"]
        assert [cell.partition(" ")[0] for cell in difference] == ["difference", "+28.3", "+17.7"]

    def test_is_a_table_of_the_other_decoders_too(self, tmp_path, capsys):
        write_run(tmp_path, outcomes(300, 193), steps=8, **DEMO)
        write_run(tmp_path, outcomes(300, 278), steps=8, circuit="demo", **DEMO)
        for circuit, nfe in ((None, 6.28), ("demo", 3.13)):
            config = {"mean_nfe": nfe, "mean_answer_tokens": 18.0}
            of_cad = DEMO | {"decoder": "cad", "circuit": circuit, "name": f"cad{circuit}", "config": config}
            write_run(tmp_path, outcomes(300, 277), **of_cad)
        write_run(tmp_path, outcomes(300, 259), **DEMO, steps=8, decoder="p2", eta=2.0, name="p2")
        show_demo(WORDS, [folder.name for folder in tmp_path.iterdir()], tmp_path)
        out = capsys.readouterr().out
        table = rows(out[out.rindex("\n**") :])
        assert table[0][0] == "decoder, n = 300"
        assert [row[:5] for row in table[2:]] == [
            ["cad", "92.3", "6.3", "2.9", "64.3 at 8"],
            ["cad, CoDD", "92.3", "3.1", "5.8", "92.7 at 8"],
            ["p2 eta=2", "86.3", "8.0", "4.0", "64.3 at 8"],
        ]
        assert table[2][5].startswith("+28.0 (")
        assert len(list((tmp_path / "plots").glob("*decoders*.png"))) == 1

    def test_says_what_holds_whatever_the_template_what_is_lost_and_aup(self, tmp_path, capsys):
        for circuit, right in ((None, 193), ("demo", 278)):
            for steps in (8, 4):
                config = {"mean_answer_tokens": 18.0}
                write_run(tmp_path, outcomes(300, right), steps=steps, circuit=circuit, config=config, **DEMO)
            other = {"circuit": circuit, "name": f"other{circuit}", "prompt": "so {}", **DEMO}
            folder = write_run(tmp_path, outcomes(300, right - 20), steps=4, **other)
            (path,) = folder.glob("results_*.json")
            data = json.loads(path.read_text())
            data["configs"]["codd_demo"]["metadata"]["template"] = "wording"
            path.write_text(json.dumps(data))
        show_demo(WORDS, [folder.name for folder in tmp_path.iterdir()], tmp_path)
        out = capsys.readouterr().out
        titles = [line for line in out.splitlines() if line.startswith("**")]
        wanted = ("by template (rank)", "whatever the template", "accuracy under parallelism", "is anything lost?")
        assert [any(text in title for title in titles) for text in wanted] == [True] * 4
        assert "| CoDD (low_confidence) over base |       2 of 2 |" in out
        names = {path.name for path in (tmp_path / "plots").glob("*.png")}
        assert {"stability-template.png", "llada-block-pareto-nfe.png"} <= names

    def test_has_no_difference_without_a_circuit(self, tmp_path):
        write_run(tmp_path, outcomes(300, 193), **DEMO)
        (group,) = group_runs(read_folder(tmp_path).runs)
        (table,) = WORDS.tables(group)
        assert [row[1] for row in table.rows] == ["64.3", "-", "-"]
