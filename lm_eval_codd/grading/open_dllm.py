"""How Open-dLLM finds the program in an answer to HumanEval and MBPP."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.grading.python_code import sanitize

_OPENING: Final = "```python\n"
_FENCE: Final = "```"


def humaneval_program(prompt: str, entry_point: str, text: str) -> str:
    """The function behind HumanEval's prompt; a newline stands between, harmless as long as the answer is indented."""
    code = text.split(_OPENING, 1)[-1].split(_FENCE)[0]
    return sanitize(f"{prompt}\n{code}", entry_point, follows_attributes=True)


def mbpp_program(text: str) -> str:
    """An answer without its fences, text before and after them included."""
    return text.strip().replace(_FENCE, "").strip()
