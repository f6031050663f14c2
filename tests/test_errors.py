"""An error of this package ends lm-eval's own command in one line; no other error is touched."""

import sys
from pathlib import Path

import pytest

import lm_eval_codd
from lm_eval_codd.errors import end_quietly_in_lm_eval
from lm_eval_codd.settings import DecodingConfig

HOMES = (Path(lm_eval_codd.__file__).resolve().parent,)
COMMAND = "/site-packages/lm_eval/__main__.py"


def ours():
    DecodingConfig(num_steps=100)


def of_a_library():
    raise ValueError("not raised by this package")


def of_python():
    DecodingConfig(num_steps=object.nothing)


def run(call, file=COMMAND):
    """`call` inside of a function `cli_evaluate` of that file, and the error it raised."""
    namespace = {}
    exec(compile("def cli_evaluate(call):\n    call()\n", file, "exec"), namespace)
    try:
        namespace["cli_evaluate"](call)
    except Exception as error:
        return error


@pytest.fixture
def before(monkeypatch):
    """What reaches the hook that was there before."""
    seen = []
    monkeypatch.delenv("LMEVAL_LOG_LEVEL", raising=False)
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(error))
    end_quietly_in_lm_eval(HOMES)
    return seen


def end_with(error):
    sys.excepthook(type(error), error, error.__traceback__)


def test_an_error_of_ours_is_one_line(before, capsys):
    end_with(run(ours))
    said = capsys.readouterr().err
    assert said.startswith("lm_eval: `num_steps=100` cannot be split over 16 blocks of 32; ")
    assert said.count("\n") == 1
    assert before == []


@pytest.mark.parametrize(("call", "file"), [(of_a_library, COMMAND), (of_python, COMMAND), (ours, "/home/me/eval.py")])
def test_others_are_shown_as_before(before, capsys, call, file):
    """Errors from elsewhere, faults in the code, and whatever ends somebody's own program."""
    error = run(call, file)
    end_with(error)
    assert before == [error]
    assert capsys.readouterr().err == ""


def test_the_debug_level_shows_where_it_comes_from(before, monkeypatch):
    monkeypatch.setenv("LMEVAL_LOG_LEVEL", "debug")
    error = run(ours)
    end_with(error)
    assert before == [error]


def test_a_fault_of_its_own_hides_no_error(before, monkeypatch):
    monkeypatch.setattr("lm_eval_codd.errors.ends_in_one_line", lambda *_: 1 / 0)
    error = run(ours)
    end_with(error)
    assert before == [error]


def test_it_is_put_in_place_once(before):
    hook = sys.excepthook
    end_quietly_in_lm_eval(HOMES)
    assert sys.excepthook is hook


def test_it_comes_with_the_models(monkeypatch):
    from lm_eval_codd.registration import register

    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    register()
    assert sys.excepthook is not sys.__excepthook__
