"""The Code Revision Benchmark from end to end: programs made, revised and tested, through lm-eval itself, offline."""

import json

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_codd.__main__ import main
from tests.models.tiny_qwen import write_checkpoint

TASK = "codd_crb_humaneval_operator_1"
ROUNDS = [f"pass_at_1_t{number},run" for number in range(1, 5)]
# Functions of which each has operators to spoil.
EXPRESSIONS = [
    *("x + y - 1", "x - y * 2", "x * y + 3", "x * x - y", "x + y * y", "x - y - 4"),
    *("x * y * 3", "x + 5 * y", "x * 7 + y * 2", "x - 2 + y * 9", "x * 4 - y"),
]
ARGUMENTS = [(7, 5), (5, 7), (5, 5), (-3, 2)]


def row(number, expression):
    cases = [
        f"    assert f{arguments} == {eval(expression, dict(zip('xy', arguments, strict=True)))}"
        for arguments in ARGUMENTS
    ]
    return {
        "task_id": f"Own/{number}",
        "prompt": f'def f{number}(x, y):\n    """Return {number}.\n    >>> f{number}(1, 2)\n    """\n',
        "canonical_solution": f"    return {expression}\n",
        "test": "\n".join(["def check(f):", *cases]) + "\n",
        "entry_point": f"f{number}",
    }


ROWS = [row(number, expression) for number, expression in enumerate(EXPRESSIONS)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny Qwen2 that was trained to denoise, as Open-dCoder; a token a byte."""
    return write_checkpoint(tmp_path_factory.mktemp("qwen2"), "qwen2")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "humaneval").mkdir()
    (folder / "humaneval" / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    return folder


@pytest.fixture(scope="module")
def made(checkpoint, data_dir):
    """The first twenty programs of `lm-eval-codd crb make`, as rows."""
    path = data_dir / "crb.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODD_DATA_DIR", str(data_dir))
        flags = ("--datasets", "human-eval", "--error_types", "operator", "--numbers", "1")
        assert main(["crb", "make", "--tokenizer", checkpoint, "--output", str(path), *flags]) == 0
    return [json.loads(line) for line in path.read_text().splitlines()][:20]


@pytest.fixture
def evaluate(checkpoint, data_dir, tasks_dir, tmp_path, monkeypatch):
    """A function (rows, settings) -> the task's scores and samples."""
    monkeypatch.setenv("CODD_DATA_DIR", str(data_dir))

    def run(rows, batch_size=4, **settings):
        path = tmp_path / "inputs.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata={"inputs": str(path)})
        arguments = {"pretrained": checkpoint, "decoder": "corrective", "num_steps": 5, "gen_length": 16}
        found = simple_evaluate(
            "masked_lm",
            model_args={**arguments, **settings},
            tasks=[TASK],
            task_manager=manager,
            batch_size=batch_size,
            device="cpu",
            bootstrap_iters=0,
            confirm_run_unsafe_code=True,
        )
        return found["results"][TASK], found["samples"][TASK]

    return run


def test_twenty_programs_fail_their_tests_before_they_are_revised(made):
    assert len(made) == 20
    assert not any(one["test_passed"] for one in made)


def test_a_right_draft_passes_in_every_round_and_a_spoiled_one_in_none(evaluate, made):
    right = {one["task_id"]: one["canonical_solution"] for one in ROWS}
    # At a threshold of 0 nothing is masked again, so that drafts come out as they went in.
    scores, samples = evaluate([{**one, "buggy_body": right[one["task_id"]]} for one in made], threshold=0.0)
    assert len(samples) == 20
    assert [scores[name] for name in ROUNDS] == [1.0] * 4
    scores, samples = evaluate(made, threshold=0.0)
    assert [scores[name] for name in ROUNDS] == [0.0] * 4
    for sample in samples:
        revised = json.loads(sample["resps"][0][0])
        assert revised["revised"] == [sample["doc"]["buggy_body"]] * 4
        assert len(revised["confidence"]) == len(sample["doc"]["buggy_body"])  # a token a byte


def test_scores_do_not_depend_on_the_batch(evaluate, made):
    found = [evaluate(made[:7], batch_size=size, threshold=None, mad_k=0.5) for size in (1, 7)]
    (scores, samples), (others, other_samples) = found
    assert {name: value for name, value in scores.items() if name != "alias"} == pytest.approx(
        {name: value for name, value in others.items() if name != "alias"}, abs=1e-5, nan_ok=True
    )
    texts, other_texts = (
        [json.loads(sample["resps"][0][0])["revised"] for sample in of_batch] for of_batch in (samples, other_samples)
    )
    assert texts == other_texts
    bodies = [sample["doc"]["buggy_body"] for sample in samples]
    assert any(text[0] != body for text, body in zip(texts, bodies, strict=True))


def test_a_journal_tells_drafts_apart(evaluate, made, tmp_path):
    # Of one head: only the draft is another.
    rows = [one for one in made if one["task_id"] == made[0]["task_id"]]
    first, samples = evaluate(rows, journal=str(tmp_path / "journal"))
    again, _ = evaluate(rows, journal=str(tmp_path / "journal"))
    assert again == first
    lines = [line for file in (tmp_path / "journal").iterdir() for line in file.read_text().splitlines()]
    assert sum(line.startswith('{"key"') for line in lines) == len(samples) == 2


def test_another_decoder_is_told_what_to_use(evaluate, made):
    with pytest.raises(ValueError, match=f"{TASK} wants a draft revised, which `decoder=p2` cannot; use decoder=corr"):
        evaluate(made, decoder="p2")
