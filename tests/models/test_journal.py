"""Journals of answers: keys, files, and results of any flat kind."""

import shutil
from dataclasses import dataclass

import pytest

from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.journal import Journal, Kept, Keys
from tests.models.journals import HERE, answer, key, opened, write


class TestKeys:
    def test_prompt_repeat_and_everything_that_made_it_tell_answers_apart(self):
        keys = {
            Keys({"seed": seed}).of(prompt, repeat)
            for seed in (1, 2)
            for prompt in ([], [1], [1, 2], [12], [2, 1])
            for repeat in (0, 1)
        }
        assert len(keys) == 2 * 5 * 2

    def test_the_order_in_which_settings_are_named_does_not(self):
        assert Keys({"a": 1, "b": 2}).of([3], 0) == Keys({"b": 2, "a": 1}).of([3], 0)


class TestFile:
    def test_answers_come_back_as_they_were_written(self, tmp_path):
        write(tmp_path, range(9))
        journal = opened(tmp_path)
        assert [journal.find(key(seed), Generation) for seed in range(9)] == [answer(seed) for seed in range(9)]
        assert journal.find(key(9), Generation) is None

    @pytest.mark.parametrize("tokens", [[], [7], [7, 7, 7], [1, 2, 3], [1, 7, 1, 7, 7]])
    def test_every_shape_of_answer_comes_back(self, tmp_path, tokens):
        journal = opened(tmp_path)
        journal.add([("0" * 32, Kept(Generation(tokens, len(tokens), 1), 0.5))])
        for found in (journal.find("0" * 32, Generation), opened(tmp_path).find("0" * 32, Generation)):
            assert found.result.tokens == tokens

    def test_what_follows_the_end_takes_no_room(self, tmp_path):
        journal = opened(tmp_path)
        journal.add([(key(0), Kept(Generation([1, 2] + [0] * 100_000, 2, 1), 0.0))])
        assert next(tmp_path.iterdir()).stat().st_size < 1000

    def test_a_journal_that_is_only_read_adds_no_file(self, tmp_path):
        write(tmp_path, [1])
        opened(tmp_path).close()
        assert len(list(tmp_path.iterdir())) == 1

    def test_answers_of_other_hardware_or_versions_are_marked(self, tmp_path):
        write(tmp_path, [1])
        assert not opened(tmp_path).find(key(1), Generation).made_elsewhere
        assert opened(tmp_path, {**HERE, "device_name": "there"}).find(key(1), Generation).made_elsewhere

    @pytest.mark.parametrize("name", ["notes.txt", "answers.jsonl", "run.json"])
    def test_other_files_are_left_alone(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"\0 not ours")
        write(tmp_path / "journal", [1])
        shutil.copy(tmp_path / name, tmp_path / "journal" / name)
        assert opened(tmp_path / "journal").find(key(1), Generation) == answer(1)

    @pytest.mark.parametrize("name", ["file", "file/below"])
    def test_a_folder_that_cannot_be_is_an_error_that_says_so(self, tmp_path, name):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match=r"`journal=.*` cannot be used .*; give another folder"):
            Journal(tmp_path / name)


@dataclass(frozen=True)
class Measured:
    """A kind of results that the journal was not written for."""

    value: float
    words: list[str]
    note: str | None = None


class TestAnyFlatResult:
    def test_is_kept(self, tmp_path):
        results = {key(1): Kept(Measured(1.5, ["a", "b"]), 0.25), key(2): Kept(Measured(-2, [], "x"), 0.5)}
        opened(tmp_path).add(results.items())
        again = opened(tmp_path)
        assert {one: again.find(one, Measured) for one in results} == results

    @pytest.mark.parametrize("value", ["1.5", None, True, [1.5]])
    def test_is_made_again_where_a_field_holds_something_else(self, tmp_path, value):
        opened(tmp_path).add([(key(1), Kept(Measured(value, []), 0.25))])
        assert opened(tmp_path).find(key(1), Measured) is None

    def test_of_another_kind_is_none(self, tmp_path):
        opened(tmp_path).add([(key(1), answer(1))])
        assert opened(tmp_path).find(key(1), Measured) is None
