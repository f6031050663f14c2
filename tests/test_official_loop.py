"""The plain loop computes what the official code computes, so that equality with it and ratios against it count."""

import dataclasses

import numpy as np
import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.circuits import HMM, load_circuit
from lm_eval_codd.tensors.noise import Stream, row_keys, uniforms
from tests import official_loop as reference
from tests.decoding.goldens import cases

GREEDY = [
    case
    for case in cases()
    if "llada" in case.id.split("/")[0]
    and not case.seeded
    and case.config.cache == "none"
    and case.config.threshold is None
]


class TestItEqualsTheOfficialLoop:
    @pytest.mark.parametrize("case", GREEDY, ids=lambda case: case.id)
    def test_tokens(self, case, load):
        config = case.config
        for prompt, official in zip(case.prompts, case.output, strict=True):
            assert reference.reference_decode(load(case.model), prompt, config) == official[-config.gen_length :]

    def test_every_remasking_rule_and_setting_is_among_the_cases(self):
        assert {case.config.alg for case in GREEDY} == {"low_confidence", "margin", "entropy"}
        for name in ("cfg_scale", "logits_eos_inf", "confidence_eos_eot_inf"):
            assert any(getattr(case.config, name) for case in GREEDY)

    def test_it_stops_after_so_many_steps(self, load):
        backbone = load("llada-tiny")
        config = codd.DecodingConfig(gen_length=16, block_length=8, num_steps=8)
        part = reference.reference_decode(backbone, [5, 6, 7], config, num_steps=3)
        whole = reference.reference_decode(backbone, [5, 6, 7], config)
        assert sum(token != backbone.mask_id for token in part) == 6
        assert all(token in (backbone.mask_id, full) for token, full in zip(part, whole, strict=True))


@pytest.mark.parametrize("name", ["tiny_enum", "tiny_h3", "blocks_h12", "mid"])
class TestItsCircuitEqualsPyJuice:
    @pytest.fixture
    def golden(self, golden_dir, name):
        folder = golden_dir / "circuits" / name
        with np.load(folder / "case.npz") as file:
            arrays = {key: torch.from_numpy(value) for key, value in file.items() if value.ndim}
        return load_circuit(folder, dtype=torch.float64), arrays

    @pytest.fixture
    def log_leaf(self, golden):
        circuit, arrays = golden
        observed = arrays["input_ids"].where(arrays["observed"], -1)
        rows = zip(arrays["ext_logp"], observed, strict=True)
        return torch.stack([reference.log_leaves(circuit, evidence, row) for evidence, row in rows])

    def test_chain(self, golden, log_leaf):
        circuit, arrays = golden
        torch.testing.assert_close(log_leaf, arrays["log_leaf"], rtol=0, atol=1e-9)
        log_beta = torch.stack([reference.backward(circuit, leaf) for leaf in log_leaf])
        torch.testing.assert_close(log_beta, arrays["log_beta"], rtol=0, atol=1e-9)
        log_mass = [reference.log_partition(circuit, *pair) for pair in zip(log_leaf, log_beta, strict=True)]
        torch.testing.assert_close(torch.stack(log_mass), arrays["logZ"], rtol=0, atol=1e-9)

    def test_what_a_latent_path_emits(self, golden):
        circuit, arrays = golden
        rows = zip(arrays["ext_logp"], arrays["official_z"], strict=True)
        emitted = torch.stack([reference.emit(circuit, evidence, latents) for evidence, latents in rows])
        torch.testing.assert_close(emitted.float(), arrays["official_logits_out"], rtol=0, atol=1e-4)

    def test_draws_follow_the_posterior(self, golden, log_leaf):
        circuit, arrays = golden
        log_beta = reference.backward(circuit, log_leaf[0])
        generator = torch.Generator().manual_seed(0)
        num_draws = 400
        first = torch.zeros(circuit.num_latents)
        for _ in range(num_draws):
            uniform = torch.rand(circuit.num_positions, generator=generator)
            first[reference.draw(circuit, log_leaf[0], log_beta, uniform)[0]] += 1 / num_draws
        assert (first - arrays["latent_posterior"][0, 0]).abs().max() < 4 * 0.5 / num_draws**0.5


def peaked(circuit: HMM) -> HMM:
    """The same circuit with emissions sharp enough to change what a step decides."""
    emission = (circuit.emission / circuit.emission.amax(-1, keepdim=True)) ** 30  # (1 / V) ** 30 would be zero
    emission /= emission.sum(-1, keepdim=True)
    return HMM(circuit.initial, circuit.transition, emission, circuit.num_positions)


class TestItDecodesWhatTheProjectDecodes:
    @pytest.mark.parametrize("pc_frac", [0.3, 0.7, 1.1])
    def test_with_a_circuit_and_the_same_draws(self, load, make_circuit, pc_frac):
        backbone = load("llada-tiny")
        tables = {"num_positions": 8, "num_latents": 6, "vocab_size": backbone.vocab_size}
        circuit = peaked(make_circuit(**tables, dtype=torch.float32))
        config = codd.DecodingConfig(
            gen_length=16, block_length=8, num_steps=8, pc_frac=pc_frac, pc_temperature=0.5, stop_at_eos=False
        )
        prompt = [5, 6, 7]
        keys = row_keys(config.seed, [prompt], [0], torch.device("cpu"))

        def draws(number: int, columns: torch.Tensor) -> torch.Tensor:
            return uniforms(keys, Stream.LATENT, torch.tensor([number]), columns[None])[0]

        [output] = codd.generate(backbone, [prompt], config, circuit=circuit)
        assert reference.reference_decode(backbone, prompt, config, circuit, draws) == output.tokens
        assert output.num_circuit > 0
        alone = reference.reference_decode(backbone, prompt, dataclasses.replace(config, pc_frac=0.0), circuit, draws)
        assert alone != output.tokens
