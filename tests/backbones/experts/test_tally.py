"""Counts of several ranks as one."""

from lm_eval_codd.backbones.experts.tally import RoutingTotals, TokenTotals


def test_sums_add_up_by_layer_and_extremes_stay_extremes():
    here = TokenTotals(tokens=20, picks=40, unpicked=5, gates=15.0, fewest=1, most=4)
    there = TokenTotals(tokens=40, picks=80, fewest=0, most=3)
    first = RoutingTotals(rows=2, positions=20, k=4, capacity=6, layers={1: here})
    second = RoutingTotals(rows=2, positions=40, k=8, capacity=10, layers={1: there, 2: here})
    both = RoutingTotals.added([first, RoutingTotals(), second])
    assert both.layers == {1: TokenTotals(60, 120, 5, 15.0, 0, 4), 2: here}
    of_layer = {
        "mean_experts_per_token": 2.0,
        "min_experts_per_token": 0,
        "max_experts_per_token": 4,
        "share_without_expert": round(5 / 60, 6),
        "mean_gate_sum": 0.25,
    }
    alone = {"min_experts_per_token": 1, "share_without_expert": 0.25, "mean_gate_sum": 0.75}
    assert both.as_result() == {
        "rows": 4,
        "rows_of_masks": 0,
        "mean_positions": 15.0,
        "mean_k": 3.0,
        "mean_capacity": 4.0,
        **of_layer,
        "share_without_expert": 0.125,
        "mean_gate_sum": 0.375,
        "layers": {"1": of_layer, "2": {**of_layer, **alone}},
    }


def test_a_run_without_passes_has_neither_fewest_nor_means():
    assert RoutingTotals.added([]).as_result()["min_experts_per_token"] is None
