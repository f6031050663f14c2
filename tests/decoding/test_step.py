"""Steps of a decoder that looks at the prompt too."""

import torch

from lm_eval_codd.decoding.canvas import Canvas, Ids
from lm_eval_codd.decoding.step import Look
from tests.decoding.steps import step_on

CPU = torch.device("cpu")


def canvas_of(prompts):
    return Canvas.from_prompts(prompts, 4, Ids(9, (8,)), seed=0, repeats=[0] * len(prompts), device=CPU)


class TestColumnsOfThePrompt:
    def test_are_negative_counted_from_the_answer_and_can_be_written(self):
        canvas = canvas_of([[1, 2], [3, 4, 5]])
        zeros = torch.zeros(2, dtype=torch.int64)
        step = step_on(canvas, Look(zeros, zeros, canvas.attention_mask, canvas.masked.sum(dim=1)))
        assert step.columns[1].tolist() == [-3, -2, -1, 0, 1, 2, 3]
        assert step.columns[0][step.wanted[0]].tolist() == [-2, -1, 0, 1, 2, 3]
        canvas.commit(step.columns, step.columns + 20, step.wanted)
        assert canvas.tokens.tolist() == [[8, 18, 19, 20, 21, 22, 23], [17, 18, 19, 20, 21, 22, 23]]

    def test_draw_the_same_numbers_whatever_the_padding(self):
        def drawn(prompts):
            canvas = canvas_of(prompts)
            zeros = torch.zeros(len(prompts), dtype=torch.int64)
            wanted = torch.ones_like(canvas.tokens, dtype=torch.bool)
            if canvas.attention_mask is not None:
                wanted = canvas.attention_mask
            step = step_on(canvas, Look(zeros, zeros, wanted, canvas.masked.sum(dim=1)))
            return step.uniforms(0)[0][step.wanted[0]].tolist()

        assert drawn([[1, 2], [3, 4, 5]]) == drawn([[1, 2]])
        assert len(set(drawn([[1, 2]]))) == 6
