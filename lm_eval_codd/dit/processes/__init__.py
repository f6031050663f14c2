"""One algorithm a file: its noise, what the network's output means under it, the way back, and its bound.

A new diffusion is one file, its test, and one line in `PROCESSES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lm_eval_codd.dit.processes.ar import AR
from lm_eval_codd.dit.processes.d3pm import D3PM
from lm_eval_codd.dit.processes.duo import DUO
from lm_eval_codd.dit.processes.mdlm import MDLM
from lm_eval_codd.dit.processes.process import Level, Process
from lm_eval_codd.dit.processes.sedd import SEDD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AR", "D3PM", "DUO", "MDLM", "PROCESSES", "SEDD", "Level", "Process", "make_process"]

PROCESSES: Final[dict[str, Callable[[int, int], Process]]] = {
    "duo": lambda vocab_size, mask_id: DUO(vocab_size),
    "mdlm": MDLM,
    "sedd": SEDD,
    "d3pm": D3PM,
}


def make_process(algo: str, vocab_size: int, mask_id: int) -> Process:
    """The diffusion of an algorithm (not of `ar`, which is none)."""
    return PROCESSES[algo](vocab_size, mask_id)
