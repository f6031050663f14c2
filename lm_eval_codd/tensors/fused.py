"""Several elementwise operations as one kernel, where a GPU would read and write every number several times over."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import torch

if TYPE_CHECKING:
    from torch import Tensor

Given = ParamSpec("Given")
Result = TypeVar("Result")


def fused(*, least: int = 0) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Have a function compiled for a GPU where no gradient is asked for; elsewhere it runs as it is written.

    It does too where a module among its arguments has a hook of accelerate's, which brings its weights at each call:
    a compiler breaks off at every hook, and has nothing left to put together.

    The function has no side effects, and its last argument is a tensor. What it rounds on the way is rounded all the
    same; sums may be taken in another order.

    Args:
        least: of numbers in the last argument, for fewer of which a kernel of its own is not worth compiling.
    """

    def decorate(function: Callable[Given, Result]) -> Callable[Given, Result]:
        @cache
        def compiled() -> Callable[Given, Result]:
            # Unless told to emulate casts, a compiled function keeps what is written as rounded in float32.
            return torch.compile(function, options={"emulate_precision_casts": True})

        @wraps(function)
        def called(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            values = cast("Tensor", args[-1])
            pays = values.is_cuda and values.numel() >= least and not torch.is_grad_enabled()
            pays = pays and not any(map(_is_hooked, args))
            return (compiled() if pays and _compiles(values.device) else function)(*args, **kwargs)

        return called

    return decorate


def _is_hooked(argument: object) -> bool:
    """Whether it is a module whose `forward` is the instance's own, in place of its class's."""
    return isinstance(argument, torch.nn.Module) and "forward" in vars(argument)


@cache
def _compiles(device: torch.device) -> bool:
    """Whether `torch.compile` works on a device; warns once where it does not."""
    try:
        torch.compile(_probe)(torch.ones(2, device=device))
    except Exception as error:  # whatever is missing: a C compiler, triton, a GPU that triton knows
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"`torch.compile` does not work on {device} ({reason}), so a step takes more kernels and about a third "
            "more time there; it needs a C compiler, and the triton that torch names",
            stacklevel=2,
        )
        return False
    return True


def _probe(values: Tensor) -> Tensor:
    return values * 2 + 1
