"""How a circuit enters a decision: the windows it looks at, the evidence it gets, and what becomes of its answer."""

from lm_eval_codd.decoding.coupling.sampling import check_vocabulary, check_window, make_coupling

__all__ = ["check_vocabulary", "check_window", "make_coupling"]
