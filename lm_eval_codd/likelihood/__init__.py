"""What a model thinks of a given text; see `log_likelihood`."""

from lm_eval_codd.likelihood.requirements import warn_of_masks
from lm_eval_codd.likelihood.results import Finished, Likelihood
from lm_eval_codd.likelihood.run import log_likelihood, stream
from lm_eval_codd.likelihood.validation import ValidationLoss, validation_loss

__all__ = [
    "Finished",
    "Likelihood",
    "ValidationLoss",
    "log_likelihood",
    "stream",
    "validation_loss",
    "warn_of_masks",
]
