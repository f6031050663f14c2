"""Counts of several ranks as one."""

from lm_eval_codd.backbones.experts.tally import RoutingTotals


def test_sums_add_up_and_extremes_stay_extremes():
    first = RoutingTotals(
        rows=2, positions=20, k=4, capacity=6, tokens=20, picks=40, unpicked=5, gates=15.0, fewest=1, most=4
    )
    second = RoutingTotals(rows=2, positions=40, k=8, capacity=10, tokens=40, picks=80, fewest=0, most=3)
    both = RoutingTotals.added([first, RoutingTotals(), second])
    assert (both.fewest, both.most) == (0, 4)
    assert both.as_result() == {
        "rows": 4,
        "rows_of_masks": 0,
        "mean_positions": 15.0,
        "mean_k": 3.0,
        "mean_capacity": 4.0,
        "mean_experts_per_token": 2.0,
        "min_experts_per_token": 0,
        "max_experts_per_token": 4,
        "share_without_expert": round(5 / 60, 6),
        "mean_gate_sum": 0.25,
    }


def test_a_run_without_passes_has_neither_fewest_nor_means():
    assert RoutingTotals.added([]).as_result()["min_experts_per_token"] is None
