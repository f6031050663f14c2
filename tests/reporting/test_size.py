"""A whole paper's worth of runs."""

from pathlib import Path

import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.atlas.codd_tables import PublishedCell, read_published
from tests.atlas.test_codd_tables import PAPER
from tests.reporting.synthetic import REPORTED, outcomes, write_run

CHECKPOINTS = {"llada": "GSAI-ML/LLaDA-8B-Instruct", "dream": "Dream-org/Dream-v0-Instruct-7B"}
ANSWER_WORDS = 90


def write(results: Path, cell: PublishedCell, template: dict[int, str]) -> None:
    """The run of a published cell. Its samples are pasted together: making them is not what is timed."""
    point = {"pc_frac": cell.pc_frac or 0.4, "pc_temperature": cell.pc_temperature or 0.15}
    right = outcomes(cell.n, cell.correct)
    folder = write_run(
        results,
        right,
        benchmark=cell.benchmark,
        family=cell.family,
        checkpoint=CHECKPOINTS[cell.family],
        alg=cell.alg,
        steps=cell.steps,
        paradigm=cell.paradigm,
        circuit=None if cell.system == "base" else f"il18/{cell.family}-{cell.benchmark}-pc",
        name=cell.label.replace(" ", "_"),
        with_samples=cell.n not in template,
        prompt="Question {}: " + "how many words " * 20,
        answer="so many words " * (ANSWER_WORDS // 3) + "{}",
        **({} if cell.system == "base" else point),
    )
    samples = next(folder.glob("results_*.json")).name.replace("results_", f"samples_codd_{cell.benchmark}_")
    path = folder / samples.replace(".json", ".jsonl")
    if cell.n not in template:
        template[cell.n] = path.read_text()
    name, _, filter_name = REPORTED[cell.benchmark].partition(",")
    lines = template[cell.n].splitlines()
    with path.open("w") as file:
        for number, line in enumerate(lines):
            kept = line[: line.rindex('"filter": ')]
            hashes = line[line.rindex('"doc_hash"') : line.rindex('"target_hash"')]
            chosen = "strict-match" if number < cell.n else filter_name
            file.write(f'{kept}"filter": "{chosen}", {hashes}"{name}": {float(right[number % cell.n])}}}\n')


@pytest.mark.slow
def test_report_and_check_take_every_cell_of_the_paper(tmp_path, capsys):
    template: dict[int, str] = {}
    cells = read_published(PAPER)
    for cell in cells:
        write(tmp_path, cell, template)
    assert main(["report", str(tmp_path)]) == 0
    assert main(["check", str(tmp_path), "--against", str(PAPER)]) == 0
    assert f"{len(cells)} cells and 72 gains" in capsys.readouterr().out
