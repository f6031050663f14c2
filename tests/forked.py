"""Processes that are forked, so that they need not import again what the tests have imported."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch

# Seconds to join one in, on a machine that has much else to do: only what hangs takes so long.
PATIENCE = 600.0
_FORKED = multiprocessing.get_context("fork")


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that calls the function; it ends with 0 when that returns."""
    process = _FORKED.Process(target=_with_one_thread, args=(function, *arguments), daemon=True)
    process.start()
    return process


def _with_one_thread(function: Callable[..., None], *arguments: Any) -> None:
    """The parent's threads are not there after a fork; with one, torch does not look for them."""
    torch.set_num_threads(1)
    function(*arguments)
