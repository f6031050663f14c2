"""The environment of a run that is one process, whatever allocation the launcher itself was started in.

A batch system and its launchers announce processes through variables, which libraries (accelerate among them) read: a
run started below `srun -n 4`, or in a script that exports WORLD_SIZE, is still a single process. `torchrun` and
`accelerate launch` set these for processes that they start themselves, and those keep them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# srun, mpirun of Open MPI, MPICH and MVAPICH.
_PREFIXES: Final = ("SLURM_", "SLURMD_", "PMI_", "PMIX_", "OMPI_", "MV2_", "MPI_LOCAL", "SUBMITIT_")
_NAMES: Final = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE"),
    *("NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
)
# Where a site's Slurm is configured, for a program that asks it.
_KEPT: Final = ("SLURM_CONF",)


def of_one_process(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that announce other processes."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or not (name in _NAMES or name.startswith(_PREFIXES))
    }
