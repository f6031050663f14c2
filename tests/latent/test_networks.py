"""Logits of the three generators, and the flow both ways: the authors' own."""

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.latent.networks.flow import Flow, flow_nll
from lm_eval_codd.latent.networks.sizes import StageASizes


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize(("kind", "name"), [("v3", "v3.transformer"), ("latent_mdm", "v3.mdm"), ("lm1b", "lm1b")])
def test_logits_of_generators(load, golden, kind, name):
    tokens = golden.get(f"{name}.xt")
    assert distance(load(kind).logits(golden[f"{name}.z"], tokens), golden[f"{name}.logits"]) < 5e-6


@pytest.mark.parametrize("kind", ["v3", "latent_mdm"])
def test_norms_are_those_of_float32_in_float64_too(path, kind):
    network = codd.load_coupling(path(kind), "float64", "cpu").network
    norms = [module for module in network.modules() if isinstance(module, torch.nn.RMSNorm)]
    assert len(norms) == 2 * len(network.blocks) + 1
    for norm in norms:
        small = torch.full_like(norm.weight, 1e-4)
        expected = small / (small.square() + 2**-23).sqrt() * norm.weight
        torch.testing.assert_close(norm(small), expected, rtol=1e-12, atol=0)


def test_the_training_head_of_lm1b(load, golden):
    network = load("lm1b").network
    assert distance(network.z_recon(network.hidden(golden["lm1b.z"])), golden["lm1b.z_hat"]) < 5e-6


class TestStageA:
    def test_codes_and_logits(self, load, golden):
        network = load("stage_a").network
        latents = network.encode(golden["v3.stage_a.ids"])
        assert distance(latents, golden["v3.stage_a.u"]) == 0
        assert distance(network.decode(latents), golden["v3.stage_a.logits"]) < 5e-6

    def test_the_flow_there_and_back(self, load, golden):
        flow = load("stage_a").network.flow
        z, logdet = flow(golden["v3.stage_a.u"])
        assert distance(z, golden["v3.stage_a.z"]) < 5e-6
        assert distance(logdet, golden["v3.stage_a.logdet"]) < 1e-6
        assert distance(flow.inverse(z), golden["v3.stage_a.inverse_of_z"]) < 5e-6
        assert distance(flow.inverse(z), golden["v3.stage_a.u"]) < 5e-6

    def test_logits_of_a_latent(self, load, golden):
        model = load("stage_a")
        assert distance(model.network.flow.inverse(golden["v3.nf.z"]), golden["v3.nf.u"]) < 5e-6
        assert distance(model.logits(golden["v3.nf.z"]), golden["v3.nf.logits"]) < 5e-6

    def test_the_papers_flow_is_not_clamped(self, golden):
        prefix = "lm1b.flow.w."
        weights = {name.removeprefix(prefix): each for name, each in golden.items() if name.startswith(prefix)}
        flow = Flow(
            StageASizes(16, 12, 211, 10, num_blocks=2, layers_per_block=1, channels=16, head_dim=8, expansion=2)
        )
        flow.load_state_dict(weights)
        flow.requires_grad_(False)
        z, logdet = flow(golden["lm1b.flow.u"], clamped=False)
        assert distance(z, golden["lm1b.flow.z"]) < 5e-6
        assert distance(logdet, golden["lm1b.flow.logdet"]) < 1e-6
        assert distance(flow_nll(z, logdet), golden["lm1b.flow.nll"]) < 1e-6
        assert distance(flow.inverse(z), golden["lm1b.flow.inverse_of_z"]) < 5e-6

    def test_the_clamp_bounds_the_forward_direction_alone(self, golden):
        flow = Flow(StageASizes(4, 2, 5, 3, 1, layers_per_block=1, channels=4, head_dim=2, expansion=2))
        flow.requires_grad_(False)
        flow.blocks[0].proj_out.weight.zero_()
        flow.blocks[0].proj_out.bias.copy_(torch.tensor([7.0, 7.0, 0.0, 0.0]))  # log scales of 7, no shift
        ones = torch.ones(1, 4, 2)
        assert torch.allclose(flow(ones)[0][0, 1:], torch.full((3, 2), -5.0).exp())
        assert torch.allclose(flow(ones, clamped=False)[0][0, 1:], torch.full((3, 2), -7.0).exp())
        assert torch.allclose(flow.inverse(ones)[0, 1:], torch.full((3, 2), 7.0).exp())
