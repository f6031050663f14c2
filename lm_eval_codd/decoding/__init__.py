"""The denoising loop and its parts; see `generate`."""

from lm_eval_codd.decoding.coupling import check_vocabulary, check_window
from lm_eval_codd.decoding.loop import Finished, Generation, StepEvent, generate, stream

__all__ = ["Finished", "Generation", "StepEvent", "check_vocabulary", "check_window", "generate", "stream"]
