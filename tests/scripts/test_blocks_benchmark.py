"""The block decoder's benchmark at a tiny shape: every figure is there, and nothing kept changes an answer."""

from tests.scripts.test_harness_benchmarks import measure_forked

SIZES = "--layers 2 --width 32 --heads 2 --vocab-size 512 --prompt 11 --gen-length 8 --block-length 4 --steps 2"


def test_every_figure_is_there_and_the_answers_are_equal(tmp_path):
    figures = measure_forked("blocks", tmp_path, *SIZES.split(), "--rows", "3", "--rounds", "1")
    assert figures["blocks.equal_answers"] == 100
    assert 4 <= figures["blocks.forwards_per_answer"] <= 6
    assert figures["blocks.samples_per_second_ratio"] > 0
    assert 0 < figures["blocks.outside_of_the_models"] < 100
