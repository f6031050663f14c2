"""Who attacks: root and an ordinary user, where this machine lets the tests be both."""

import os

import pytest

from tests.sandbox.evaluation import NOBODY, Evaluation


@pytest.fixture(scope="session", params=["root", "user"])
def _user(request):
    if os.getuid() == 0:
        return 0 if request.param == "root" else NOBODY
    if request.param == "root":
        pytest.skip("these tests do not run as root")
    return os.getuid()


@pytest.fixture(scope="session")
def _evaluations(_user):
    """The one that runs now; a dead one is followed by another."""
    try:
        running = [Evaluation(_user)]
    except OSError as error:
        pytest.skip(str(error))
    yield running
    running[0].close()


@pytest.fixture
def evaluation(_evaluations, _user):
    """An evaluation that runs before the test and has to run after it."""
    if _evaluations[0].process.poll() is not None:
        _evaluations[0].close()
        _evaluations[0] = Evaluation(_user)
    return _evaluations[0]
