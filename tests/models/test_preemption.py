"""SIGTERM and Ctrl-C while requests are answered: what is there is on the disk, and the same command goes on."""

import os
import signal
import threading

import pytest
from lm_eval.api.instance import Instance

from lm_eval_codd import decoding
from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.journal import Journal
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.preemption import Preempted, keeping_answers
from tests.models.journals import answer, key, opened

SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 8, "device": "cpu", "batch_size": 1}
PROMPTS = ["a", "bb bb", "c" * 9, "d" * 9, "e"]


@pytest.fixture
def flushed(monkeypatch):
    """How many bytes of each file were on the disk when it was last flushed, by descriptor."""
    fsync, sizes = os.fsync, {}

    def note(handle):
        fsync(handle)
        sizes[handle] = os.fstat(handle).st_size

    monkeypatch.setattr(os, "fsync", note)
    return sizes


@pytest.fixture
def signalled(monkeypatch):
    """`signalled(number, after)`: this process gets a signal once, in a step after so many answers."""

    # Tests started in the background inherit an ignored Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def set_up(number, after):
        stream, sent = decoding.stream, []

        def with_signal(*args, on_step, **kwargs):
            made = []

            def step(event):
                if len(made) == after and not sent:
                    sent.append(number)
                    signal.raise_signal(number)
                on_step(event)

            for finished in stream(*args, on_step=step, **kwargs):
                made.append(finished)
                yield finished

        monkeypatch.setattr(decoding, "stream", with_signal)

    yield set_up
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "ends_with", "says"),
    [(signal.SIGTERM, Preempted, "preempted (SIGTERM)"), (signal.SIGINT, KeyboardInterrupt, "interrupted")],
)
class TestASignalBetweenTwoAnswers:
    def test_leaves_every_answer_on_the_disk_and_the_same_command_goes_on(
        self, number, ends_with, says, checkpoints, ask, signalled, flushed, harness_log, tmp_path
    ):
        expected = ask(LLaDA(checkpoints["llada"], **SHORT), PROMPTS)
        signalled(number, after=3)
        with pytest.raises(ends_with) as end:
            ask(LLaDA(checkpoints["llada"], journal=tmp_path, **SHORT), PROMPTS)
        if number == signal.SIGTERM:
            assert end.value.code == 143
        (file,) = tmp_path.iterdir()
        assert file.stat().st_size in flushed.values()
        assert f"{says}: the answers so far are journalled in {tmp_path}; the same command goes on" in harness_log.text
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        lm = LLaDA(checkpoints["llada"], journal=tmp_path, **SHORT)
        assert ask(lm, PROMPTS) == expected
        assert lm.get_model_info()["journalled_answers"] == 3

    def test_without_a_journal_says_that_the_answers_are_lost(
        self, number, ends_with, says, checkpoints, ask, signalled, harness_log
    ):
        signalled(number, after=3)
        with pytest.raises(ends_with):
            ask(LLaDA(checkpoints["llada"], **SHORT), PROMPTS)
        assert f"{says}: the answers so far are lost, since there is no journal; `journal=FOLDER`" in harness_log.text


def pair(index, *texts):
    return Instance("loglikelihood", {}, texts, idx=0, metadata=("tiny", index, 1), task_name="tiny", doc_id=index)


class TestSIGTERM:
    def test_ends_likelihoods_in_the_same_way(self, checkpoints, tmp_path, flushed, monkeypatch):
        lm = LLaDA(checkpoints["llada"], journal=tmp_path, num_samples=2, device="cpu")
        add = Journal.add

        def add_and_be_preempted(journal, answers):
            add(journal, answers)
            signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(Journal, "add", add_and_be_preempted)
        with pytest.raises(Preempted):
            lm.loglikelihood([pair(0, "a", " b"), pair(1, "a", " c")])
        (file,) = tmp_path.iterdir()
        assert file.stat().st_size in flushed.values()

    def test_is_left_to_a_host_that_handles_it(self):
        got, before = [], signal.signal(signal.SIGTERM, lambda *_: got.append("host"))
        try:
            with keeping_answers(None):
                signal.raise_signal(signal.SIGTERM)
            assert got == ["host"]
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_is_left_alone_in_another_thread(self):
        failed = []

        def answer_there():
            try:
                with keeping_answers(None):
                    pass
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=answer_there)
        thread.start()
        thread.join()
        assert failed == []

    def test_a_second_time_does_not_cut_the_end_short(self, tmp_path, monkeypatch, harness_log):
        journal = opened(tmp_path)
        flush, flushed = Journal.flush, []

        def flush_and_be_asked_again(journal):
            signal.raise_signal(signal.SIGTERM)
            flush(journal)
            flushed.append(True)

        monkeypatch.setattr(Journal, "flush", flush_and_be_asked_again)
        with pytest.raises(Preempted), keeping_answers(journal):
            signal.raise_signal(signal.SIGTERM)
        assert flushed == [True]
        assert "preempted (SIGTERM)" in harness_log.text


class TestHalfALine:
    def test_of_an_interrupted_write_spoils_no_line_after_it(self, tmp_path, monkeypatch):
        journal = opened(tmp_path)
        journal.add([(key(1), answer(1))])
        write = os.write

        def write_half_and_be_interrupted(handle, text):
            write(handle, bytes(text[: len(text) // 2]))
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write_half_and_be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.add([(key(2), answer(2))])
        journal.add([(key(3), answer(3))])
        again = opened(tmp_path)
        assert [again.find(key(seed), Generation) for seed in (1, 2, 3)] == [answer(1), None, answer(3)]
