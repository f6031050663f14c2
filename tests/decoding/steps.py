"""Steps on a canvas, outside of the loop."""

from lm_eval_codd.decoding.step import Step


def step_on(canvas, look):
    """The step that the loop makes of where a decoder looks."""
    numbers = (look.wanted.sum(1), look.block, look.num_open)
    return Step.of(canvas, look, *(number.tolist() for number in numbers))
