"""What a model repeats without end is graded in time that grows as its length: braces, digits, fences, words."""

import subprocess
import sys
import textwrap

import pytest

from lm_eval_codd.grading import (
    cd4lm,
    d1,
    d1_puzzles,
    klass,
    klass_math,
    open_dllm,
    opencompass,
    opencompass_math,
    opencompass_options,
    wino,
)

GRADERS = {
    "cd4lm's GSM8K": lambda text: cd4lm.gsm8k_is_correct(cd4lm.gsm8k_answer(text), "5"),
    "cd4lm's MATH500": lambda text: cd4lm.math500_is_correct(cd4lm.math500_answer(text), "5"),
    "cd4lm's MBPP": cd4lm.mbpp_code,
    "d1's GSM8K": d1.gsm8k_answer,
    "d1's MATH500": lambda text: d1.math500_is_correct(d1.math500_answer(text), "5"),
    "d1's Countdown": lambda text: d1_puzzles.countdown_is_correct(
        d1_puzzles.countdown_expression(text), [1, 2, 3], target=6
    ),
    "d1's Sudoku": d1_puzzles.sudoku_answer,
    "klass's GSM8K": klass.gsm8k_answer,
    "klass's HumanEval": klass.humaneval_code,
    "klass's MBPP": klass.mbpp_code,
    "klass's MATH": lambda text: klass_math.candidates("", text),
    "klass's sets": lambda text: klass_math.candidates("separated by commas", text),
    "open_dllm's MBPP": open_dllm.mbpp_program,
    "OpenCompass's GSM8K": opencompass.last_number,
    "OpenCompass's base GSM8K": opencompass.stated_number,
    "OpenCompass's GPQA": opencompass.stated_letter,
    "OpenCompass's MBPP": opencompass.mbpp_program,
    "OpenCompass's HumanEval": opencompass.continued_body,
    "OpenCompass's BBH letters": opencompass.bbh_choice,
    "OpenCompass's BBH texts": opencompass.bbh_text,
    "OpenCompass's MATH": lambda text: opencompass_math.is_equal(opencompass_math.math_answer(text), "5"),
    "OpenCompass's letters": lambda text: opencompass_options.first_option(text, "ABCD"),
    "wino's GSM8K": wino.gsm8k_answer,
    "wino's ARC": wino.letter,
    "wino's Sudoku": wino.sudoku_answer,
    "wino's MBPP": lambda text: wino.mbpp_code(text, "assert foo(1) == 2"),
}
REPEATED = (
    *(
        "{",
        "}",
        "(",
        "\\boxed{",
        "\\boxed ",
        "\\frac",
        "\\sqrt",
        "\\text{",
        "\\text{(",
        "\\mbox{",
        "\\textbf{",
        "oxed{",
    ),
    *("`", "```python\n", "\n", " ", "1", "12,", "1,000", ".0", "$", "=", "+-", "**", "<answer>", "answer is ", "'"),
    *(
        "The correct answer is: ",
        "The correct answer is (",
        "[BEGIN] '",
        "DONE",
        "def foo(",
        "<|",
        "答案是",
        "A",
        "((1",
    ),
)
LENGTH = 8000


@pytest.mark.parametrize("name", GRADERS)
def test_a_grader_gets_through_any_repeated_text(name):
    """Alone, in marks that graders look for, and before something else."""
    grade = GRADERS[name]
    for part in REPEATED:
        text = part * (LENGTH // len(part))
        for given in (text, f"\\boxed{{{text}}}", f"<answer>{text}</answer>", f"{text} x", f"```python\n{text}\n```"):
            grade(given)


@pytest.mark.parametrize(
    ("grader", "answer"),
    [
        ("opencompass_math import is_equal as grade", r"'\\text{(' * 200_000"),
        ("opencompass_math import is_equal as grade", r"'\\mbox{' * 200_000"),
        ("opencompass_math import math_answer as grade", r"'\\overline{oxed{' * 100_000"),
        ("cd4lm import math500_is_correct as grade", "'12,' * 300_000 + '1' * 300_000"),
        ("opencompass_options import first_option as grade", "'答案是' * 300_000 + ' x'"),
        ("opencompass_options import first_option as grade", "'The correct answer is: ' * 100_000"),
    ],
)
def test_a_million_characters_take_no_more_than_they_have_to(grader, answer):
    """Their square would take a processor minutes to hours; more than a minute of its time ends the process."""
    program = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        from lm_eval_codd.grading.{grader}
        grade(*({answer}, "5")[: grade.__code__.co_argcount])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
