"""The misspecification gap on the demo: what docs say, which signs stand outside of the bands, and their check."""

import copy
import json
import re

import pytest
import update_gap

KINDS = ("sequential", "one step", "with the circuit")


@pytest.fixture(scope="module")
def found():
    return json.loads(update_gap.FIGURES.read_text(encoding="utf-8"))


class TestTheFigures:
    def test_the_circuit_gains_at_every_ratio_outside_of_the_band(self, found):
        assert found["ratios"] == [0.2, 0.4, 0.6, 0.8, 1.0]
        assert all(low > 0 for _, low, _ in found["means"]["gain of the circuit"])
        assert found["helps_until"] == 1.0

    def test_everything_masked_sequential_is_above_the_circuit_and_that_above_one_step(self, found):
        sequential, one_step, coupled = (found["means"][kind][-1] for kind in KINDS)
        assert sequential[1] > coupled[2]
        assert coupled[1] > one_step[2]

    def test_are_those_of_the_page(self, found):
        text = update_gap.PAGE.read_text(encoding="utf-8")
        assert update_gap.with_table(text, update_gap.table(found)) == text

    def test_of_a_measurement_are_kept_to_four_digits(self):
        mean = {"value": -0.123456, "low": -1.0, "high": 0.0}
        measured = {"num_answers": 2, "ratios": [1.0], "helps_until": None, "settings": {}}
        kept = update_gap.figures({**measured, "means": {"one step": [mean]}, "gain": [mean]})
        row = [-0.1235, -1.0, 0.0]
        assert kept == {
            **{"num_answers": 2, "ratios": [1.0], "helps_until": None},
            "means": {"one step": [row], "gain of the circuit": [row]},
        }


class TestTheCheck:
    def test_is_silent_where_nothing_changed_but_the_last_digits(self, found):
        other = copy.deepcopy(found)
        other["means"]["one step"][0][0] += update_gap.TOLERANCE / 2
        assert update_gap.differences(other, found) == []

    def test_names_what_changed(self, found):
        other = copy.deepcopy(found)
        other["means"]["with the circuit"][1][0] -= 0.1
        other["helps_until"] = 0.8
        first, second = update_gap.differences(other, found)
        assert first == "helps_until: 0.8, not 1.0"
        assert re.match(r"with the circuit at 0\.4: \[-.*\], not \[-.*\]$", second)
