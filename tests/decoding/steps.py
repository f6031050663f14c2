"""Steps on a canvas, outside of the loop."""

from lm_eval_codd.decoding.step import Step


def step_on(canvas, plan, wanted):
    """The step that the loop makes of a plan and the positions it wants."""
    numbers = (wanted.sum(1), plan.block, plan.open.sum(1))
    return Step.of(canvas, plan, wanted, *(number.tolist() for number in numbers))
