"""The files of a run's folder, where the disk, the clock or another user is in the way."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lm_eval_codd.runs import record

STAMP = "2026-01-01T00-00-00"


@pytest.fixture
def results(tmp_path):
    """lm-eval's results of three documents, with their samples under two filters."""
    path = tmp_path / f"results_{STAMP}.json"
    path.write_text(json.dumps({"n-samples": {"codd_gsm8k": {"original": 3, "effective": 3}}, "config": {}}))
    (tmp_path / f"samples_codd_gsm8k_{STAMP}.jsonl").write_text('{"doc_id": 0}\n' * 6)
    return path


class TestResults:
    def test_that_are_whole_are_taken(self, results):
        assert record.half_written(results) == ""

    def test_cut_short_anywhere_are_not(self, results):
        whole = results.read_bytes()
        for length in range(len(whole)):
            results.write_bytes(whole[:length])
            assert record.half_written(results) == f"{results.name} is cut short"

    @pytest.mark.parametrize("samples", ["", '{"doc_id": 0}\n', '{"doc_id": 0}\n' * 5 + '{"doc'])
    def test_are_not_where_their_samples_are_cut_short(self, results, samples):
        path = results.with_name(f"samples_codd_gsm8k_{STAMP}.jsonl")
        path.write_text(samples)
        assert record.half_written(results) == f"{path.name} is cut short"

    def test_are_not_where_the_samples_of_a_task_are_missing(self, results):
        path = results.with_name(f"samples_codd_gsm8k_{STAMP}.jsonl")
        path.unlink()
        assert record.half_written(results) == f"{path.name} was not written"


class TestAClockThatGoesBackwards:
    def test_or_stands_still_writes_over_nothing_that_was_set_aside(self, tmp_path, monkeypatch):
        class Standing(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime(2026, 1, 1, tzinfo=timezone.utc)

        monkeypatch.setattr(record, "datetime", Standing)
        for number in range(3):
            (tmp_path / "journal").mkdir()
            (tmp_path / "journal" / "answers").write_text(str(number))
            record.set_aside(tmp_path / "journal")
        assert sorted(path.read_text() for path in tmp_path.glob("journal.*/answers")) == ["0", "1", "2"]


class TestARecordThatCannotBeRead:
    def test_is_one_line_and_no_run_that_starts_anew(self, tmp_path, monkeypatch):
        record.write(tmp_path, {"status": "finished"})

        def forbidden(*_, **__):
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr(Path, "read_text", forbidden)
        said = rf"run\.json cannot be read: Permission denied: .* belongs to {tmp_path.owner()}; give"
        with pytest.raises(ValueError, match=said):
            record.read(tmp_path)

    @pytest.mark.parametrize("place", ["none", "file"])
    def test_is_none_where_there_is_no_folder(self, tmp_path, place):
        (tmp_path / "file").touch()
        assert record.read(tmp_path / place) is None
