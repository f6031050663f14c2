"""Batches are filled up, captured at their second call, and cut again; captures themselves need a GPU (test_gpu.py)."""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lm_eval_codd.tensors import cuda_graphs
from lm_eval_codd.tensors.cuda_graphs import CudaGraphs


class TestFilling:
    @pytest.mark.parametrize(("number", "filled"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 8), (9, 12), (13, 16)])
    def test_few_sizes_do_for_all(self, number: int, filled: int):
        assert cuda_graphs._rounded_up(number) == filled

    def test_no_batch_grows_by_more_than_half(self):
        for number in range(1, 200):
            assert number <= cuda_graphs._rounded_up(number) <= 1.5 * number


class TestReplay:
    @pytest.fixture
    def captured(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """A stand-in for the GPU: rows of each capture, which its replay computes again on the kept arguments."""
        sizes: list[int] = []

        def capture(self: CudaGraphs, function: Any, arguments: Any) -> Any:
            kept = [None if each is None else each.clone() for each in arguments]
            sizes.append(len(kept[0]))
            result = function(*kept)

            def replay() -> None:
                for old, new in zip(result, function(*kept), strict=True):
                    old.copy_(new)

            return SimpleNamespace(graph=SimpleNamespace(replay=replay), arguments=kept, result=result)

        monkeypatch.setattr(CudaGraphs, "_capture", capture)
        monkeypatch.setattr(cuda_graphs, "_can_replay", lambda _: True)
        return sizes

    def test_it_gives_what_the_function_gives(self, captured: list[int]):
        graphs = CudaGraphs()
        for number in (8, 5, 6, 7, 5, 1, 1, 8, 3, 3):
            values, weights = torch.randn(number, 4), torch.randn(number, 1)
            scaled, total = graphs.replay(_scale, values, weights, None)
            assert torch.equal(scaled, values * weights)
            assert torch.equal(total, values.sum(1))
        assert captured == [6, 8, 1, 3]

    def test_a_result_stays_when_the_next_one_comes(self, captured: list[int]):
        graphs, ones = CudaGraphs(), torch.ones(2, 4)
        results = [graphs.replay(_scale, factor * ones, ones[:, :1], None)[0] for factor in (1, 2, 3)]
        assert [float(result[0, 0]) for result in results] == [1, 2, 3]

    def test_too_many_are_forgotten_together(self, captured: list[int]):
        graphs, kept = CudaGraphs(), []
        for width in range(1, 2 * cuda_graphs._MOST + 3):
            for _ in range(2):
                graphs.replay(_scale, torch.ones(2, width), torch.ones(2, 1), None)
            kept.append(len(graphs._graphs))
        assert kept == [*range(1, cuda_graphs._MOST + 1)] * 2 + [1, 2]

    def test_no_rows_are_given_as_they_are(self, captured: list[int]):
        graphs = CudaGraphs()
        for _ in range(3):
            scaled, total = graphs.replay(_scale, torch.ones(0, 4), torch.ones(0, 1), None)
            assert scaled.shape == (0, 4) and total.shape == (0,)
        assert captured == []

    def test_what_was_cleared_is_captured_anew(self, captured: list[int]):
        graphs = CudaGraphs()
        for _ in range(2):
            for _ in range(3):
                graphs.replay(_scale, torch.ones(2, 4), torch.ones(2, 1), None)
            graphs.clear()
        assert captured == [2, 2]


class TestCaptures:
    """What graphs are captured with, on stand-ins of torch's: destroying one touches all that share its stream."""

    @pytest.fixture
    def taken(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
        """Pool and stream of each capture."""
        pairs: list[tuple[Any, Any]] = []

        class Graph:
            def replay(self) -> None: ...

        def graph(made: Any, *, pool: Any, stream: Any, capture_error_mode: str) -> Any:
            pairs.append((pool, stream))
            return nullcontext()

        for name, stand_in in {
            "CUDAGraph": Graph,
            "Stream": lambda device: object(),
            "graph_pool_handle": object,
            "device": lambda device: nullcontext(),
            "graph": graph,
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(cuda_graphs, "_can_replay", lambda _: True)
        monkeypatch.setattr(cuda_graphs, "_idle_streams", defaultdict(list))
        return pairs

    def capture(self, graphs: CudaGraphs, *widths: int) -> None:
        for width in widths:
            for _ in range(2):
                graphs.replay(_scale, torch.ones(2, width), torch.ones(2, 1), None)

    def test_those_of_a_function_share_pool_and_stream_and_no_others_do(self, taken: list[tuple[Any, Any]]):
        one, other = CudaGraphs(), CudaGraphs()
        self.capture(one, 4, 5)
        self.capture(other, 4)
        self.capture(one, 6)
        assert taken[0] == taken[1] == taken[3]
        assert taken[0][0] is not taken[2][0] and taken[0][1] is not taken[2][1]

    def test_a_pool_is_over_with_its_graphs(self, taken: list[tuple[Any, Any]]):
        graphs = CudaGraphs()
        self.capture(graphs, 4)
        graphs.clear()
        self.capture(graphs, 4)
        assert taken[0][0] is not taken[1][0] and taken[0][1] is taken[1][1]

    def test_a_stream_is_taken_again_when_its_graphs_are_gone(self, taken: list[tuple[Any, Any]]):
        """Torch has 32 of them, which it gives out in turns."""
        lasting = CudaGraphs()
        self.capture(lasting, 4)
        for _ in range(40):
            self.capture(CudaGraphs(), 4)
        assert len({id(stream) for _, stream in taken}) == 2
        assert all(stream is not taken[0][1] for _, stream in taken[1:])


def _scale(values: torch.Tensor, weights: torch.Tensor, _: None) -> tuple[torch.Tensor, torch.Tensor]:
    return values * weights, values.sum(1)
