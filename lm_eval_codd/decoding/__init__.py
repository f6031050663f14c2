"""The denoising loop and its parts; see `generate`."""

from lm_eval_codd.decoding.coupling import check_vocabulary, check_window
from lm_eval_codd.decoding.loop import generate, stream
from lm_eval_codd.decoding.requirements import check_backbone, check_planner, check_takes_planner, no_likelihoods
from lm_eval_codd.decoding.results import Finished, Generation, StepEvent

__all__ = [
    "Finished",
    "Generation",
    "StepEvent",
    "check_backbone",
    "check_planner",
    "check_takes_planner",
    "check_vocabulary",
    "check_window",
    "generate",
    "no_likelihoods",
    "stream",
]
