"""Which functions are compiled, with a stand-in for the GPU and the compiler; their numbers need one (test_gpu)."""

import pytest
import torch
from accelerate import cpu_offload
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from lm_eval_codd.backbones.elementwise import normed, normed_sum
from lm_eval_codd.tensors import fused


class OnGpu(torch.Tensor):
    """Numbers that say they are on a GPU."""

    is_cuda = True


@pytest.fixture
def compiled(monkeypatch):
    """Names of functions that were called as compiled ones, in order."""
    names = []

    def compile_(function, **options):
        def call(*args):
            names.append(function.__name__)
            return function(*args)

        return call

    monkeypatch.setattr(fused, "_compiles", lambda device: True)
    monkeypatch.setattr(torch, "compile", compile_)
    return names


def states(num: int = 1 << 14) -> torch.Tensor:
    return torch.randn(num, 16, generator=torch.Generator().manual_seed(0)).as_subclass(OnGpu)


@torch.no_grad()
def test_a_norm_is_compiled_but_not_one_whose_weight_comes_with_its_hook(compiled):
    norm = LlamaRMSNorm(16)
    norm.weight.copy_(torch.rand(16))
    there, update = states(), states().flip(0)
    wanted = normed.__wrapped__(norm, there), normed_sum.__wrapped__(norm, update, there)

    def check() -> None:
        # A function is compiled once a process, so that these are compiled anew for the test.
        own = [fused.fused(least=1 << 18)(one.__wrapped__) for one in (normed, normed_sum)]
        assert torch.equal(own[0](norm, there), wanted[0])
        assert all(map(torch.equal, own[1](norm, update, there), wanted[1]))

    check()
    assert compiled == ["normed", "normed_sum"]
    cpu_offload(norm, execution_device="cpu")
    assert norm.weight.is_meta
    check()
    assert compiled == ["normed", "normed_sum"]


def test_few_numbers_and_those_with_gradients_are_not_compiled(compiled):
    double = fused.fused(least=100)(lambda values: values * 2)
    with torch.no_grad():
        double(states(6))
        assert compiled == []
        double(states(7))
        assert compiled == ["<lambda>"]
    double(states(7))
    assert compiled == ["<lambda>"]
