"""What is written holds no token of the environment and no home folder: logs, records, results, journals and pages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_codd.terminal.clean_text import without_homes

ROOT = Path(__file__).parents[1]
SECRETS = {
    name: f"{name.lower()}-b7f3-never-written"
    for name in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "OPENAI_API_KEY",
        "WANDB_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "OWN",
    )
}


class TestHomes:
    @pytest.mark.parametrize(
        "text, shown",
        [
            ("/home/ada/models/llada", "~/models/llada"),
            ("/Users/ada/llada: damaged", "~/llada: damaged"),
            ("cd /root, and /home/ada.", "cd ~, and ~"),
            ("/data/home/ada/x", "/data/home/ada/x"),
            ("/homely/place", "/homely/place"),
            ("GSAI-ML/LLaDA-8B-Base", "GSAI-ML/LLaDA-8B-Base"),
        ],
    )
    def test_are_a_tilde(self, text, shown):
        assert without_homes(text) == shown

    def test_that_of_whoever_reads_is_wherever_it_lies(self, monkeypatch):
        monkeypatch.setenv("HOME", "/mnt/people/ada")
        assert without_homes({"a": ["/mnt/people/ada/x", ("/mnt/people/ada", 3)]}) == {"a": ["~/x", ["~", 3]]}


@pytest.mark.slow
def test_a_whole_run_writes_neither_tokens_nor_homes(tmp_path):
    """The launcher, lm-eval's own results, the report's page and a trace."""
    home, results = tmp_path / "home" / "ada-of-the-test", tmp_path / "results"
    home.mkdir(parents=True)
    environment = {**os.environ, **SECRETS, "HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lm_eval_codd", *command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    text = "--model_alias llada --llada_ckpt demo --pc_ckpt demo --task demo --limit 2 --gen_length 32 --num_steps 16"
    said = run("launch", "--gpus", "cpu", "--output_dir", str(results), "--run", text)
    said += run("report", str(results), "--html", str(results / "report.html"))
    model = ("--model", "llada", "--model_args", "pretrained=demo,num_steps=16")
    said += run("trace", *model, "--prompt", "two and two", "--html", str(results / "trace.html"))
    written = [path for path in results.rglob("*") if path.is_file()]
    assert {"run.json", "log.txt", "report.html", "trace.html"} <= {path.name for path in written}
    assert any(path.name.startswith("samples_") for path in written)
    forbidden = re.compile("|".join(map(re.escape, [*SECRETS.values(), home.name])))
    found = {
        str(path): match[0]
        for path in written
        if (match := forbidden.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert not found
    assert not forbidden.search(said)
