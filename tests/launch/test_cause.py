import pytest

from lm_eval_codd.launch.cause import find_cause


class TestTheCause:
    @pytest.mark.parametrize(
        ("lines", "cause"),
        [
            (["Traceback:", "  File x", "ValueError: no", "bar 99%"], "ValueError: no"),
            (["torch.OutOfMemoryError: CUDA out of memory.", "Killed"], "OutOfMemoryError: CUDA out of memory."),
            (["a.b.DataError: rows: none"], "DataError: rows: none"),
            (["KeyboardInterrupt"], "KeyboardInterrupt"),
            (["x", "lm-eval-codd run: `num_steps=3` is not"], "lm-eval-codd run: `num_steps=3` is not"),
            (["an Error in the text of a line", "the last"], "the last"),
            ([], ""),
        ],
    )
    def test_is_the_last_line_that_names_an_error_else_the_last(self, lines, cause):
        assert find_cause(lines) == cause

    def test_is_cut(self):
        assert len(find_cause(["ValueError: " + "x" * 9999])) < 400
