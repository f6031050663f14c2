"""Heads, comments and corrupted bodies against what the benchmark's authors' own code made of them."""

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_codd.code_revision.comments import comment_ranges
from lm_eval_codd.code_revision.operators import OPERATORS, corrupt_operators
from lm_eval_codd.code_revision.programs import function_program, head_of_function, head_of_text, text_program
from lm_eval_codd.code_revision.tokens import Tokens
from lm_eval_codd.code_revision.words import corrupt_words
from tests.code_revision.stub_tok import StubTokenizer

GOLDENS = Path(__file__).parent.parent / "golden" / "decoders"
BODY = "    count = len(items)\n    if count == 0:\n        return 0.5\n    return sum(items) / count\n"


def cases(name):
    return json.loads((GOLDENS / name).read_text())["cases"]


CORRUPTED = cases("crb_corrupt.json")
OPERATOR_CASES = [case for case in CORRUPTED if not case["hash_seed_dependent"]]


@pytest.fixture
def tokens():
    return Tokens(StubTokenizer(), "stub")


def check(case, corruption, rng):
    """A golden's texts, positions and next random number."""
    made = (None, None, None)
    if corruption is not None:
        made = (corruption.body, corruption.positions, corruption.originals)
    assert made == (case["buggy"], case["error_positions"], case["original"])
    assert rng.random() == case["state_after"]


class TestGoldens:
    @pytest.mark.parametrize("case", cases("crb_header.json"), ids=lambda case: case["prompt"][:20])
    def test_head(self, case):
        if case["dataset"].startswith("human-eval"):
            assert head_of_function(case["prompt"]) == case["header"]
        else:
            assert head_of_text(case["prompt"], case["canonical"]) == case["header"]

    @pytest.mark.parametrize("case", cases("crb_comments.json"), ids=lambda case: case["code"][:20])
    def test_comments(self, case):
        assert [list(one) for one in comment_ranges(case["code"])] == case["comment_ranges"]

    def test_operators_are_exact_in_all_forty(self, tokens):
        assert len(OPERATOR_CASES) == 40
        for case in OPERATOR_CASES:
            rng = random.Random(case["seed"])
            check(case, corrupt_operators(case["body"], case["n_replace"], tokens, rng), rng)

    def test_words_are_exact_in_the_order_of_a_python_set(self):
        """The authors' order, which one hash seed of CPython has; this project's own is sorted."""
        if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
            pytest.skip("text has another hash there, and a set another order")
        done = subprocess.run(
            [sys.executable, "-c", "from tests.code_revision.test_corruption import check_words; check_words()"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        assert (done.returncode, done.stdout) == (0, "80\n"), done.stderr


def check_words():
    """Every golden of names and numbers, with texts in the order of a set; prints how many."""
    import keyword

    from lm_eval_codd.code_revision import words

    def as_set(body, kind):
        texts = set([match[0] for match in words.PATTERNS[kind].finditer(body)])
        return list({text for text in texts if not keyword.iskeyword(text)} if kind == "var" else texts)

    words.distinct = as_set
    found = [case for case in CORRUPTED if case["hash_seed_dependent"]]
    for case in found:
        rng, tokens = random.Random(case["seed"]), Tokens(StubTokenizer(), "stub")
        check(case, corrupt_words(case["body"], case["n_replace"], case["error_type"], tokens, rng), rng)
    print(len(found))


class TestAnyCorruption:
    """Of the goldens' bodies, each kind with each number of tokens."""

    @pytest.mark.parametrize("kind", ["operator", "var", "literal"])
    def test_replaces_so_many_tokens_and_can_be_taken_back(self, kind, times):
        made = 0
        for body in sorted({case["body"] for case in CORRUPTED}):
            tokens = Tokens(StubTokenizer(), "stub")
            before = tokens.ids(body)
            for number, seed in itertools.product(range(1, 6), range(times(3, 50))):
                corruption = corrupted(body, number, kind, tokens, seed)
                assert corruption == corrupted(body, number, kind, tokens, seed)
                if corruption is None:
                    continue
                made += 1
                after = tokens.ids(corruption.body)
                differing = {place for place, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1}
                assert differing
                assert differing <= set(corruption.positions)
                assert len(set(corruption.positions)) == len(corruption.positions) == number
                if kind == "operator":  # several tokens may be one of them
                    assert "".join(corruption.originals) == "".join(
                        tokens.text([before[place]]).strip() for place in corruption.positions
                    )
                else:
                    for place, text in zip(corruption.positions, corruption.originals, strict=True):
                        (after[place],) = tokens.ids(text)
                    assert tokens.text(after) == body
        assert made


def corrupted(body, number, kind, tokens, seed):
    if kind == "operator":
        return corrupt_operators(body, number, tokens, random.Random(seed))
    return corrupt_words(body, number, kind, tokens, random.Random(seed))


class TestOperators:
    def test_positions_are_those_of_the_tokens_that_differ(self, tokens):
        for seed in range(20):
            made = corrupt_operators(BODY, 2, tokens, random.Random(seed))
            before, after = tokens.ids(BODY), tokens.ids(made.body)
            assert sorted(made.positions) == [
                i for i, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1
            ]
            assert [tokens.text([before[i]]).strip() for i in made.positions] == made.originals

    def test_a_comment_is_left_alone(self, tokens):
        body = "    return x  # a + b\n"
        assert corrupt_operators(body, 1, tokens, random.Random(0)) is None

    def test_the_rest_of_a_body_stays(self, tokens):
        made = corrupt_operators("    return x + y  # a + b\n", 1, tokens, random.Random(0))
        assert made.body.endswith("y  # a + b\n")
        assert made.body.split()[2] in set(OPERATORS) - {"+"}


class TestWords:
    def test_do_not_depend_on_the_hash_seed(self):
        code = (
            "import random; from tests.code_revision.test_corruption import *; "
            "t = Tokens(StubTokenizer(), 'stub'); "
            "print([corrupt_words(BODY, 2, k, t, random.Random(s)) for k in ('var', 'literal') for s in range(5)])"
        )
        texts = {
            subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONHASHSEED": seed},
            ).stdout
            for seed in ("0", "1")
        }
        assert len(texts) == 1
        assert "Corruption" in texts.pop()

    def test_keywords_are_no_names(self, tokens):
        assert corrupt_words("    return x\n", 1, "var", tokens, random.Random(0)) is None

    def test_numbers_become_numbers_of_the_body(self, tokens):
        made = corrupt_words("    return 1 + 22 * 3\n", 1, "literal", tokens, random.Random(0))
        assert made is None  # with the blank before them these numbers are other tokens than alone
        made = corrupt_words("    return f(1,22,3)\n", 1, "literal", tokens, random.Random(0))
        assert made.body != "    return f(1,22,3)\n"
        assert {len(made.positions), len(made.originals)} == {1}


class TestPrograms:
    def test_head_and_body_of_a_function_run(self):
        program = function_program('def f(x):\n    """Add.\n    >>> f(1)\n    2\n    """\n', "    return x + 1\n")
        space = {}
        exec(program.head + program.body, space)
        assert space["f"](1) == 2

    def test_a_text_becomes_the_docstring(self):
        pytest.importorskip("autopep8")
        program = text_program("Add one.", "import math\r\ndef f( x ):\r\n  return x+1")
        assert program.head.endswith('def f(x):\n\n    """\n    Add one.\n    """\n')
        assert program.body == "    return x+1"
        space = {}
        exec(program.head + program.body, space)
        assert (space["f"](1), space["f"].__doc__) == (2, "\n    Add one.\n    ")

    def test_lines_of_a_class_are_indented_anew(self):
        pytest.importorskip("autopep8")
        code = "class P:\r\n  def __init__(self, a):\r\n    self.a = a\r\ndef top(p):\r\n  return p.a"
        program = text_program("A pair.", code)
        assert program.head.endswith('class P:\n\n    """\n    A pair.\n    """\n')
        space = {}
        exec(program.head + program.body, space)
        assert space["top"](space["P"](3)) == 3

    def test_code_without_a_function_is_refused(self):
        pytest.importorskip("autopep8")
        with pytest.raises(ValueError, match="no function"):
            text_program("Nothing.", "x = 1")

    def test_a_missing_autopep8_is_named_with_its_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "autopep8", None)
        with pytest.raises(RuntimeError, match=r"autopep8.*pip install 'lm-eval-codd\[crb\]'"):
            text_program("Add.", "def f():\n    return 1")
