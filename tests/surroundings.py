"""The tests' environment, the same for every user on every machine from the first import of this module on."""

import os
import re
import shutil
import tempfile
from collections.abc import MutableMapping

# Of the package, of lm-eval, of the hub and its libraries, of clusters and services, of terminals and of Python itself.
_OF_USERS = re.compile(
    r"(CODD|LMEVAL|HF|HUGGING_?FACE|TRANSFORMERS|DATASETS|ACCELERATE|TQDM|SLURM|SBATCH|SRUN|GITHUB)_\w+"
    r"|((LOCAL|GROUP)_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)"
    r"|COLUMNS|LINES|(NO|FORCE)_COLOR|TTY_\w+|LOGLEVEL|PYTHON(WARNINGS|HASHSEED|UTF8)"
)
# Says where the tests find goldens and real rows.
_OF_THE_TESTS = "CODD_SHARED"


def forget(environ: MutableMapping[str, str]) -> None:
    """Take out of an environment what users say in it, so that it reaches no test."""
    for name in list(environ):
        if _OF_USERS.fullmatch(name) and name != _OF_THE_TESTS:
            del environ[name]


def remove() -> None:
    """What the hub's libraries have written in these tests."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


forget(os.environ)
os.environ |= {"HF_HOME": tempfile.mkdtemp(prefix="hf-"), "HF_HUB_OFFLINE": "1"}
