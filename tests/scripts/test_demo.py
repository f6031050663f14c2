"""What brings the demo's settings and pictures up to date."""

import pytest
import tune_demo
import update_demo

from lm_eval_codd.reporting.table import Table
from lm_eval_codd.settings import DECODERS, DecodingConfig


class TestTuning:
    def test_tries_every_decoder_in_settings_that_can_be(self):
        # The demo's model looks at the whole answer, and has no blocks to diffuse.
        assert list(tune_demo.OPTIONS) == [name for name in DECODERS if name != "block_diffusion"]
        for decoder in tune_demo.OPTIONS:
            first, *others = [DecodingConfig(gen_length=32, **given) for given in tune_demo.settings_of(decoder)]
            assert first == DecodingConfig(gen_length=32, decoder=decoder, num_steps=first.num_steps)
            assert first not in others

    def test_grades_as_the_demos_task_does(self):
        is_right = tune_demo.is_right
        problem = {"answer": "1 + 1 = 2. #### 2"}
        assert is_right("so it is #### 2 and #### 3", problem)
        assert not is_right("so it is 2", problem)
        assert not is_right("#### 3, no, #### 2", problem)


class TestAReadmesTable:
    TABLE = Table("title", ["what, n = 2", "a"], [["base", "1"], ["CoDD", "2"]], 1)

    def test_takes_the_place_of_the_one_with_the_same_heading(self):
        text = "before\n\n| what, n = 2 | a | b |\n|---|---:|---:|\n| base | 7 | 8 |\n\n| other | a |\n|---|---|\n"
        assert update_demo.with_table(text, self.TABLE) == (
            "before\n\n| what, n = 2 | a |\n| --- | ---: |\n| base | 1 |\n| CoDD | 2 |\n\n| other | a |\n|---|---|\n"
        )

    def test_must_be_there_once(self):
        with pytest.raises(ValueError, match="there are 0 tables that begin with `what, n = 2`, not one"):
            update_demo.with_table("| other | a |\n", self.TABLE)
