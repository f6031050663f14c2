import json
from pathlib import Path

import pytest

from lm_eval_codd.launch.execute import Job
from lm_eval_codd.runs import record
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name


@pytest.fixture
def job_of(checkpoint: Path, tmp_path: Path):
    """A job from more flags of a run of a local checkpoint."""

    def make(more: str = "") -> Job:
        run = parse_run(f"--model_alias llada --llada_ckpt '{checkpoint}' --task gsm8k {more}")
        return Job(run, run_name(run), tmp_path / "results" / run_name(run), {})

    return make


def finish(job: Job) -> None:
    """As if the job had been executed."""
    job.folder.mkdir(parents=True)
    (job.folder / "results_1.json").write_text(json.dumps({}))
    about = {"status": "finished", "identity": job.run.identity(), "fingerprints": job.run.fingerprints()}
    record.write(job.folder, {**about, "results": "results_1.json", "ended": "now"})
