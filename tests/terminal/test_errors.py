"""An error of this package ends lm-eval's own command in one line; no other error is touched."""

import inspect
import sys
import traceback
from pathlib import Path

import datasets.load
import pytest
from lm_eval._cli.run import Run
from lm_eval.api.registry import get_model, model_registry
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

import lm_eval_codd
from lm_eval_codd import registration
from lm_eval_codd.files.untrusted import read_object
from lm_eval_codd.settings import DecodingConfig
from lm_eval_codd.terminal import host_errors
from lm_eval_codd.terminal.errors import end_quietly_in_lm_eval

HOMES = (Path(lm_eval_codd.__file__).resolve().parent,)
COMMAND = "/site-packages/lm_eval/__main__.py"


def ours():
    DecodingConfig.for_family("llada", num_steps=100)


def of_a_library():
    raise ValueError("not raised by this package")


def of_python():
    DecodingConfig(num_steps=object.nothing)


def of_a_file_of_ours():
    read_object(Path("/nowhere/at/all.json"))


def of_a_file_of_a_library():
    code = compile("import pathlib; pathlib.Path('/nowhere/at/all.json').stat()", "/site-packages/other.py", "exec")
    exec(code, {"__name__": "other"})


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


def test_what_the_system_says_of_a_file_of_ours_is_one_line(before, capsys):
    error = run(of_a_file_of_ours)
    assert "pathlib" in traceback.extract_tb(error.__traceback__)[-1].filename
    end_with(error)
    assert capsys.readouterr().err == "lm_eval: [Errno 2] No such file or directory: '/nowhere/at/all.json'\n"
    assert before == []


@pytest.mark.parametrize(
    ("call", "file"),
    [(of_a_library, COMMAND), (of_a_file_of_a_library, COMMAND), (of_python, COMMAND), (ours, "/home/me/eval.py")],
)
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
    monkeypatch.setattr("lm_eval_codd.terminal.errors.ends_in_one_line", lambda *_: 1 / 0)
    error = run(ours)
    end_with(error)
    assert before == [error]


def test_it_is_put_in_place_once(before):
    hook = sys.excepthook
    end_quietly_in_lm_eval(HOMES)
    assert sys.excepthook is hook


class TestOfLmEvalItself:
    """A name that lm-eval does not know, in its own command."""

    @pytest.fixture
    def hook(self, before, monkeypatch):
        """As `register` puts it in place."""
        monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: before.append(error))
        end_quietly_in_lm_eval(HOMES, registration._about_names)

    @pytest.mark.usefixtures("hook")
    @pytest.mark.parametrize("model", ["llada", "hf"])
    def test_is_said_in_one_line_where_the_model_is_ours(self, before, capsys, model):
        def execute():
            cfg = EvaluatorConfig(model=model)  # noqa: F841 - read from the frame
            raise ValueError("Tasks not found: codd_gsm8")

        error = run(execute)
        end_with(error)
        said = capsys.readouterr().err
        if model == "llada":
            assert said.startswith("lm_eval: lm-eval knows no task codd_gsm8; did you mean codd_gsm8k? ")
            assert said.count("\n") == 1
            assert before == []
        else:
            assert (before, said) == ([error], "")

    @pytest.mark.usefixtures("hook")
    @pytest.mark.parametrize(
        ("model", "near"), [("codd_lada", "`codd_llada` or "), ("hff", None), ("dumy", None), ("codd_llama", None)]
    )
    def test_says_which_model_of_ours_a_misspelt_one_may_be(self, before, capsys, monkeypatch, model, near):
        def execute():
            cfg = EvaluatorConfig(model=model)
            get_model(cfg.model)()

        class TheUsers:
            def __init__(self):
                raise ValueError("a fault of its own")

        registration.register()
        monkeypatch.setitem(model_registry._objs, "codd_llama", TheUsers)  # near codd_llada
        end_with(run(execute))
        said = capsys.readouterr().err
        if near is None:
            assert (len(before), said) == (1, "")
        else:
            assert said.startswith(f"lm_eval: unknown model `{model}`; did you mean {near}")

    @pytest.mark.usefixtures("hook")
    @pytest.mark.parametrize("limit", [0, -3])
    def test_says_that_a_limit_leaves_no_document(self, capsys, limit):
        def execute():
            cfg = EvaluatorConfig(model="llada")  # noqa: F841 - read from the frame
            simple_evaluate("dummy", tasks=["codd_demo"], limit=limit, bootstrap_iters=0, task_manager=tasks)

        tasks = TaskManager(include_path=str(registration.tasks_dir()), include_defaults=False)
        end_with(run(execute))
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("lm_eval: no document is left to evaluate; use a `--limit` of 1 or more ")

    @pytest.mark.usefixtures("hook")
    def test_says_whose_rows_cannot_be_fetched(self, capsys):
        def execute():
            cfg = EvaluatorConfig(model="llada")  # noqa: F841 - read from the frame
            raise ConnectionError("Couldn't reach 'nobody/nothing' on the Hub (OfflineModeIsEnabled)")

        assert "Couldn't reach '{path}' on the Hub" in inspect.getsource(datasets.load)
        end_with(run(execute))
        said = capsys.readouterr().err
        assert said.startswith("lm_eval: the rows of `nobody/nothing` are not on this machine, ")
        assert said.count("\n") == 1

    def test_is_raised_where_it_is_looked_for(self):
        assert "cfg" in Run._execute.__code__.co_varnames
        assert host_errors.UNKNOWN_TASKS in inspect.getsource(EvaluatorConfig.process_tasks)

    @pytest.mark.usefixtures("hook")
    def test_anything_else_is_shown_as_before(self, before, capsys):
        error = run(of_a_library)
        end_with(error)
        assert before == [error]


@pytest.mark.parametrize("function", ["register", "register_tasks"])
def test_it_comes_with_the_models_and_the_tasks(monkeypatch, function):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(TaskManager, "__init__", TaskManager.__init__)  # what is put in its place does not stay
    getattr(registration, function)()
    assert sys.excepthook is not sys.__excepthook__
