"""What a journal keeps where its files were cut or changed, and where the disk is full."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from lm_eval_codd.decoding import Generation
from lm_eval_codd.models import journal as journal_module
from lm_eval_codd.models.journal import Kept
from lm_eval_codd.models.llada import LLaDA
from tests.models.journals import PROMPTS, SHORT, answer, key, num_whole_answers, opened, write
from tests.small_disk import small_disk  # noqa: F401


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
