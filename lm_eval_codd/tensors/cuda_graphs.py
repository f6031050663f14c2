"""Functions of many small kernels, replayed as one CUDA graph: where launching them takes longer than they do."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

# Each keeps its results' memory.
_MOST: Final = 32
# By device, streams that graphs were captured on which are no more.
_idle_streams: Final[defaultdict[torch.device, list[torch.cuda.Stream]]] = defaultdict(list)


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    arguments: list[Tensor | None]
    result: Any


class CudaGraphs:
    """Graphs of one function of a batch of rows, by the shapes of its arguments; too many are forgotten at once.

    A graph's end takes the workspace of matrix products from all that were captured on its stream (CUDAGraph::reset of
    torch 2.13), and a pool of memory is over with its last graph. So graphs that share these come and go together.

    So that few graphs do for all sizes of a batch, it is filled up to 1, 2, 3, 4, 6, 8, 12, ... rows with its last one.

    A call with shapes that were not met before runs the function itself, which also brings up whatever it sets up on
    its first call; the second captures it. Other devices than a GPU, and calls that ask for gradients, always run it.
    """

    def __init__(self) -> None:
        self._graphs: dict[Any, _Graph | None] = {}
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def clear(self) -> None:
        """Forget all graphs: something that the function reads without being given it lies elsewhere now."""
        self._graphs.clear()
        self._pool = None

    def replay(self, function: Callable[..., Result], *arguments: Tensor | None, fills: bool = True) -> Result:
        """What `function(*arguments)` gives, in memory of its own.

        Args:
            function: gives a tensor or several, with a row for each row of its arguments, of which none reads another.
                It looks at no value, waits for nothing and draws nothing. Whatever it reads or writes beside its
                arguments keeps its place in memory.
            *arguments: tensors on one device with equally many rows, the first of them always there; or None.
            fills: whether the function may be told of its last row more than once.
        """
        first = arguments[0]
        assert first is not None
        number = len(first)
        if not number or not _can_replay(first):
            return function(*arguments)
        filled = _rounded_up(number) if fills else number
        arguments = tuple(None if each is None else _filled(each, filled) for each in arguments)
        key = torch.is_inference_mode_enabled(), *map(_looks, arguments)
        if key in self._graphs:
            graph = self._graphs[key]
            if graph is None:
                graph = self._graphs[key] = self._capture(function, arguments)
            for kept, argument in zip(graph.arguments, arguments, strict=True):
                if kept is not None and argument is not None:
                    kept.copy_(argument)
            graph.graph.replay()
            result = graph.result
        else:
            if len(self._graphs) == _MOST:
                self.clear()
            self._graphs[key] = None
            result = function(*arguments)
        return _cut(result, number)

    def _capture(self, function: Callable[..., Any], arguments: tuple[Tensor | None, ...]) -> _Graph:
        kept = [None if argument is None else argument.clone() for argument in arguments]
        device = next(each.device for each in kept if each is not None)
        graph = torch.cuda.CUDAGraph()
        if self._stream is None:
            self._stream = _idle_streams[device].pop() if _idle_streams[device] else torch.cuda.Stream(device)
            weakref.finalize(self, _idle_streams[device].append, self._stream).atexit = False
        if self._pool is None:
            # Shared: no graph runs while another one does, and what one gives is copied before the next.
            self._pool = torch.cuda.graph_pool_handle()
        # Other threads, such as the one that watches over collective operations, go on using the device.
        with (
            torch.cuda.device(device),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            result = function(*kept)
        return _Graph(graph, kept, result)


def _can_replay(first: Tensor) -> bool:
    return first.is_cuda and not torch.is_grad_enabled() and not torch.cuda.is_current_stream_capturing()


def _rounded_up(number: int) -> int:
    """The least 2^n or 3 * 2^n that is not below a number of rows."""
    power = 1 << max(number - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and number <= power * 3 // 4 else power


def _filled(argument: Tensor, number: int) -> Tensor:
    if len(argument) == number:
        return argument
    return torch.cat((argument, argument[-1:].expand(number - len(argument), *argument.shape[1:])))


def _looks(argument: Tensor | None) -> Any:
    return None if argument is None else (argument.shape, argument.dtype)


def _cut(result: Any, number: int) -> Any:
    if isinstance(result, Tensor):
        return result[:number].clone()
    return tuple(each[:number].clone() for each in result)
