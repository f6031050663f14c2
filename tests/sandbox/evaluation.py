"""An evaluation to attack: a process of its own that grades programs, as root or as an ordinary user.

Run as a script it is that process: a line of JSON a program, a line of JSON for how it ended.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SECRET = "secret-of-the-evaluation"
# Beyond a program's own time: a busy machine takes seconds to start an interpreter.
SLACK_SECONDS = 120
NOBODY = 65534
CHECKOUT = Path(__file__).parents[2]
# The second is for an ordinary user who may not look into the folder where root has its interpreter.
INTERPRETERS = (sys.executable, "/usr/bin/python3")


class Evaluation:
    """The process, a folder with what is dear to its user, and programs of that user which stand beside it.

    Attributes:
        folder: the user's home.
        temporary: where the sandbox has its folders.
    """

    def __init__(self, user):
        self.user = user
        self._holder = tempfile.TemporaryDirectory(prefix="evaluation-", ignore_cleanup_errors=True)
        self.folder = Path(self._holder.name)
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()
        self._give(self.folder)
        self._give(self.temporary)
        for interpreter in INTERPRETERS:
            with contextlib.suppress(OSError):
                started = self._started([interpreter, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self.process = started
                if self._line(SLACK_SECONDS) == "ready\n":
                    return
                self._end()
        self._holder.cleanup()
        raise OSError(f"no interpreter of {', '.join(INTERPRETERS)} runs for user {user}")

    def close(self):
        """It is gone with all it left behind."""
        self._end()
        self._holder.cleanup()

    def _end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def run(self, code, tests="assert False", timeout=20.0, memory_mb=2048):
        """How a program ends: (status, detail). Fails where the evaluation is dead or frozen afterwards."""
        self.send(code, tests, timeout, memory_mb)
        line = self._line(timeout + SLACK_SECONDS)
        assert line, f"the evaluation is gone: exit status {self.process.poll()}, {state(self.process.pid)}"
        status, detail = json.loads(line)
        assert status != "error", detail
        return status, detail

    def send(self, code, tests="assert False", timeout=20.0, memory_mb=2048):
        """Have a program run and wait for nothing."""
        given = {"code": code, "tests": tests, "timeout": timeout, "memory_mb": memory_mb}
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()

    def bystander(self):
        """Another process of the same user, in a session of its own."""
        return self._started(["sleep", "600"])

    def file(self, name, content):
        """A file of the user's."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        self._give(path)
        return path

    def _give(self, path):
        if self.user != os.getuid():
            os.chown(path, self.user, self.user)

    def _started(self, command, **streams):
        as_user = {}
        if self.user != os.getuid():
            as_user = {"user": self.user, "group": self.user, "extra_groups": []}
        environment = {**os.environ, "HOME": str(self.folder), "HF_TOKEN": SECRET, "PYTHONPATH": str(CHECKOUT)}
        environment["TMPDIR"] = str(self.temporary)
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, start_new_session=True, **streams, **as_user
        )

    def _line(self, seconds):
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else ""


def state(pid):
    """What the kernel says a process does ("S (sleeping)", "T (stopped)", ...); "gone" where there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "gone"
    return next(line.split("\t", 1)[1] for line in lines if line.startswith("State:"))


def main():
    from lm_eval_codd.sandbox import SandboxError, run_program

    print("ready", flush=True)
    for line in sys.stdin:
        try:
            outcome = run_program(**json.loads(line))
            ended = [outcome.status, outcome.detail]
        except SandboxError as error:
            ended = ["error", str(error)]
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main()
