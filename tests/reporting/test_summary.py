import json
from pathlib import Path

import pytest

from lm_eval_codd.reporting.run import Run
from lm_eval_codd.reporting.summary import format_table, read_rows

TASKS = Path(__file__).parents[2] / "tasks"


def write_run(
    folder: Path,
    task: str,
    scores: dict,
    *,
    samples: tuple[int, int] = (10, 10),
    reported: str | None = "exact_match,flexible-extract",
    published: bool = True,
    settings: dict | None = None,
    **record,
) -> Path:
    folder.mkdir(parents=True)
    metadata = {"reported": reported, "data": {"is_published_set": published}} if reported else {}
    results = {
        "results": {task: {"alias": task, "sample_len": 10, **scores}},
        "n-samples": {task: {"effective": samples[0], "original": samples[1]}},
        "configs": {task: {"metadata": metadata}},
        "config": {"mean_nfe": 63.5, "settings": settings},
    }
    (folder / "results_1.json").write_text(json.dumps(results))
    whole = {"task": task, "status": "finished", "seconds": 12.3, "num_forward": 64, "results": "results_1.json"}
    (folder / "run.json").write_text(json.dumps(whole | record))
    return folder


GSM8K = {
    "exact_match,strict-match": 0.1,
    "exact_match_stderr,strict-match": 0.2,
    "exact_match,flexible-extract": 0.7,
    "exact_match_stderr,flexible-extract": 0.05,
}


def only_row(folder: Path) -> Run:
    (row,) = read_rows(folder)
    return row


class TestReadingARun:
    def test_takes_the_reported_metric_with_its_error_count_and_cost(self, tmp_path):
        row = only_row(write_run(tmp_path / "a", "codd_gsm8k", GSM8K))
        assert (row.metric, row.value, row.stderr) == ("exact_match,flexible-extract", 0.7, 0.05)
        assert (row.name, row.task, row.n, row.total, row.nfe, row.seconds) == ("a", "codd_gsm8k", 10, 10, 63.5, 12.3)

    @pytest.mark.parametrize(
        ("task", "metric"),
        [
            ("gsm8k", "exact_match,flexible-extract"),
            ("math500", "math_verify,none"),
            ("gpqa", "exact_match,flexible-extract"),
            ("mbpp", "pass_at_1,extract_code"),
        ],
    )
    def test_each_task_of_the_paper_reports_the_papers_metric(self, task, metric):
        if not (TASKS / task).is_dir():
            pytest.skip("the tasks are not in this checkout")
        assert f"reported: {metric}" in "".join(path.read_text() for path in (TASKS / task).glob("*.yaml"))

    def test_takes_every_metric_of_tasks_that_do_not_say(self, tmp_path):
        scores = {"acc,none": 0.4, "acc_stderr,none": "N/A", "acc_norm,none": 0.5, "unreadable,none": 0.2}
        rows = read_rows(write_run(tmp_path / "a", "hellaswag", scores, reported=None))
        assert [(row.metric, row.value, row.stderr) for row in rows] == [
            ("acc,none", 0.4, None),
            ("acc_norm,none", 0.5, None),
        ]
        assert [row.benchmark for row in rows] == ["hellaswag acc,none", "hellaswag acc_norm,none"]
        assert len(format_table(rows).splitlines()) == 4

    def test_says_how_many_answers_no_filter_could_read(self, tmp_path):
        scores = {**GSM8K, "unreadable,strict-match": 0.9, "unreadable,flexible-extract": 0.3}
        row = only_row(write_run(tmp_path / "a", "codd_gsm8k", scores))
        assert row.score() == "exact_match,flexible-extract 0.700 ± 0.050 (n=10; 3 unreadable)"

    def test_of_other_rows_than_the_published_ones_says_so(self, tmp_path):
        row = only_row(write_run(tmp_path / "a", "codd_gpqa", GSM8K, published=False))
        assert row.has_other_rows
        assert row.score() == "exact_match,flexible-extract 0.700 ± 0.050 (n=10; not the published rows)"
        assert "0.7000!" in format_table([row])

    def test_of_an_approximate_decode_says_so(self, tmp_path):
        exact = only_row(write_run(tmp_path / "a", "codd_gsm8k", GSM8K, settings={"cache": "none", "threshold": None}))
        row = only_row(write_run(tmp_path / "b", "codd_gsm8k", GSM8K, settings={"cache": "none", "threshold": 0.9}))
        assert row.score() == "exact_match,flexible-extract 0.700 ± 0.050 (n=10; approximate)"
        table = format_table([exact, row]).splitlines()
        assert " 0.7000 " in table[2]
        assert " 0.7000~ " in table[3]
        assert table[4].startswith("~ approximate")
        assert "approximate" not in exact.score() + format_table([exact])

    def test_without_the_headline_shows_no_score_rather_than_another_metric(self, tmp_path):
        assert only_row(write_run(tmp_path / "a", "codd_gsm8k", {"exact_match,strict-match": 0.1})).value is None

    def test_of_a_failed_run_shows_no_score_of_an_earlier_one(self, tmp_path):
        row = only_row(write_run(tmp_path / "a", "codd_gsm8k", GSM8K, status="failed", results=None))
        assert (row.status, row.value) == ("failed", None)

    def test_with_broken_files_has_no_row(self, tmp_path):
        folder = write_run(tmp_path / "a", "codd_gsm8k", GSM8K)
        (folder / "results_1.json").write_text('{"results": ')
        assert read_rows(folder) == []

    def test_with_less_than_all_documents_is_partial(self, tmp_path):
        row = only_row(write_run(tmp_path / "a", "codd_gsm8k", GSM8K, samples=(8, 1319)))
        assert row.is_partial
        assert row.score() == "exact_match,flexible-extract 0.700 ± 0.050 (n=8 of 1319)"


def row(name: str, status: str = "finished", **fields) -> Run:
    return Run(name=name, task="t", status=status, **fields)


class TestTheTable:
    def test_aligns_its_columns_and_marks_partial_rows(self):
        rows = [
            row("short", metric="m,none", value=0.5, stderr=0.01, n=10, total=10, nfe=64, seconds=1.25),
            row("a_longer_name", metric="m,none", value=0.25, n=8, total=10, nfe=31.5, seconds=100),
            row("broken", "failed", seconds=2),
        ]
        assert format_table(rows).splitlines() == [
            "run            task  metric    value  stderr   n   NFE  seconds",
            "-------------  ----  ------  -------  ------  --  ----  -------",
            "short          t     m,none   0.5000  0.0100  10    64      1.2",
            "a_longer_name  t     m,none  0.2500*       -   8  31.5    100.0",
            "broken         t     -        failed       -   -     -      2.0",
            "* a part of the task's documents only: not a score of the benchmark",
        ]

    def test_without_partial_rows_has_no_footnote(self):
        assert "*" not in format_table([row("a", metric="m,none", value=0.5, stderr=0.1, n=10, total=10)])
