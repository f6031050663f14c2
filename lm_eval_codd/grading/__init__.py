"""Graders: what an answer's text is taken to say, and whether that is right. Text in, verdicts out; runs no program.

lm-eval grades an answer in which a filter found nothing as wrong, which a published score keeps. The tasks of this
package say beside the score how many there were, as a metric of its own for each filter.
"""

from typing import Final

__all__ = ["INVALID", "UNREADABLE"]

# What lm-eval's regex filters make of an answer in which they find nothing (lm_eval.filters.extraction).
INVALID: Final = "[invalid]"
# The metric's name in results (the share of answers) and in samples (0 or 1).
UNREADABLE: Final = "unreadable"
