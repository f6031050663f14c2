"""The processes that share an evaluation: who this one is, and the three collectives that lm-eval asks for.

`torchrun` and `accelerate launch` announce the processes through the same environment variables. The group is a gloo
one, on GPUs too: what is exchanged is counts and samples, and NCCL would hold GPU memory and give up after ten minutes
on a rank whose prompts take longer than the others'.
"""

from __future__ import annotations

import atexit
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor

_TIMEOUT: Final = timedelta(days=7)


class Ranks:
    """The process group of this run, or a single process where no launcher started more.

    Attributes:
        rank: index of this process.
        world_size: number of processes.
        local_rank: index of this process on its own machine.
    """

    def __init__(self) -> None:
        self.rank, self.world_size, self.local_rank = 0, 1, 0
        if not dist.is_available():
            return
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) < 2 or not {"RANK", "MASTER_ADDR"} <= os.environ.keys():
                return
            dist.init_process_group("gloo", timeout=_TIMEOUT)
            atexit.register(_leave)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Every rank's `tensor` (equal shapes; a scalar counts as one element), concatenated in order of rank."""
        if self.world_size == 1:
            return tensor
        # gloo gathers on the CPU only.
        mine = tensor.detach().cpu().reshape(-1) if tensor.ndim == 0 else tensor.detach().cpu()
        gathered = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(gathered, mine)
        return torch.cat(gathered).to(tensor.device)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Every rank's `obj` in order of rank, on rank `dst`; None on the others."""
        if self.world_size == 1:
            return [obj]
        gathered = [None] * self.world_size if self.rank == dst else None
        dist.gather_object(obj, gathered, dst=dst)
        return gathered

    def all_gather_object(self, obj: Any) -> list[Any]:
        """Every rank's `obj` in order of rank, on every rank; returns when all ranks have called it."""
        if self.world_size == 1:
            return [obj]
        gathered = [None] * self.world_size
        dist.all_gather_object(gathered, obj)
        return gathered


def _leave() -> None:
    """End the group's threads before the interpreter does, which aborts a process whose threads still run."""
    if dist.is_initialized():
        dist.destroy_process_group()
