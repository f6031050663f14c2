"""Whatever a results folder or a file of references holds: a report, or one line that names the file."""

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_codd.atlas.codd_tables import read_published
from lm_eval_codd.reporting.against_own import check_against_own
from lm_eval_codd.reporting.against_paper import check_against_paper
from lm_eval_codd.reporting.cli import check_main
from lm_eval_codd.reporting.reference import FORMAT, read_references, write_references
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.samples import without_contradicted
from tests.anything import VALUES, changed, outcome
from tests.reporting.synthetic import STAMP, write_run

FILES = ("run.json", f"results_{STAMP}.json")
PAPER = {
    "benchmarks": {"gsm8k": {"rows": 8}},
    "marks": [{"mark": "suspect", "why": "x", "steps": 64}],
    "tables": {
        "table1": {
            "model": "llada",
            "paradigm": "block",
            "rows": [{"system": "llada", "alg": "margin", "acc": {"gsm8k": {64: 50.0}}}],
            "cells": [],
        }
    },
}


def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_run(folder, [1, 0, 1], benchmark="demo", name="a")
    write_run(folder, [1, 1, 0], benchmark="demo", circuit="demo", name="b")
    return folder


@given(st.data(), st.sampled_from(FILES))
def test_any_value_in_a_record_or_result(tmp_path_factory, data, name):
    folder = results(tmp_path_factory)
    path = folder / "a" / name
    path.write_text(json.dumps(data.draw(changed(json.loads(path.read_text())))))
    found = without_contradicted(read_folder(folder))
    assert {run.name for run in found.runs} >= {"b"}
    build_report(found)


@given(st.binary(max_size=60), st.sampled_from((*FILES, "samples")))
def test_any_bytes_in_a_file(tmp_path_factory, content, name):
    folder = results(tmp_path_factory)
    path = next((folder / "a").glob("samples_*")) if name == "samples" else folder / "a" / name
    path.write_bytes(content)
    build_report(without_contradicted(read_folder(folder)))


@given(st.data())
def test_any_value_in_a_sample(tmp_path_factory, data):
    folder = results(tmp_path_factory)
    path = next((folder / "a").glob("samples_*"))
    lines = path.read_text().splitlines()
    lines[-1] = json.dumps(data.draw(changed(json.loads(lines[-1]))))
    path.write_text("\n".join(lines))
    build_report(without_contradicted(read_folder(folder)))


class TestReferences:
    @given(st.data())
    def test_any_value_in_published_tables(self, tmp_path_factory, data):
        content = data.draw(changed(PAPER))
        path = tmp_path_factory.mktemp("paper") / "tables.yaml"
        path.write_text(yaml.safe_dump(content))
        cells = outcome(read_published, path)
        if cells:
            folder = read_folder(results(tmp_path_factory))
            outcome(check_against_paper, folder, cells, against=str(path), level=0.05, table=None)

    @given(st.data())
    def test_any_value_in_own_references(self, tmp_path_factory, data):
        found = read_folder(results(tmp_path_factory))
        path = tmp_path_factory.mktemp("own") / "own.yaml"
        write_references(path, found.runs)
        content = yaml.safe_load(path.read_text())
        assert len(read_references(path)) == 2
        path.write_text(yaml.safe_dump(data.draw(changed(content))))
        references = outcome(read_references, path)
        if references:
            outcome(check_against_own, found, references, against=str(path), level=0.05)

    @given(st.one_of(VALUES.map(yaml.safe_dump), st.text(max_size=60)))
    def test_any_file(self, tmp_path_factory, text):
        path = tmp_path_factory.mktemp("any") / "any.yaml"
        path.write_text(text, encoding="utf-8", errors="replace")
        outcome(check_main, [str(path.parent), "--against", str(path)])

    def test_ranges_of_documents_are_not_written_out_before_they_are_counted(self, tmp_path):
        items = {"a": {"doc_ids": "0-99999999999999", "doc_hashes": "", "prompt_hashes": ""}}
        text = yaml.safe_dump({"format": FORMAT, "items": items, "cells": []})
        (tmp_path / "own.yaml").write_text(text)
        assert outcome(read_references, tmp_path / "own.yaml") is None
