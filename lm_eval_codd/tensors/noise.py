"""Random numbers that belong to a row.

A draw is a pure function of (row key, stream, step, column): a counter-based generator. So what a row draws does not
depend on its batch mates, on the order of the work, on the device, or on which other positions were asked for, and a
whole batch is drawn in a few tensor operations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from lm_eval_codd.tensors.transfer import to_device


class Stream(IntEnum):
    """What a draw is for; draws of different streams are independent."""

    TOKEN = 0
    RANK = 1
    COUNT = 2
    LATENT = 3
    PRIOR = 4
    JOINT = 5


def row_keys(
    seed: int,
    prompts: Sequence[Sequence[int]],
    repeats: Sequence[int],
    device: torch.device,
    *,
    drafts: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """[B] int64: a key a row, made from (seed, prompt tokens, repeat index), and from its draft where there is one."""
    keys = []
    for row, (prompt, repeat) in enumerate(zip(prompts, repeats, strict=True)):
        text = ",".join(map(str, (seed, repeat, *prompt)))
        if drafts is not None:
            text += ";" + ",".join(map(str, drafts[row]))
        keys.append(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True))
    return to_device(keys, device)


def uniforms(keys: Tensor, stream: Stream, step: Tensor, columns: Tensor) -> Tensor:
    """Uniform numbers in the open interval (0, 1), float64.

    Args:
        keys: [B] int64 from `row_keys`.
        stream: what the draw is for.
        step: [B] int64.
        columns: [B, P] int64, positions in the answer.

    Returns:
        [B, P] float64.
    """
    step_key = _mix(keys + _GOLDEN * (8 * step + int(stream) + 1))
    bits = _mix(step_key[:, None] + _GOLDEN * (columns + 1))
    return (_shift(bits, 12).double() + 0.5) * 2.0**-52


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform numbers, any shape."""
    return -torch.log(-torch.log(uniform))


# SplitMix64 (Steele, Lea, Flood 2014), in the wrapping int64 arithmetic of torch.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
