"""Linear layers through oneDNN against PyTorch's own."""

import pytest
import torch
from torch import nn

from lm_eval_codd.backbones.onednn import OneDnnLinear, use_onednn

pytestmark = pytest.mark.skipif(
    not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()), reason="a PyTorch without MKL"
)


class TestResult:
    @pytest.mark.parametrize("shape", [(48,), (5, 48), (2, 0, 48), (2, 700, 48)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_equals_pytorchs_own(self, shape, bias):
        layer, states = nn.Linear(48, 300, bias=bias).requires_grad_(False), torch.randn(shape)
        expected = layer(states)
        use_onednn(layer)
        assert isinstance(layer, OneDnnLinear)
        torch.testing.assert_close(layer(states), expected, atol=1e-5, rtol=0)

    def test_of_states_that_are_a_view(self):
        layer, states = nn.Linear(16, 8).requires_grad_(False), torch.randn(2, 5, 3, 32).transpose(1, 2)[..., ::2]
        expected = layer(states)
        use_onednn(layer)
        torch.testing.assert_close(layer(states), expected, atol=1e-5, rtol=0)


class TestWhichLayers:
    def test_a_float32_checkpoint_on_the_cpu(self, load):
        backbone = load("llada-tiny")
        linear = [module for module in backbone.model.modules() if isinstance(module, nn.Linear)]
        assert {type(module) for module in linear} == {OneDnnLinear}

    @pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
    def test_no_other_dtype(self, load, dtype):
        assert type(load("llada-tiny", dtype=dtype).model.lm_head) is nn.Linear

    def test_hooks_are_still_called(self):
        layer, seen = nn.Linear(4, 4).requires_grad_(False), []
        use_onednn(layer)
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
        layer(torch.zeros(3, 4))
        assert seen == [(3, 4)]
