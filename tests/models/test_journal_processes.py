"""The journal under real processes: killed, and two at once."""

import json
import random
import signal
import time

from lm_eval_codd.models.llada import LLaDA
from tests.forked import PATIENCE, start
from tests.models.processes import answer

SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 8, "device": "cpu", "batch_size": 2}
COUNTS = ("requests", "nfe", "circuit_calls", "answer_tokens", "truncated_prompts")


def num_whole_answers(folder):
    """Answers in a folder's files, for numbers that the journal itself has not counted."""
    if not folder.is_dir():
        return 0
    lines = [line for file in folder.iterdir() for line in file.read_bytes().splitlines(keepends=True)]
    return sum(line.startswith(b'{"key"') and line.endswith(b'"}\n') for line in lines)


class TestProcesses:
    PROMPTS = tuple(f"question {index}" for index in range(40))

    def test_killed_at_random_moments_it_ends_with_the_answers_of_an_undisturbed_run(self, checkpoints, ask, tmp_path):
        settings = {**SHORT, "num_steps": 16, "temperature": 0.7, "journal": str(tmp_path / "journal")}
        journalled = []
        for _ in range(3):
            resized = {**settings, "batch_size": random.randint(1, 3)}
            worker = start(answer, checkpoints["llada"], resized, self.PROMPTS, tmp_path / "out")
            # Wherever it is once it has answered a few more; 40 questions leave it enough to do.
            enough = (journalled or [0])[-1] + random.randint(1, 8)
            while num_whole_answers(tmp_path / "journal") < enough:
                assert worker.is_alive()
                time.sleep(0.001)
            worker.kill()
            worker.join(PATIENCE)
            assert worker.exitcode == -signal.SIGKILL
            assert not (tmp_path / "out").exists(), "it was not killed in time"
            journalled.append(num_whole_answers(tmp_path / "journal"))
        worker = start(answer, checkpoints["llada"], settings, self.PROMPTS, tmp_path / "out")
        worker.join(PATIENCE)
        assert worker.exitcode == 0
        answers, info = json.loads((tmp_path / "out").read_text())
        undisturbed = LLaDA(checkpoints["llada"], **{**settings, "journal": None})
        assert answers == ask(undisturbed, list(self.PROMPTS))
        assert [info[name] for name in COUNTS] == [undisturbed.get_model_info()[name] for name in COUNTS]
        assert 0 < journalled[-1] == info["journalled_answers"]
        assert journalled == sorted(journalled)

    def test_two_writers_at_once_do_not_meet(self, tmp_path, checkpoints, ask, decoded):
        settings = {**SHORT, "journal": str(tmp_path / "journal")}
        asked = (answer, checkpoints["llada"], settings, self.PROMPTS)
        workers = [start(*asked, tmp_path / f"out{index}") for index in range(2)]
        for worker in workers:
            worker.join(PATIENCE)
        assert [worker.exitcode for worker in workers] == [0, 0]
        first, second = (json.loads((tmp_path / f"out{index}").read_text())[0] for index in range(2))
        assert ask(LLaDA(checkpoints["llada"], **settings), list(self.PROMPTS)) == first == second
        assert decoded == []
        assert len(list((tmp_path / "journal").iterdir())) <= 2
