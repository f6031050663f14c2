"""A report names what it shows, counts what no filter could read, and believes no samples that contradict a result."""

import csv
import io
import json

import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.reporting.report import build_report, objections
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.samples import count_unreadable, grading_of, without_contradicted
from tests.reporting.synthetic import write_run


def change_results(folder, **changes):
    """Update the scores of a run's one task; returns the folder."""
    (path,) = folder.glob("results_*.json")
    data = json.loads(path.read_text())
    (task,) = data["results"]
    data["results"][task].update(changes.pop("scores", {}))
    data["configs"][task].update(changes)
    path.write_text(json.dumps(data))
    return folder


def change_samples(folder, edit):
    """Each line of a run's samples through a function, which gives None for those to leave out."""
    (path,) = folder.glob("samples_*.jsonl")
    lines = [edit(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not None))
    return folder


def right_in_the_samples(line):
    return {**line, "exact_match": 1.0}


def one_document_less(line):
    return None if line["doc_id"] == 3 else line


class TestNames:
    def test_of_metric_and_filter_stand_in_tables_and_csv(self, tmp_path, capsys):
        write_run(tmp_path, [1, 0, 1, 1])
        tables = build_report(read_folder(tmp_path)).tables
        assert "metric and filter: gsm8k: exact_match,flexible-extract" in tables[0].notes
        assert main(["report", str(tmp_path), "--format", "csv"]) == 0
        (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
        assert (line["metric"], line["filter"]) == ("exact_match", "flexible-extract")

    def test_of_all_metrics_where_the_task_does_not_say(self, tmp_path):
        folder = change_results(write_run(tmp_path, [1, 0, 1, 1]), metadata={})
        change_samples(folder, lambda line: {**line, "other": 0.5})
        runs = read_folder(tmp_path).runs
        assert [run.metric for run in runs] == ["other,strict", "exact_match,flexible-extract"]
        header = build_report(read_folder(tmp_path)).tables[0].header
        assert [text.partition(" 64")[0] for text in header[2:]] == [
            "gsm8k exact_match,flexible-extract",
            "gsm8k other,strict",
        ]

    def test_of_another_metric_keep_a_run_out_of_the_papers_tables(self, tmp_path):
        folder = write_run(tmp_path, [1, 0] * 659 + [1])
        change_results(
            folder, metadata={"reported": "exact_match,strict-match"}, scores={"exact_match,strict-match": 0.5}
        )
        (run,) = read_folder(tmp_path).runs
        wanted = "its metric is exact_match,strict-match, the paper's is exact_match,flexible-extract"
        assert wanted in objections(run)


class TestUnreadable:
    def test_is_the_results_own_count(self, tmp_path):
        change_results(write_run(tmp_path, [1, 0, 1, 1]), scores={"unreadable,flexible-extract": 0.25})
        (run,) = read_folder(tmp_path).runs
        assert count_unreadable(run) == 1

    def test_is_counted_in_the_samples_of_tasks_without_it(self, tmp_path):
        folder = write_run(tmp_path, [1, 0, 0, 1])
        change_samples(folder, lambda line: {**line, "filtered_resps": [["[invalid]", "x"][line["doc_id"] % 2]]})
        (run,) = read_folder(tmp_path).runs
        assert count_unreadable(run) == 2
        assert grading_of([run]) == ["gsm8k: exact_match,flexible-extract; 2 of 4 answers unreadable"]
        table = next(table for table in build_report(read_folder(tmp_path)).tables if "could read" in table.title)
        assert table.rows[0][-1] == "2 of 4"

    def test_is_unknown_where_neither_has_it(self, tmp_path):
        write_run(tmp_path, [1, 0, 0, 1], with_samples=False)
        (run,) = read_folder(tmp_path).runs
        assert grading_of([run]) == ["gsm8k: exact_match,flexible-extract; unreadable answers of 1 run unknown"]

    def test_an_answer_that_quotes_the_mark_is_not_one(self, tmp_path):
        write_run(tmp_path, [1, 0], answer='"filtered_resps": ["[invalid]"], "filter": "flexible-extract"')
        (run,) = read_folder(tmp_path).runs
        assert count_unreadable(run) == 0


class TestContradictions:
    @pytest.mark.parametrize(
        ("edit", "why"),
        [
            (right_in_the_samples, "exact_match,flexible-extract is 0.75 in its result, 1 over "),
            (one_document_less, "its result is of 4 documents, "),
        ],
    )
    def test_are_left_out_of_report_and_check(self, tmp_path, capsys, edit, why):
        change_samples(write_run(tmp_path / "runs", [1, 0, 1, 1], name="odd"), edit)
        write_run(tmp_path / "runs", [1, 0, 1, 0], name="even", steps=32)
        folder = without_contradicted(read_folder(tmp_path / "runs"))
        assert [run.name for run in folder.runs] == ["even"]
        assert main(["report", str(tmp_path / "runs")]) == 0
        out = capsys.readouterr().out
        assert f"left out: odd: {why}" in out
        assert "gsm8k 64" not in out
        reference = tmp_path / "reference.yaml"
        assert main(["check", str(tmp_path / "runs"), "--update", str(reference)]) == 0
        assert "run: odd" not in reference.read_text()
        assert main(["check", str(tmp_path / "runs"), "--against", str(reference)]) == 0
        assert f"left out: odd: {why}" in capsys.readouterr().out

    def test_are_none_where_the_score_is_no_mean(self, tmp_path):
        folder = write_run(tmp_path, [1, 0, 1, 1])
        metric_list = [{"metric": "exact_match", "aggregation": "median"}]
        change_results(change_samples(folder, right_in_the_samples), metric_list=metric_list)
        assert len(without_contradicted(read_folder(tmp_path)).runs) == 1
