"""What is taken for the program in a text, and what of it is kept."""

import ast
import random
import warnings

import pytest

from lm_eval_codd.grading import open_dllm
from lm_eval_codd.grading.python_code import longest_valid_code, sanitize

HELPERS = """import os
from math import *
LIMIT, other = 1, 2
LIMIT = 3
def helper(x):
    return LIMIT + x
class Box:
    size = 1
def printer(x):
    print(x)
async def later():
    return 1
def f(x):
    return helper(x) + Box.size
def helper(x):
    return LIMIT - x
f(1)
"""


def every_run(text):
    """The official search: all runs, the first of the longest."""
    lines = text.replace("\t", "    ").replace("\r\n", "\n").replace("\r", "\n").strip().splitlines()[:100]
    best, most = "", 0
    for first in range(len(lines)):
        for end in range(first + 1, len(lines) + 1):
            run = "\n".join(lines[first:end])
            try:
                ast.parse(run)
            except (SyntaxError, ValueError):
                continue
            if (count := sum(1 for line in lines[first:end] if line.strip())) > most:
                best, most = run, count
    return best


class TestLongestValidCode:
    def test_is_that_of_the_official_search(self):
        lines = [
            "x = 1",
            "def f(x):",
            "    return x",
            "    if x:",
            "        pass",
            "else:",
            "",
            " ",
            "# note",
            "  # in",
        ]
        lines += ["prose it is", '"""', "(", ")", "a, \\", "'''x", "@f", "\fy = 2", "\tz = 3", "try:", "\r", "  \\"]
        draw = random.Random(0)
        for _ in range(1500):
            text = "\n".join(draw.choices(lines, k=draw.randrange(1, 9)))
            assert longest_valid_code(text) == every_run(text), repr(text)

    def test_looks_at_a_hundred_lines(self):
        assert longest_valid_code("x = 1\n" * 150) == "\n".join(["x = 1"] * 100)
        assert longest_valid_code("no code\n" * 100 + "x = 1") == ""

    def test_tries_every_run_of_a_hundred_usual_lines(self):
        last = "x = 1"
        assert longest_valid_code("\n".join([*(["three words of prose, and a few more here"] * 99), last])) == last

    def test_gives_up_on_a_long_text_that_is_none(self, monkeypatch):
        parsed = []
        parse = ast.parse
        with monkeypatch.context() as patch:
            patch.setattr(ast, "parse", lambda code: parsed.append(len(code)) or parse(code))
            found = longest_valid_code(("a b " * 100 + "\n") * 100)
        assert found == ""
        assert 10 < len(parsed) < 30


class TestSanitize:
    def test_keeps_imports_and_what_the_entry_point_reaches(self):
        kept = "import os\nfrom math import *\nLIMIT = 3\n"
        kept += "def helper(x):\n    return LIMIT - x\ndef f(x):\n    return helper(x) + Box.size"
        assert sanitize(HELPERS, "f") == kept

    def test_an_unknown_entry_point_leaves_imports(self):
        assert sanitize(HELPERS, "g") == "import os\nfrom math import *"

    def test_or_everything_where_that_is_asked_for(self):
        kept = sanitize(HELPERS, "g", keeps_all_without_entry=True)
        assert "class Box" in kept
        assert "helper" in kept
        assert "printer" not in kept
        assert "def printer" in sanitize(HELPERS, "g", needs_return=False, keeps_all_without_entry=True)

    @pytest.mark.parametrize(("follows", "reached"), [(False, []), (True, ["b"])])
    def test_an_attribute_reaches_its_name_or_nothing(self, follows, reached):
        text = "a = 1\nb = 2\ndef f():\n    return a.b\n"
        kept = sanitize(text, "f", follows_attributes=follows)
        assert [name for name in "ab" if f"{name} = " in kept] == reached

    def test_warnings_of_the_text_are_no_errors(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert sanitize("def f():\n    return '\\d' is 1\n", "f").startswith("def f")

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "",
                "\0",
                "\ud800",
                "def f(:",
                "(" * 10_000,
                "-" * 100_000 + "1",
                "1+" * 100_000 + "1",
                "a" + ".b" * 100_000,
            ),
            *(
                "[" * 90 + "]" * 90,
                "\n".join(" " * depth + "if x:" for depth in range(99)),
                "9" * 200_000,
                "@f\n" * 20_000,
            ),
            *(
                "a = \\\n" * 30_000,
                "f'{" * 1000,
                '"""' + "a b\n" * 50_000,
                "not " * 50_000 + "x",
                "lambda:" * 25_000 + "0",
            ),
            ("y = [" + "1, " * 660 + "]\n") * 99 + "no code",
        ],
        ids=lambda text: repr(text[:10]),
    )
    def test_never_raises(self, text):
        kept = sanitize(f"def f(x):\n    return x\n{text}", "f", needs_return=False, keeps_all_without_entry=True)
        assert isinstance(kept, str)

    def test_any_text_gives_python_that_parses_again(self):
        parts = [
            "def f(x):\n",
            "    return x\n",
            "x = y = 1\n",
            "import a\n",
            "class C:\n",
            "    f = 1\n",
            "word ",
            "\n",
        ]
        draw = random.Random(1)
        for _ in range(500):
            kept = sanitize("".join(draw.choices(parts, k=draw.randrange(1, 10))), "f")
            ast.parse(kept)
            assert sanitize(kept, "f") == kept


class TestOpenDLLM:
    def test_a_completion_stands_behind_the_prompt(self):
        prompt = 'import b\ndef f(x):\n    """ f """\n'
        body = '    """ f """\n    return b.g(x)'
        for answer in ("    return b.g(x)\n", "```python\n    return b.g(x)\n```\nHere it is."):
            assert open_dllm.humaneval_program(prompt, "f", answer) == f"import b\ndef f(x):\n{body}"

    def test_attributes_reach_their_names(self):
        answer = "    return g.h(x)\ndef g():\n    return 1\ndef h():\n    return 2\n"
        kept = open_dllm.humaneval_program("def f(x):\n", "f", answer)
        assert ("def g" in kept, "def h" in kept) == (False, True)

    def test_mbpp_loses_its_fences_and_nothing_else(self):
        assert open_dllm.mbpp_program("\ndef f(): pass\n```\nDone.") == "def f(): pass\n\nDone."
        assert open_dllm.mbpp_program(" ```python\nx\n``` ") == "python\nx"
