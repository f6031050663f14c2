"""Bytes and operations of shapes that were counted by hand or are in the literature."""

import pytest
from benchmarks.decode import PRESETS
from benchmarks.model import Shape
from benchmarks.roofline import Ceilings, Work, circuit_work, head_work, trunk_work

ONE_LAYER = Shape(layers=1, width=8, heads=2, mlp=16, vocab_size=100)
TWO_LAYERS = Shape(layers=2, width=8, heads=2, mlp=16, vocab_size=100)
LLADA = PRESETS["llada-8b"].shape


class TestTrunk:
    def test_one_layer_by_hand(self):
        work = trunk_work(ONE_LAYER, rows=3, queries=10, keys=10, asked=10, itemsize=4)
        weights = 4 * 8 * 8 + 3 * 8 * 16
        attention = 2 * 2 * 10 * 10 * 8
        assert work.operations == 3 * (2 * 10 * weights + attention)
        assert work.bytes == 4 * weights

    def test_the_last_layer_only_at_the_asked_positions(self):
        all_of_it = trunk_work(TWO_LAYERS, rows=1, queries=10, keys=10, asked=10, itemsize=4)
        asked = trunk_work(TWO_LAYERS, rows=1, queries=10, keys=10, asked=4, itemsize=4)
        spared = 2 * 6 * (2 * 8 * 8 + 3 * 8 * 16) + 4 * 6 * 10 * 8
        assert all_of_it.operations - asked.operations == spared

    def test_a_cache_is_read(self):
        cached = trunk_work(TWO_LAYERS, rows=3, queries=4, keys=10, asked=4, itemsize=2)
        full = trunk_work(TWO_LAYERS, rows=3, queries=4, keys=4, asked=4, itemsize=2)
        assert cached.bytes - full.bytes == 2 * (2 * 6 * 8 * 2 * 3)

    def test_llada_8b_takes_two_operations_a_parameter_and_token(self):
        parameters = 32 * (4 * 4096**2 + 3 * 4096 * 12288)
        work = trunk_work(LLADA, rows=1, queries=800, keys=800, asked=800, itemsize=2)
        assert work.bytes == 2 * parameters
        assert work.operations == pytest.approx(2 * parameters * 800, rel=0.05)  # the rest is attention


class TestHead:
    def test_by_hand(self):
        work = head_work(ONE_LAYER, positions=5, itemsize=2)
        assert work.operations == 2 * 5 * 8 * 100
        assert work.bytes == 2 * (8 * 100 + 5 * 8 + 5 * 100)


class TestCircuit:
    def test_the_published_size(self):
        """Section 4 of the circuits' spec: 8.29 GFLOP for 32 columns, a table of 518 MB, a chain of 0.065 GFLOP."""
        work = circuit_work(1024, 32, 126464, rows=1, masked=32, itemsize=4, evidence_itemsize=4)
        assert work.operations == pytest.approx(8.29e9 + 0.065e9, rel=1e-3)
        evidence = 3 * 32 * 126464 * 4
        assert work.bytes - evidence == pytest.approx(518.0e6, rel=1e-3)


class TestFloor:
    def test_the_slower_of_both_counts(self):
        ceilings = Ceilings(operations=100.0, bandwidth=10.0)
        assert ceilings.floor(Work(operations=200.0, bytes=1.0)) == 2.0
        assert ceilings.floor(Work(operations=200.0, bytes=50.0)) == 5.0
