"""What a user has set for their own runs reaches no test, and their downloads neither."""

import os
from pathlib import Path

from huggingface_hub import constants

from tests.surroundings import forget


def test_no_variable_of_a_users_is_left():
    kept = {
        "PATH": "/bin",
        "HOME": "/home/ada",
        "CODD_SHARED": "/shared",
        "CUDA_VISIBLE_DEVICES": "1",
        "TEST_SLURM": "1",
    }
    users = ["CODD_DATA_DIR", "CODD_SANDBOX", "HF_HOME", "HF_TOKEN", "SLURM_JOB_ID", "WORLD_SIZE", "LOCAL_RANK"]
    users += ["LMEVAL_LOG_LEVEL", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS", "GITHUB_STEP_SUMMARY"]
    environ = {**kept, **dict.fromkeys(users, "1")}
    forget(environ)
    assert environ == kept


def test_the_hub_is_not_asked_and_its_downloads_are_the_tests_own():
    assert constants.HF_HUB_OFFLINE
    assert str(Path(os.environ["HF_HOME"]) / "hub") == constants.HF_HUB_CACHE
