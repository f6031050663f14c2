from itertools import combinations

import pytest

from lm_eval_codd.grading.pass_at_k import pass_at_k


class TestPassAtK:
    @pytest.mark.parametrize("num_answers", range(1, 8))
    def test_is_the_share_of_choices_that_hold_one_which_passes(self, num_answers):
        for num_passed in range(num_answers + 1):
            for k in range(1, num_answers + 1):
                choices = list(combinations(range(num_answers), k))
                share = sum(min(choice) < num_passed for choice in choices) / len(choices)
                assert pass_at_k(num_answers, num_passed, k) == pytest.approx(share, abs=1e-12)

    def test_with_one_answer_each_it_is_the_share_that_passed(self):
        assert [pass_at_k(10, passed, 1) for passed in (0, 3, 10)] == pytest.approx([0, 0.3, 1])

    def test_fewer_answers_than_k_are_refused(self):
        with pytest.raises(
            ValueError, match=r"pass@10 needs 10 answers to a row or more, and there are 4; .*repeats: 10"
        ):
            pass_at_k(4, 1, 10)
