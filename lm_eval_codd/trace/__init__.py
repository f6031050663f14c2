"""What happened at every step of an answer: recorded, and shown in a terminal or as a page."""

from lm_eval_codd.trace.recording import Candidate, Frame, Trace, record

__all__ = ["Candidate", "Frame", "Trace", "record"]
