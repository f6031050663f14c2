import json

import pytest

from lm_eval_codd.models import progress
from lm_eval_codd.models.record import Totals


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    monkeypatch.setenv(progress.PROGRESS_FILE, str(path))
    return path


class TestTheFile:
    def test_says_how_far_the_run_is_at_most_once_a_second(self, path, monkeypatch):
        now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        totals = Totals()
        with progress.Progress(3, 0, totals=totals, hidden=False) as bar:
            assert json.loads(path.read_text()) == {"done": 0, "total": 3, "step": 0, "tokens_per_second": 0.0}
            bar.on_step(None)
            totals.answer_tokens, totals.decoding_seconds = 25, 2.0
            bar.add_answer()
            assert json.loads(path.read_text())["done"] == 0
            now = 101.0
            bar.on_step(None)
        assert json.loads(path.read_text()) == {"done": 1, "total": 3, "step": 2, "tokens_per_second": 12.5}
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_of_a_run_of_hours_is_replaced_every_ten_seconds(self, path, monkeypatch):
        now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        with progress.Progress(9, 0, totals=Totals(), hidden=False) as bar:
            for when, done in ((7200.0, 1), (7209.0, 1), (7210.0, 3)):
                now = when
                bar.add_answer()
                assert json.loads(path.read_text())["done"] == done

    def test_counts_answers_that_were_there_already(self, path):
        with progress.Progress(3, 2, totals=Totals(), hidden=False):
            assert json.loads(path.read_text())["done"] == 2

    def test_is_not_written_by_ranks_that_show_nothing(self, path):
        with progress.Progress(3, 0, totals=Totals(), hidden=True) as bar:
            bar.add_answer()
        assert not path.exists()

    def test_that_cannot_be_written_costs_nothing_else(self, path, monkeypatch):
        monkeypatch.setenv(progress.PROGRESS_FILE, str(path.parent / "none" / "progress.json"))
        with progress.Progress(3, 0, totals=Totals(), hidden=False) as bar:
            bar.add_answer()

    def test_is_not_asked_for_by_default(self, path, monkeypatch):
        monkeypatch.delenv(progress.PROGRESS_FILE)
        with progress.Progress(3, 0, totals=Totals(), hidden=False) as bar:
            bar.add_answer()
        assert not path.exists()


class TestTheBar:
    def test_tells_the_time_left_from_all_answers_not_from_the_last_step(self):
        now = 0
        with progress.Progress(9, 6, totals=Totals(), hidden=False) as bar:
            shown = bar._bar
            shown._time = lambda: now
            shown.start_t = shown.last_print_t = now
            for _ in range(100):
                now += 1
                bar.on_step(None)
            now += 1
            bar.add_answer()
            assert "7/9 [01:41<03:22" in str(shown)
