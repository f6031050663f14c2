"""What a model repeats without end is graded in work that grows as its length: braces, digits, fences, words."""

import importlib
import itertools
import re
import types

import pytest

from tests.grading.counted_work import Counter, Expression, counted

MODULES = (
    *("cd4lm", "d1", "d1_puzzles", "klass", "klass_math", "open_dllm", "opencompass", "opencompass_math"),
    *("opencompass_options", "wino"),
)
# Each of modules of `lm_eval_codd.grading`, `of`, and an answer.
GRADERS = {
    "cd4lm's GSM8K": lambda of, text: of.cd4lm.gsm8k_is_correct(of.cd4lm.gsm8k_answer(text), "5"),
    "cd4lm's MATH500": lambda of, text: of.cd4lm.math500_is_correct(of.cd4lm.math500_answer(text), "5"),
    "cd4lm's MBPP": lambda of, text: of.cd4lm.mbpp_code(text),
    "d1's GSM8K": lambda of, text: of.d1.gsm8k_answer(text),
    "d1's MATH500": lambda of, text: of.d1.math500_is_correct(of.d1.math500_answer(text), "5"),
    "d1's Countdown": lambda of, text: of.d1_puzzles.countdown_is_correct(
        of.d1_puzzles.countdown_expression(text), [1, 2, 3], target=6
    ),
    "d1's Sudoku": lambda of, text: of.d1_puzzles.sudoku_answer(text),
    "klass's GSM8K": lambda of, text: of.klass.gsm8k_answer(text),
    "klass's HumanEval": lambda of, text: of.klass.humaneval_code(text),
    "klass's MBPP": lambda of, text: of.klass.mbpp_code(text),
    "klass's MATH": lambda of, text: of.klass_math.candidates("", text),
    "klass's sets": lambda of, text: of.klass_math.candidates("separated by commas", text),
    "open_dllm's MBPP": lambda of, text: of.open_dllm.mbpp_program(text),
    "OpenCompass's GSM8K": lambda of, text: of.opencompass.last_number(text),
    "OpenCompass's base GSM8K": lambda of, text: of.opencompass.stated_number(text),
    "OpenCompass's GPQA": lambda of, text: of.opencompass.stated_letter(text),
    "OpenCompass's MBPP": lambda of, text: of.opencompass.mbpp_program(text),
    "OpenCompass's HumanEval": lambda of, text: of.opencompass.continued_body(text),
    "OpenCompass's BBH letters": lambda of, text: of.opencompass.bbh_choice(text),
    "OpenCompass's BBH texts": lambda of, text: of.opencompass.bbh_text(text),
    "OpenCompass's MATH": lambda of, text: of.opencompass_math.is_equal(of.opencompass_math.math_answer(text), "5"),
    "OpenCompass's letters": lambda of, text: of.opencompass_options.first_option(text, "ABCD"),
    "wino's GSM8K": lambda of, text: of.wino.gsm8k_answer(text),
    "wino's ARC": lambda of, text: of.wino.letter(text),
    "wino's Sudoku": lambda of, text: of.wino.sudoku_answer(text),
    "wino's MBPP": lambda of, text: of.wino.mbpp_code(text, "assert foo(1) == 2"),
}
REPEATED = (
    *("{", "}", "(", "\\boxed{", "\\boxed ", "\\frac", "\\sqrt", "\\text{", "\\text{(", "\\mbox{", "\\textbf{"),
    *("oxed{", "\\overline{oxed{", "\\(", "`", "```python\n", "\n", " ", "1", "12,", "1,000", ".0", "$", "=", "+-"),
    *("**", "<answer>", "answer is ", "'", "The correct answer is: ", "The correct answer is (", "The answer is"),
    *("[BEGIN] '", "DONE", "def foo(", "<|", "答案是", "是答案", "选项 ", "A", "((1"),
)
# Alone, in marks that graders look for, and before something else.
AROUND = ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "{} x", "```python\n{}\n```")
TEXTS = tuple(itertools.product(REPEATED, AROUND))
# Beyond the digits that Python makes a number of.
LENGTH = 5000


@pytest.fixture(scope="module")
def counting():
    """The modules, and the counter of their work."""
    modules, counter = counted(MODULES)
    return types.SimpleNamespace(**modules), counter


@pytest.mark.parametrize("name", GRADERS)
def test_a_grader_gets_through_any_repeated_text(name):
    of = types.SimpleNamespace(**{one: importlib.import_module(f"lm_eval_codd.grading.{one}") for one in MODULES})
    for part, around in TEXTS:
        GRADERS[name](of, around.format(part * (LENGTH // len(part))))


@pytest.mark.parametrize("name", GRADERS)
def test_what_is_twice_as_long_is_twice_the_work(counting, name, times):
    of, counter = counting
    GRADERS[name](of, "")  # what is built once
    for number, (part, around) in enumerate(TEXTS):
        if number % times(len(AROUND) + 1, 1):
            continue
        work = []
        for length in (20, 40, 80):
            counter.work = 0
            GRADERS[name](of, around.format(part * length))
            work.append(counter.work)
        assert work[2] - work[1] <= 2.1 * (work[1] - work[0]) + 30, (part, around, work)


@pytest.mark.parametrize(
    ("pattern", "part"), [(r"\\boxed\{(.*)\}", "\\boxed{"), (r"answer is \(([^)]+)\)", "answer is ("), (r"\s+$", " ")]
)
def test_the_count_sees_an_expression_that_is_not_linear(pattern, part):
    counter = Counter()
    work = []
    for length in (20, 40, 80):
        counter.work = 0
        Expression(pattern, 0, counter).search(f"{part * length}x")
        work.append(counter.work)
    assert work[2] - work[1] > 2.5 * (work[1] - work[0])


@pytest.mark.parametrize(
    "pattern", [r"(a|ab)(c|bcd)*?$", r"(?i:X)\s?[^a-c]+?(?=b)", r"(?:,\d{3})*(?!\d)", r"(?<=a)b*$"]
)
def test_what_counts_finds_what_the_language_itself_finds(pattern):
    expression, real = Expression(pattern, 0, Counter()), re.compile(pattern)
    for letters in itertools.product("aXb,1", repeat=4):
        text = "".join(letters) + "bcd,111"
        assert expression.findall(text) == real.findall(text)
