"""The benchmark of likelihoods, on very little."""

from tests.scripts.test_harness_benchmarks import measure_forked


def test_values_equal_the_official_loops_through_the_same_masks(tmp_path):
    figures = measure_forked(
        "likelihood",
        tmp_path,
        *("--layers", "1", "--width", "64", "--vocab-size", "512", "--questions", "2", "--num-samples", "16"),
    )
    assert figures["likelihood.largest_difference"] < 1e-3
    assert figures["likelihood.same_masks.forwards"] < 16
    assert figures["likelihood.same_masks.ratio"] > 0
