"""The command line: what it says, what it returns, and what it hands to lm-eval."""

import argparse
import gc
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_codd import __main__ as command_line
from lm_eval_codd.commands import harness
from lm_eval_codd.registration import register, tasks_dir
from lm_eval_codd.terminal import host_errors
from lm_eval_codd.terminal.parser import Parser, filled


def fail_with(error: BaseException):
    def command(argv: list[str]) -> None:
        raise error

    return command


@pytest.fixture
def command(monkeypatch):
    """Put a function in place of the `tasks` command."""
    return lambda function: monkeypatch.setattr(harness, "tasks", function)


class TestCommands:
    def test_help_lists_every_command(self, capsys):
        assert command_line.main(["--help"]) == 0
        said = capsys.readouterr().out
        assert all(f"  {name} " in said for name in command_line.COMMANDS)

    def test_no_command_is_a_misuse(self, capsys):
        assert command_line.main([]) == 2
        assert capsys.readouterr().err.startswith("usage: lm-eval-codd COMMAND")

    def test_an_unknown_command_names_the_nearest(self, capsys):
        assert command_line.main(["lunch"]) == 2
        assert capsys.readouterr().err == "lm-eval-codd: unknown command `lunch`; did you mean `launch`?\n"

    def test_tasks_prints_a_folder_that_exists(self):
        done = subprocess.run(
            [sys.executable, "-m", "lm_eval_codd", "tasks"], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{tasks_dir()}\n"
        assert tasks_dir().is_dir()

    def test_the_status_of_a_command_is_the_status_of_the_program(self, command):
        command(lambda argv: len(argv))
        assert command_line.main(["tasks"]) == 0
        assert command_line.main(["tasks", "one"]) == 1


COMMANDS = [
    *([name] for name in command_line.COMMANDS if name != "run"),
    *(["crb", "make"], ["dit", "train"], ["dit", "convert"], ["dit", "distil"]),
]


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], *COMMANDS])
    def test_fits_a_terminal_of_80_columns(self, arguments, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", "80")
        try:
            assert command_line.main([*arguments, "--help"]) == 0
        except SystemExit as end:
            assert end.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 3
        assert [line for line in lines if len(line) > 80] == []

    @pytest.mark.parametrize("arguments", [command for command in COMMANDS if command not in (["launch"], ["dit"])])
    def test_explains_every_flag_and_gives_an_example(self, arguments, monkeypatch):
        """The launcher has no argparse; `dit` has its commands alone, which are here themselves."""
        parsers: list[Parser] = []

        def parse_args(parser, argv):
            parsers.append(parser)
            raise SystemExit

        monkeypatch.setattr(Parser, "parse_args", parse_args)
        with pytest.raises(SystemExit):
            command_line.main(arguments)
        (parser,) = parsers
        subcommands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        below = [part for action in subcommands for part in action.choices.values()]
        flags = [flag for part in [parser, *below] for flag in part._actions if flag not in subcommands]
        assert [flag.dest for flag in flags if not flag.help] == []
        said = f"{parser.description}\n{parser.epilog or ''}"
        assert re.search(r"^  lm[-_]eval", said, re.MULTILINE)

    def test_fills_paragraphs_and_breaks_commands_before_flags(self):
        text = "One\ntwo three.\n\n  do --this 'a --b c' --that\n  do\n\nEnd."
        assert filled(text, 14) == "One two three.\n\n  do \\\n      --this 'a --b c' \\\n      --that\n  do\n\nEnd."


class TestErrors:
    @pytest.fixture(autouse=True)
    def usual_log_level(self, monkeypatch):
        monkeypatch.delenv("LMEVAL_LOG_LEVEL", raising=False)

    @pytest.fixture
    def ours(self, monkeypatch):
        """Count this file as part of the package."""
        monkeypatch.setattr(command_line, "tasks_dir", lambda: Path(__file__).resolve().parent)

    @pytest.mark.usefixtures("ours")
    def test_an_error_of_ours_is_one_line(self, command, capsys):
        command(fail_with(ValueError("`num_steps=100` cannot be split")))
        assert command_line.main(["tasks"]) == 2
        assert capsys.readouterr().err == "lm-eval-codd tasks: `num_steps=100` cannot be split\n"

    @pytest.mark.usefixtures("ours")
    def test_the_debug_level_shows_where_it_comes_from(self, command, monkeypatch):
        monkeypatch.setenv("LMEVAL_LOG_LEVEL", "debug")
        command(fail_with(ValueError("x")))
        with pytest.raises(ValueError, match="x"):
            command_line.main(["tasks"])

    def test_an_error_from_elsewhere_keeps_its_traceback(self, command):
        command(fail_with(ValueError("not raised by this package")))
        with pytest.raises(ValueError, match="not raised"):
            command_line.main(["tasks"])

    def test_ctrl_c_ends_quietly(self, command, capsys):
        command(fail_with(KeyboardInterrupt()))
        assert command_line.main(["tasks"]) == 130
        assert capsys.readouterr().err == ""


class TestAReaderThatHasGone:
    """As `head` does once it has its lines."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["tasks"],
            ["tasks", "--help"],
            ["launch", "--help"],
            ["launch", "--dry-run", "--run", "--model_alias llada --llada_ckpt demo --task demo --gen_length 32"],
        ],
    )
    def test_ends_the_program_without_a_word(self, arguments, tmp_path):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "lm_eval_codd", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        with os.fdopen(writer) as stdout:
            done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, cwd=tmp_path, env=environment)
        assert (done.returncode, done.stderr) in [(128 + signal.SIGPIPE, b""), (0, b"")]

    def test_is_no_error_of_a_command(self, command, monkeypatch, tmp_path):
        with (tmp_path / "out").open("w") as output:
            monkeypatch.setattr(sys, "stdout", output)
            command(fail_with(BrokenPipeError()))
            assert command_line.main(["tasks"]) == 128 + signal.SIGPIPE


class TestRun:
    @pytest.fixture
    def handed_over(self, monkeypatch):
        """What lm-eval's command line would have been given."""
        import lm_eval.__main__
        import lm_eval.tasks

        given: list[str] = []
        # `run` may put a class of its own in its place.
        monkeypatch.setattr(lm_eval.tasks, "TaskManager", lm_eval.tasks.TaskManager)
        monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: given.extend(sys.argv[1:]))
        monkeypatch.setattr(sys, "argv", ["unchanged"])
        return given

    def test_our_tasks_are_included(self, handed_over):
        assert command_line.main(["run", "--model", "llada", "--tasks", "codd_gsm8k"]) == 0
        ours = ["--include_path", str(tasks_dir())]
        assert handed_over == ["run", *ours, "--model", "llada", "--tasks", "codd_gsm8k"]

    def test_other_commands_of_lm_eval_are_understood(self, handed_over):
        command_line.main(["run", "ls", "tasks"])
        assert handed_over == ["ls", "--include_path", str(tasks_dir()), "tasks"]

    @pytest.mark.parametrize("given", [["--include_path", "mine"], ["--include_path=mine"]])
    def test_a_folder_that_is_given_stays(self, handed_over, given):
        command_line.main(["run", *given, "--tasks", "x"])
        assert handed_over == ["run", *given, "--tasks", "x"]

    @pytest.mark.parametrize(("written", "is_added"), [("include_path: mine", False), ("tasks: [x]", True)])
    def test_a_folder_of_a_config_file_stays(self, handed_over, tmp_path, written, is_added):
        config = tmp_path / "config.yaml"
        config.write_text(written)
        command_line.main(["run", "--config", str(config)])
        assert ("--include_path" in handed_over) is is_added

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "`--config settings` does not exist; "),
            ("a folder", "`--config settings` is a folder; "),
            (b"", "`--config settings` holds no settings; "),
            (b"[1]", "`--config settings` holds no settings; "),
            (b"model: llada\ntasks: [x\n", "--config: `settings`, line 3, is no YAML: "),
            (b"\xff", "--config: `settings` is not UTF-8 text; "),
        ],
    )
    @pytest.mark.parametrize("flag", ["--config", "-C"])
    def test_a_config_file_that_is_none_is_one_line(
        self, handed_over, capsys, tmp_path, monkeypatch, content, said, flag
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("LMEVAL_LOG_LEVEL", raising=False)
        if content == "a folder":
            Path("settings").mkdir()
        elif content is not None:
            Path("settings").write_bytes(content)
        assert command_line.main(["run", flag, "settings"]) == 2
        seen = capsys.readouterr().err
        assert seen.startswith(f"lm-eval-codd run: {said}")
        assert seen.endswith("; give a YAML file of lm-eval's settings\n") and seen.count("\n") == 1
        assert handed_over == []

    def test_our_models_are_registered(self, handed_over):
        from lm_eval.api.registry import model_registry

        command_line.main(["run"])
        assert {"llada", "dream", "hf"} <= set(model_registry.keys())

    @pytest.mark.parametrize(
        ("model", "tasks", "imported"),
        [
            ("dream", "gsm8k_cd4lm,codd_gsm8k", [("lm_eval_codd.models.dream", False)]),
            ("dream", "codd_gsm8k", [("lm_eval_codd.models.dream", False)]),
            ("dream", "codd_gsm8k,other", []),
            ("hf", "codd_gsm8k", []),
        ],
    )
    def test_our_model_on_our_tasks_is_imported_without_the_collector(
        self, handed_over, monkeypatch, model, tasks, imported
    ):
        """Ahead of lm-eval only where nothing is left that lm-eval could refuse before it imports torch itself."""
        seen = []
        monkeypatch.setattr(harness, "import_module", lambda name: seen.append((name, gc.isenabled())))
        monkeypatch.setattr(gc, "freeze", lambda: None)
        command_line.main(["run", "--model", model, "--tasks", tasks])
        assert seen == imported
        assert gc.isenabled()

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            ("Tasks not found: codd_gsm8", "lm-eval knows no task codd_gsm8; did you mean codd_gsm8k? "),
            ("Tasks not found: mbpp_opendlm", "lm-eval knows no task mbpp_opendlm; did you mean mbpp_opendllm? "),
            ("No tasks specified, or no tasks found. Please verify the task names.", "`--tasks` is missing; "),
            (
                "Attempted to load model 'drem', but no model for this name found!",
                "unknown model `drem`; did you mean `dream`?\n",
            ),
        ],
    )
    def test_a_name_that_lm_eval_does_not_know_is_one_line(self, monkeypatch, capsys, error, said):
        import lm_eval.__main__

        def cli_evaluate():
            raise ValueError(error)

        monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", cli_evaluate)
        monkeypatch.delenv("LMEVAL_LOG_LEVEL", raising=False)
        assert command_line.main(["run", "--model", "drem"]) == 2
        seen = capsys.readouterr().err
        assert seen.startswith(f"lm-eval-codd run: {said}")
        assert seen.count("\n") == 1

    def test_what_lm_eval_says_begins_as_expected(self):
        from lm_eval.api.registry import get_model
        from lm_eval.evaluator import simple_evaluate

        register()
        with pytest.raises(ValueError, match=f"^{host_errors.UNKNOWN_MODEL}"):
            get_model("drem")
        with pytest.raises(ValueError, match=f"^{host_errors.NO_TASKS}"):
            simple_evaluate("dummy", tasks=[])


MISTAKES = {
    "inspect": [["nowhere"], [], ["demo", "--mask_id", "x"], ["circuit.jpc"]],
    "report": [["nowhere"], [], [".", "--formt", "csv"], [".", "--table", "9"]],
    "check": [["nowhere", "--against", "nowhere.yaml"], [], ["."], [".", "--level", "x"]],
    "train-circuit": [
        ["--backbone", "nowhere", "--data", "nowhere.jsonl", "--output", "circuit"],
        [],
        ["--backbone", "demo", "--data", "x.jsonl", "--output", "circuit", "--epoch", "1"],
        ["--backbone", "demo", "--data", "x.jsonl", "--output", "circuit", "--epochs", "0"],
    ],
    "train": [
        ["--objective", "papl", "--model", "nowhere", "--data", "nowhere.jsonl", "--output", "trained"],
        [],
        ["--objective", "x"],
    ],
    "convert-circuit": [["nowhere", "circuit.jpc"], [], ["demo", "circuit.pt"], ["demo", "circuit.jpc", "x"]],
    "trace": [
        ["--model", "llada", "--model_args", "pretrained=nowhere", "--prompt", "x"],
        [],
        ["--model", "lada", "--model_args", "pretrained=demo", "--prompt", "x"],
    ],
    "gap": [
        ["--model", "nowhere", "--data", "nowhere.jsonl"],
        [],
        ["--model", "demo", "--data", "x.jsonl", "--ratio", "2"],
    ],
    "dit": [
        [],
        ["convrt"],
        ["convert", "nowhere.ckpt", "folder"],
        ["convert", "x", "y", "--lst"],
        ["train", "--algo", "duo", "--data", "nowhere.jsonl", "--vocab_size", "9", "--output", "trained"],
        ["train", "--algo", "sd", "--data", "x.jsonl", "--output", "trained"],
        ["distil", "--teacher", "nowhere", "--data", "x.jsonl", "--output", "student"],
        ["distil"],
    ],
    "crb": [[], ["mak"], ["make"], ["make", "--tokenizer", "demo", "--output", "crb.jsonl", "--numbers", "9"]],
    "launch": [["--run", "x"], [], ["--rn", "x"], ["--dry-run", "--run", "--task gsm8k"]],
    "tasks": [["x"], ["--x"]],
}


class TestMistakes:
    def test_every_command_is_tried(self):
        assert MISTAKES.keys() == command_line.COMMANDS.keys() - {"run"}  # whose arguments are lm-eval's

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [(name, arguments) for name, several in MISTAKES.items() for arguments in several],
        ids=lambda value: value if isinstance(value, str) else "-".join(value) or "nothing",
    )
    def test_end_with_2_and_one_line_that_begins_with_the_command(self, name, arguments, capsys, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("LMEVAL_LOG_LEVEL", raising=False)
        assert command_line.main([name, *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"lm-eval-codd {name}: ")
        assert captured.err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["report", ".", "--margin", "x"], "report: `--margin x` must be a number"),
            (["gap", "--limit", "1.5"], "gap: `--limit 1.5` must be a whole number"),
            (
                ["report", ".", "--format", "latx"],
                "report: `--format latx` is not known; use one of markdown, csv, latex, html (did you mean latex?)",
            ),
            (["crb", "list"], "crb: `list` is not known; use one of make"),
        ],
    )
    def test_a_value_of_another_kind_is_named_with_what_is_allowed(self, arguments, said, capsys):
        assert command_line.main(arguments) == 2
        assert capsys.readouterr().err == f"lm-eval-codd {said}\n"

    def test_an_unknown_flag_is_named_with_the_nearest(self, capsys):
        command_line.main(["report", ".", "--formt", "csv"])
        assert capsys.readouterr().err.startswith(
            "lm-eval-codd report: unknown flag `--formt`; did you mean `--format`?"
        )
