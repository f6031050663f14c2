"""Files of corrupted programs: what a row says, whether its program fails, and the command's own messages."""

import json

import pytest

from lm_eval_codd import sandbox
from lm_eval_codd.__main__ import main
from lm_eval_codd.code_revision.cells import CELLS, DATASETS, Cell
from lm_eval_codd.code_revision.make import make_cell, mark_passed, read_dataset
from lm_eval_codd.code_revision.tokens import Tokens
from tests.code_revision.byte_tokenizer import save_byte_tokenizer
from tests.code_revision.stub_tok import StubTokenizer

OPERATOR = Cell("human-eval", "operator", 1)
ROWS = [
    {
        "task_id": f"Own/{number}",
        "prompt": f'def f{number}(x):\n    """Add {number}.\n    >>> f(1)\n    """\n',
        "canonical_solution": f"    return x + {number}\n",
        "test": f"def check(f):\n    assert f(3) == {3 + number}\n",
        "entry_point": f"f{number}",
    }
    for number in (1, 2)
]


@pytest.fixture
def tokens():
    return Tokens(StubTokenizer(), "stub")


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setenv("CODD_DATA_DIR", str(tmp_path))
    return tmp_path


class TestCells:
    def test_are_the_sixty_of_the_benchmark(self):
        assert len(CELLS) == len({cell.slug for cell in CELLS}) == 60
        assert CELLS[0].slug == "crb_humaneval_operator_1"
        assert sum(cell.number == 1 for cell in CELLS) == 12


class TestRows:
    def test_say_cell_tokenizer_and_what_stood_there(self, tokens):
        made = list(make_cell(OPERATOR, ROWS, tokens))
        assert {row["task_id"] for row in made} == {"Own/1", "Own/2"}
        for row in made:
            ids = tokens.ids(row["buggy_body"])
            assert tokens.text([ids[position] for position in row["error_positions"]]).strip() != "+"
            assert row["error_original_tokens"] == ["+"]
            assert (row["dataset"], row["error_type"], row["n_replace"]) == OPERATOR
            assert (row["tokenizer"], row["new_sample"]) == ("stub", False)

    def test_equal_programs_are_kept_once(self, tokens):
        made = [row["buggy_body"] for row in make_cell(OPERATOR, ROWS[:1], tokens, variants=50)]
        assert len(made) == len(set(made)) > 2

    def test_what_is_not_as_published_says_so(self, tokens):
        rows = [{**ROWS[0], "canonical_solution": "    return f(x,xy,1,2)\n"}]
        assert all(row["new_sample"] for row in make_cell(OPERATOR, ROWS, tokens, seed=1))
        for error_type in ("var", "literal"):
            made = list(make_cell(Cell("human-eval", error_type, 1), rows, tokens))
            assert made
            assert all(row["new_sample"] for row in made)

    def test_tasks_that_the_authors_left_out_are_left_out(self, tokens):
        assert DATASETS["human-eval+"].left_out == ("HumanEval/32",)
        rows = [{**ROWS[0], "task_id": "HumanEval/32"}, ROWS[1]]
        made = make_cell(Cell("human-eval+", "operator", 1), rows, tokens)
        assert {row["task_id"] for row in made} == {"Own/2"}

    def test_a_program_that_cannot_be_split_is_named(self, tokens):
        pytest.importorskip("autopep8")
        row = {"task_id": 7, "text": "Nothing.", "code": "x = 1", "test_list": [], "test_setup_code": ""}
        with pytest.raises(ValueError, match="mbpp, task 7: the program defines no function"):
            list(make_cell(Cell("mbpp", "operator", 1), [row], tokens))


class TestTests:
    def test_right_and_corrupted_programs_are_told_apart(self, tokens):
        right = {"task_id": "Own/1", "function_head": "def f1(x):\n", "buggy_body": "    return x + 1\n"}
        wrong = {**right, "buggy_body": "    return x - 1\n"}
        marked = mark_passed([right, wrong], "human-eval", ROWS)
        assert [(row["test_passed"], row["test_result"].split(":")[0]) for row in marked] == [
            (True, "passed"),
            (False, "failed"),
        ]

    @pytest.mark.parametrize(
        ("dataset", "row", "tests"),
        [
            ("human-eval", ROWS[0], ROWS[0]["test"] + "\ncheck(f1)"),
            ("mbpp", {"test_setup_code": "", "test_list": ["a", "b"]}, "a\nb"),
            ("mbpp", {"test_setup_code": "s", "test_list": ["a"]}, "s\na"),
            ("mbpp+", {"test_imports": ["i", "j"], "test_list": ["a"], "test": "long"}, "i\nj\na"),
            ("mbpp+", {"test_imports": [], "test_list": ["a"], "test": "long"}, "a"),
        ],
    )
    def test_are_those_of_the_authors(self, dataset, row, tests):
        assert DATASETS[dataset].tests(row) == tests

    def test_real_rows_are_fingerprinted_as_by_the_authors(self, shared_dir, monkeypatch):
        import hashlib

        monkeypatch.setenv("CODD_DATA_DIR", str(shared_dir / "data"))
        for name in ("human-eval", "mbpp"):
            _, rows = read_dataset(name)
            tested = {str(row["task_id"]): DATASETS[name].tested(row) for row in rows}
            digest = hashlib.sha256(json.dumps(tested, sort_keys=True).encode()).hexdigest()
            assert digest == DATASETS[name].tests_sha256

    def test_come_from_the_hub_at_the_revision_of_the_published_results(self, monkeypatch):
        import datasets

        asked = []

        def load_dataset(*args, **kwargs):
            asked.append((*args, kwargs))
            return datasets.Dataset.from_list(ROWS)

        monkeypatch.delenv("CODD_DATA_DIR", raising=False)
        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        source, rows = read_dataset("human-eval")
        assert rows == ROWS
        assert source == "openai/openai_humaneval (openai_humaneval, test)"
        revision = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
        assert asked == [("openai/openai_humaneval", "openai_humaneval", {"split": "test", "revision": revision})]


class TestCommand:
    @pytest.fixture
    def make(self, data_dir):
        """A function (flags) -> exit status."""
        save_byte_tokenizer(data_dir / "tokenizer")
        given = ("--tokenizer", str(data_dir / "tokenizer"), "--output", str(data_dir / "made" / "crb.jsonl"))

        def run(*flags):
            return main(["crb", "make", *given, *flags])

        return run

    def test_writes_one_file_of_all_cells(self, make, data_dir, capsys):
        assert make("--datasets", "human-eval", "--error_types", "operator,var", "--numbers", "1") == 0
        rows = [json.loads(line) for line in (data_dir / "made" / "crb.jsonl").read_text().splitlines()]
        assert {row["error_type"] for row in rows} <= {"operator", "var"}
        assert all(not row["test_passed"] and row["test_result"].startswith("failed") for row in rows)
        said = capsys.readouterr().out
        assert "human-eval operator 1: " in said
        assert f"{len(rows)} programs, positions in tokens of " in said
        assert ("new sample" in said) == any(row["new_sample"] for row in rows)

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (("--datasets", "humaneval"), "humaneval is not one of human-eval, human-eval+, mbpp, mbpp+"),
            (("--numbers", "0"), "0 is not one of 1, 2, 3, 4, 5"),
            (("--limit", "0"), "`--limit 0` must be at least 1"),
            (("--seed", "-1"), "`--seed -1` must be at least 0"),
            (("--datasets", "mbpp"), "no file"),
        ],
    )
    def test_says_what_cannot_be_in_one_line(self, make, capsys, flags, said):
        assert make(*flags) == 2
        error = capsys.readouterr().err
        assert error.startswith("lm-eval-codd crb: ")
        assert said in error
        assert error.count("\n") == 1

    def test_runs_nothing_unconfined_unasked(self, make, capsys, monkeypatch):
        monkeypatch.setattr(sandbox, "is_confined", lambda: False)
        assert make() == 2
        assert "--confirm_run_unsafe_code" in capsys.readouterr().err
