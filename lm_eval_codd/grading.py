"""How much of a score is format: answers that a filter could not read.

lm-eval grades such an answer as wrong, which a published score keeps. The tasks of this package say beside the score
how many there were, as a metric of its own for each filter.
"""

from typing import Final

__all__ = ["INVALID", "UNREADABLE"]

# What lm-eval's regex filters make of an answer in which they find nothing (lm_eval.filters.extraction).
INVALID: Final = "[invalid]"
# The metric's name in results (the share of answers) and in samples (0 or 1).
UNREADABLE: Final = "unreadable"
