"""What the demo says at its end."""

import re
from pathlib import Path

from lm_eval_codd.catalogue import CALLED_AS
from lm_eval_codd.launch.closing import DEMO_REFERENCE, adaptive_lines, demo_table, difference_text, show_demo
from lm_eval_codd.reporting.cells import BASE, group_runs
from lm_eval_codd.reporting.pairs import compare_outcomes
from lm_eval_codd.reporting.reference import read_references
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import outcomes, write_run

README = Path(__file__).parents[2] / "README.md"
DEMO = {"benchmark": "demo", "checkpoint": "demo", "gen_length": 32, "block_length": 32}


def rows(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]


def test_the_readmes_table_is_the_reference():
    references = {(one.key.system, one.key.steps): one.outcomes for one in read_references(DEMO_REFERENCE)}
    steps = sorted({steps for _, steps in references if steps}, reverse=True)
    share = {key: f"{100 * sum(values.values()) / len(values):.1f}" for key, values in references.items()}
    pairs = [compare_outcomes(references[BASE, step], references["CoDD", step]) for step in steps]
    wanted = [
        ["accuracy in %, n = 300", *(f"{step} steps" for step in steps)],
        ["backbone", *(share[BASE, step] for step in steps)],
        ["CoDD", *(share["CoDD", step] for step in steps)],
        ["difference (McNemar's p)", *map(difference_text, pairs)],
    ]
    table = [row for row in rows(README.read_text(encoding="utf-8")) if row[0] in {line[0] for line in wanted}]
    assert table == wanted


class TestTheDemosEnd:
    def test_is_its_table(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv(CALLED_AS, "./my eval.sh")
        for steps, base, codd in ((4, 226, 279), (8, 193, 278)):
            write_run(tmp_path, outcomes(300, base), steps=steps, **DEMO)
            write_run(tmp_path, outcomes(300, codd), steps=steps, circuit="demo", **DEMO)
        show_demo([folder.name for folder in tmp_path.iterdir()], tmp_path)
        out = capsys.readouterr().out
        assert f"every answer:  {tmp_path / 'report.html'}\n" in out
        assert re.search(rf"'\./my eval\.sh' report {tmp_path}\n", out)
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        assert len(list((tmp_path / "plots").glob("*.png"))) == 2
        header, _, base, codd, difference = rows(out[out.rindex("\n**") :])
        assert header == ["accuracy in %, n = 300", "8 steps", "4 steps"]
        assert base == ["backbone", "64.3", "75.3"]
        assert codd == ["CoDD", "92.7", "93.0"]
        assert [cell.partition(" ")[0] for cell in difference] == ["difference", "+28.3", "+17.7"]

    def test_says_what_a_decoder_that_sets_its_pace_has_beside_the_table(self, tmp_path):
        write_run(tmp_path, outcomes(300, 193), **DEMO)
        for circuit, nfe in ((None, 6.28), ("demo", 3.13)):
            of_cad = DEMO | {"decoder": "cad", "circuit": circuit, "name": f"cad{circuit}", "config": {"mean_nfe": nfe}}
            write_run(tmp_path, outcomes(300, 277), **of_cad)
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert demo_table(group).header[1:] == ["64 steps"]
        assert adaptive_lines(group) == ["cad: base 92.3 at 6.3, CoDD 92.3 at 3.1 network evaluations an answer"]

    def test_has_no_difference_without_a_circuit(self, tmp_path):
        write_run(tmp_path, outcomes(300, 193), **DEMO)
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert [row[1] for row in demo_table(group).rows] == ["64.3", "-", "-"]
