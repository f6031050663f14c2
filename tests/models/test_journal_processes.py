"""The journal under real processes: killed, and two at once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_eval_codd.models.llada import LLaDA

SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 8, "device": "cpu", "batch_size": 2}
COUNTS = ("requests", "nfe", "circuit_calls", "answer_tokens", "truncated_prompts")

WORKER = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval_codd.models.llada import LLaDA

checkpoint, settings, prompts, out = sys.argv[1:]
lm = LLaDA(checkpoint, **json.loads(settings))
print("ready", flush=True)
prompts = json.loads(prompts)
answers = lm.generate_until([
    Instance("generate_until", {}, (prompt, {}), idx=0, metadata=("tiny", index, 1), task_name="tiny", doc_id=index)
    for index, prompt in enumerate(prompts)
])
with open(out, "w") as file:
    json.dump([answers, lm.get_model_info()], file)
"""


def num_whole_answers(folder):
    """Answers in a folder's files, for numbers that the journal itself has not counted."""
    lines = [line for file in folder.iterdir() for line in file.read_bytes().splitlines(keepends=True)]
    return sum(line.startswith(b'{"key"') and line.endswith(b'"}\n') for line in lines)


@pytest.fixture
def start(tmp_path, checkpoints):
    """`start(settings, prompts, out)`: a process that answers and writes its answers and its result to `out`."""

    def start(settings, prompts, out):
        arguments = [checkpoints["llada"], json.dumps(settings), json.dumps(prompts), str(out)]
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    return start


@pytest.mark.slow
class TestProcesses:
    PROMPTS = tuple(f"question {index}" for index in range(40))

    def test_killed_at_random_moments_it_ends_with_the_answers_of_an_undisturbed_run(
        self, start, checkpoints, ask, tmp_path
    ):
        settings = {**SHORT, "num_steps": 16, "temperature": 0.7, "journal": str(tmp_path / "journal")}
        journalled = []
        for _ in range(3):
            worker = start({**settings, "batch_size": random.randint(1, 3)}, self.PROMPTS, tmp_path / "out")
            worker.stdout.readline()
            # Wherever it is once it has answered a few more; 40 questions leave it enough to do.
            enough = (journalled or [0])[-1] + random.randint(1, 8)
            while num_whole_answers(tmp_path / "journal") < enough:
                assert worker.poll() is None
                time.sleep(0.001)
            worker.send_signal(signal.SIGKILL)
            worker.wait(60)
            assert not (tmp_path / "out").exists(), "it was not killed in time"
            journalled.append(num_whole_answers(tmp_path / "journal"))
        worker = start(settings, self.PROMPTS, tmp_path / "out")
        assert worker.wait(120) == 0
        answers, info = json.loads((tmp_path / "out").read_text())
        undisturbed = LLaDA(checkpoints["llada"], **{**settings, "journal": None})
        assert answers == ask(undisturbed, list(self.PROMPTS))
        assert [info[name] for name in COUNTS] == [undisturbed.get_model_info()[name] for name in COUNTS]
        assert 0 < journalled[-1] == info["journalled_answers"]
        assert journalled == sorted(journalled)

    def test_two_writers_at_once_do_not_meet(self, start, tmp_path, checkpoints, ask, decoded):
        settings = {**SHORT, "journal": str(tmp_path / "journal")}
        workers = [start(settings, self.PROMPTS, tmp_path / f"out{index}") for index in range(2)]
        assert [worker.wait(120) for worker in workers] == [0, 0]
        first, second = (json.loads((tmp_path / f"out{index}").read_text())[0] for index in range(2))
        assert ask(LLaDA(checkpoints["llada"], **settings), list(self.PROMPTS)) == first == second
        assert decoded == []
        assert len(list((tmp_path / "journal").iterdir())) <= 2
