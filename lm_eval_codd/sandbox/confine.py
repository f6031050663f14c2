"""All layers that hold one process, in the order in which the kernel takes them, and which of them it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm_eval_codd.sandbox import limits
from lm_eval_codd.sandbox.kernel import Kernel, Unavailable
from lm_eval_codd.sandbox.landlock import confine_files
from lm_eval_codd.sandbox.seccomp import confine_system_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Cage", "confine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cage:
    """What a program's two processes are to be confined with.

    Attributes:
        limits: see `limits.limit_resources`.
        root: what is their `/`; None: the machine's.
        folder: where they work, below it.
        readable: what they may read besides.
        user: the user that root becomes; None: it stays who it is.
        own_user_namespace: whether they are in one.
        running: see `limits.running_tasks`.
    """

    limits: limits.Limits
    root: str | None
    folder: str
    readable: Sequence[str]
    user: int | None
    own_user_namespace: bool
    running: int | None


def confine(cage: Cage) -> dict[str, str]:
    """Apply everything that the kernel allows to this process. Returns layer -> what it is, or "none: " and why."""
    limits.limit_resources(cage.limits)
    applied = {"files": "", "reads": "", "processes": "", "network": "", "tasks": ""}
    try:
        kernel = Kernel()
        if cage.user is not None:
            limits.become(kernel, cage.user)
        limits.drop_privileges(kernel)
        limits.die_with_parent(kernel)
        applied["tasks"] = limits.limit_tasks(cage.user is not None or cage.own_user_namespace, cage.running)
        try:
            applied["files"] = applied["reads"] = confine_files(kernel, cage.folder, cage.readable)
        except Unavailable as error:
            applied["files"] = applied["reads"] = f"none: {error}"
        applied["processes"] = applied["network"] = confine_system_calls(kernel)
    except Unavailable as error:
        applied = {layer: means or f"none: {error}" for layer, means in applied.items()}
        # Counts every process of the user, so it forbids all new ones; it does not hold root.
        limits.forbid_tasks()
    return applied
