import errno
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lm_eval_codd import decoding
from lm_eval_codd.decoding import Generation
from lm_eval_codd.models import journal as journal_module
from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.journal import Journal, Kept, Keys
from lm_eval_codd.models.llada import LLaDA
from tests.small_disk import small_disk  # noqa: F401

HERE = {"device_name": "here", "versions": {"torch": "1"}}
SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 8, "device": "cpu", "batch_size": 2}
PROMPTS = ["a", "bb bb", "c" * 9, "d" * 9, "e", "ff ff", "g" * 20]
COUNTS = ("requests", "nfe", "circuit_calls", "answer_tokens", "truncated_prompts")


def opened(folder, surroundings=HERE):
    journal = Journal(folder)
    journal.start(surroundings)
    return journal


def answer(seed, length=24):
    generator = random.Random(seed)
    tokens = [generator.randrange(500) for _ in range(length // 2)]
    return Kept(Generation(tokens + [499] * (length - len(tokens)), length // 2, 8, 3, 1), seconds=seed / 8)


def write(folder, seeds, per_batch=2):
    """A journal file of one process, closed."""
    journal = opened(folder)
    seeds = list(seeds)
    for start in range(0, len(seeds), per_batch):
        journal.add((key(seed), answer(seed)) for seed in seeds[start : start + per_batch])
    journal.close()
    return next(iter(folder.glob("*.jsonl")))


def key(seed):
    return Keys({}).of([seed], 0)


def num_whole_answers(folder):
    """Answers in a folder's files, for numbers that the journal itself has not counted."""
    lines = [line for file in folder.iterdir() for line in file.read_bytes().splitlines(keepends=True)]
    return sum(line.startswith(b'{"key"') and line.endswith(b'"}\n') for line in lines)


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


class TestDamage:
    def test_cut_short_anywhere_it_keeps_every_whole_line_and_goes_on(self, tmp_path):
        whole = write(tmp_path / "whole", range(4)).read_bytes()
        ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
        for length in range(len(whole)):
            folder = tmp_path / "cut"
            folder.mkdir()
            (folder / "answers-1.jsonl").write_bytes(whole[:length])
            found = {seed for seed in range(4) if opened(folder).find(key(seed), Generation) == answer(seed)}
            wrong = {
                seed for seed in range(4) if opened(folder).find(key(seed), Generation) not in (None, answer(seed))
            }
            assert not wrong - found
            # The header is a line too, and a line is whole without its newline.
            assert found == set(range(sum(end <= length for end in ends) - 1))
            shutil.rmtree(folder)

    def test_a_damaged_byte_costs_its_own_line_and_never_gives_a_wrong_answer(self, tmp_path):
        path = write(tmp_path, range(3))
        whole = path.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            journal = opened(tmp_path)
            found = [journal.find(key(seed), Generation) for seed in range(3)]
            same = [one is not None and one.result == answer(seed).result for seed, one in enumerate(found)]
            assert all(ok or one is None for ok, one in zip(same, found, strict=True))
            assert sum(same) >= (1 if whole[place : place + 1] == b"\n" else 2)

    def test_lines_that_are_there_twice_are_one_answer(self, tmp_path, harness_log):
        path = write(tmp_path, range(3))
        (tmp_path / "answers-0.jsonl").write_bytes(path.read_bytes() + path.read_bytes())
        journal = opened(tmp_path)
        assert [journal.find(key(seed), Generation) for seed in range(3)] == [answer(seed) for seed in range(3)]
        assert "3 answers are journalled" in harness_log.text

    def test_garbage_is_left_out_and_counted(self, tmp_path, harness_log):
        write(tmp_path, range(3))
        (tmp_path / "answers-0.jsonl").write_bytes(os.urandom(5000).replace(b"\n", b" ") + b'\n{"key":"1"}\n[]\n\n')
        (tmp_path / "answers-9.jsonl").touch()
        journal = opened(tmp_path)
        assert [journal.find(key(seed), Generation) for seed in range(3)] == [
            Kept(answer(seed).result, answer(seed).seconds) for seed in range(3)
        ]
        assert "3 lines are cut short or damaged and left out" in harness_log.text


class TestFullDisk:
    @pytest.fixture
    def room(self, monkeypatch):
        """Bytes that the disk still takes."""
        write, room = os.write, [10**9]

        def write_a_little(handle, text):
            taken = min(len(text), room[0], 100)
            if not taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            room[0] -= taken
            return write(handle, bytes(text[:taken]))

        monkeypatch.setattr(os, "write", write_a_little)
        return room

    def test_it_is_one_line_and_what_was_written_stays(self, tmp_path, room):
        journal = opened(tmp_path)
        journal.add([(key(1), answer(1))])
        room[0] = 50
        with pytest.raises(
            OSError, match=r"No space left on device: .*\); those before are kept, and the same command"
        ):
            journal.add([(key(2), answer(2))])
        room[0] = 10**9
        journal.add([(key(3), answer(3))])
        again = opened(tmp_path)
        assert [again.find(key(seed), Generation) for seed in (1, 2, 3)] == [answer(1), None, answer(3)]

    def test_the_run_stops_and_the_next_one_goes_on(self, tmp_path, room, checkpoints, ask, decoded):
        lm = LLaDA(checkpoints["llada"], journal=tmp_path, **SHORT)
        room[0] = 900
        with pytest.raises(OSError, match="cannot be journalled"):
            ask(lm, PROMPTS)
        num_kept = num_whole_answers(tmp_path)
        assert num_kept > 0
        room[0] = 10**9
        decoded.clear()
        ask(LLaDA(checkpoints["llada"], journal=tmp_path, **SHORT), PROMPTS)
        assert len(decoded) == len(PROMPTS) - num_kept

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE])
    def test_whatever_the_error_in_the_middle_of_a_line_the_disk_is_named(self, tmp_path, monkeypatch, number):
        journal, write = opened(tmp_path), os.write
        journal.add([(key(1), answer(1))])

        def write_half(handle, text):
            if len(text) < 20:
                raise OSError(number, os.strerror(number))
            return write(handle, bytes(text[: len(text) // 2]))

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write_half)
            with pytest.raises(OSError, match=rf"{os.strerror(number)}: the disk at / .*\); those before are kept"):
                journal.add([(key(2), answer(2))])
        journal.add([(key(3), answer(3))])
        again = opened(tmp_path)
        assert [again.find(key(seed), Generation) for seed in (1, 2, 3)] == [answer(1), None, answer(3)]

    def test_a_small_disk_that_is_really_full(self, small_disk, harness_log):  # noqa: F811
        small_disk.fill(free=8192)
        journal, num_kept = opened(small_disk.root / "journal"), 0
        with pytest.raises(OSError, match=f"No space left on device: the disk at {small_disk.root} is full, or its"):
            for seed in range(1000):
                journal.add([(key(seed), answer(seed))])
                num_kept += 1
        small_disk.make_room()
        journal.add([(key(1000), answer(1000))])
        again = opened(small_disk.root / "journal")
        found = [seed for seed in range(1001) if again.find(key(seed), Generation) == answer(seed)]
        assert found == [*range(num_kept), 1000]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_device_that_is_really_full(self, tmp_path, monkeypatch):
        monkeypatch.setattr(journal_module, "_new_file", lambda folder: os.open("/dev/full", os.O_WRONLY))
        with pytest.raises(OSError, match="No space left on device"):
            opened(tmp_path).add([(key(1), answer(1))])


class TestResume:
    @pytest.fixture(params=[LLaDA, Dream])
    def load(self, request, checkpoints, tmp_path):
        """`load(**arguments)`: a model that keeps its journal in one folder."""
        model = request.param
        return lambda **arguments: model(
            checkpoints[model.family], **{**SHORT, "journal": str(tmp_path / "journal"), **arguments}
        )

    @pytest.mark.parametrize("again", [{}, {"batch_size": 7}, {"batch_size": "auto"}, {"max_length": 200}])
    def test_nothing_is_decoded_again_and_the_counts_are_of_all(self, load, ask, decoded, again):
        first = load()
        expected = ask(first, PROMPTS)
        decoded.clear()
        second = load(**again)
        assert ask(second, PROMPTS) == expected
        assert decoded == []
        then, now = first.get_model_info(), second.get_model_info()
        assert [now[name] for name in COUNTS] == [then[name] for name in COUNTS]
        assert now["decoding_seconds"] == pytest.approx(then["decoding_seconds"], abs=2e-3)
        assert (then["journalled_answers"], now["journalled_answers"]) == (0, 7)
        assert now["warnings"] == []

    def test_it_goes_on_where_it_stopped(self, load, ask, decoded):
        expected = ask(load(journal=None), PROMPTS)
        ask(load(), PROMPTS[:3])
        decoded.clear()
        lm = load(batch_size=1)
        assert ask(lm, PROMPTS) == expected
        assert len(decoded) == 4
        assert (lm.get_model_info()["requests"], lm.get_model_info()["journalled_answers"]) == (7, 3)

    @pytest.mark.parametrize(
        ("decoder", "changed"),
        [
            ({"decoder": "p2", "eta": 0.5}, {"kappa": "sine"}),
            ({"decoder": "open_dllm"}, {"variant": "p2_upgraded_remdm"}),
            ({"decoder": "corrective", "threshold": 0.01}, {"threshold": 0.9}),
        ],
        ids=str,
    )
    def test_so_do_decoders_that_mask_again_each_by_its_options(self, load, ask, decoded, decoder, changed):
        given = {"block_length": 32, **decoder}  # its default, since they read none
        expected = ask(load(journal=None, **given), PROMPTS)
        ask(load(**given), PROMPTS[:3])
        decoded.clear()
        lm = load(batch_size=7, **given)
        assert ask(lm, PROMPTS) == expected
        assert (len(decoded), lm.get_model_info()["journalled_answers"]) == (4, 3)
        decoded.clear()
        ask(load(**{**given, **changed}), PROMPTS[:2])
        assert len(decoded) == 2

    @pytest.mark.parametrize(
        "changed",
        [
            {"num_steps": 8},
            {"seed": 1},
            {"alg": "margin"},
            {"temperature": 0.5},
            {"dtype": "bfloat16"},
            {"mask_id": 5},
            {"eos_id": 6},
            {"stop_at_eos": False},
        ],
        ids=str,
    )
    def test_a_changed_setting_starts_anew_and_the_old_answers_stay(self, load, ask, decoded, changed):
        ask(load(), PROMPTS[:2])
        decoded.clear()
        ask(load(**changed), PROMPTS[:2])
        assert len(decoded) == 2
        ask(load(), PROMPTS[:2])
        assert len(decoded) == 2

    def test_steps_given_the_other_way_are_the_same_setting(self, load, ask, decoded):
        ask(load(), PROMPTS[:2])
        decoded.clear()
        ask(load(num_steps=None, tokens_per_step=4), PROMPTS[:2])
        assert decoded == []

    def test_steps_do_not_matter_where_confidence_sets_the_pace(self, load, ask, decoded):
        ask(load(alg="low_confidence", threshold=0.5), PROMPTS[:2])
        decoded.clear()
        ask(load(alg="low_confidence", threshold=0.5, num_steps=4), PROMPTS[:2])
        assert decoded == []

    def test_repeats_are_answers_of_their_own(self, load, ask, decoded):
        expected = ask(load(temperature=1.0, journal=None), PROMPTS[:2], repeats=3)
        ask(load(temperature=1.0), PROMPTS[:2])
        decoded.clear()
        assert ask(load(temperature=1.0), PROMPTS[:2], repeats=3) == expected
        assert len(decoded) == 4

    def test_other_stop_words_need_no_decoding(self, load, ask, decoded):
        (text,) = ask(load(), ["a"])
        decoded.clear()
        assert ask(load(), ["a"], until=[text[2:4]]) == [text.partition(text[2:4])[0]]
        assert decoded == []

    def test_changed_weights_or_code_start_anew(self, load, ask, decoded, checkpoints, tmp_path, monkeypatch):
        lm = load()
        ask(lm, PROMPTS[:1])
        copy = tmp_path / "copy"
        shutil.copytree(checkpoints[lm.family], copy)
        decoded.clear()
        ask(type(lm)(str(copy), **SHORT, journal=tmp_path / "journal"), PROMPTS[:1])
        assert decoded == []  # the same files elsewhere are the same checkpoint
        weights = load_file(copy / "model.safetensors")
        next(iter(weights.values()))[0] += 1
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        ask(type(lm)(str(copy), **SHORT, journal=tmp_path / "journal"), PROMPTS[:1])
        assert len(decoded) == 1
        monkeypatch.setattr("lm_eval_codd.models.masked_setup.code_version", lambda room: "another")
        ask(load(), PROMPTS[:1])
        assert len(decoded) == 2

    def test_an_answer_is_in_the_journal_before_the_next_one_is_asked_for(self, load, ask, tmp_path, monkeypatch):
        stream, seen = decoding.stream, []

        def look_first(*args, **kwargs):
            for finished in stream(*args, **kwargs):
                seen.append(num_whole_answers(tmp_path / "journal"))
                yield finished

        monkeypatch.setattr(decoding, "stream", look_first)
        ask(load(batch_size=3), PROMPTS)
        assert seen == list(range(len(PROMPTS)))

    def test_answers_made_elsewhere_are_a_warning_in_the_result(self, load, ask, monkeypatch):
        ask(load(), PROMPTS[:3])
        monkeypatch.setattr("lm_eval_codd.models.record._device_name", lambda device: "another GPU")
        lm = load()
        ask(lm, PROMPTS)
        (warning,) = lm.get_model_info()["warnings"]
        assert warning.startswith("3 of 7 answers come out of a journal and were made on other hardware")

    def test_the_bar_starts_at_what_is_there(self, load, ask, make_request, capfd):
        ask(load(), PROMPTS[:3])
        lm = load(batch_size=4)
        capfd.readouterr()
        lm.generate_until([make_request(prompt, index) for index, prompt in enumerate(PROMPTS)])
        shown = capfd.readouterr().err
        assert "3/7" in shown
        assert "7/7" in shown

    def test_with_use_cache_both_are_filled(self, load, evaluate, decoded, tmp_path):
        evaluate(load())
        decoded.clear()
        evaluate(load(), use_cache=str(tmp_path / "cache"))
        cached = evaluate(load(journal=None), use_cache=str(tmp_path / "cache"))
        assert decoded == []
        assert cached["config"]["requests"] == 0
