"""What a GPU computes by fewer launches is what the same functions compute one kernel after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import lm_eval_codd as codd
from lm_eval_codd.backbones import elementwise
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.families.llada import LLADA
from lm_eval_codd.backbones.token_ids import TokenIds
from lm_eval_codd.circuits import HMM
from lm_eval_codd.tensors import cuda_graphs, fused

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@contextmanager
def plainly(*, graphs: bool = False, kernels: bool = False) -> Iterator[None]:
    """Without graphs, or without compiled kernels, as far as they are not left on."""
    with pytest.MonkeyPatch.context() as patch:
        if not graphs:
            patch.setattr(cuda_graphs, "_can_replay", lambda first: False)
        if not kernels:
            patch.setattr(fused, "_compiles", lambda device: False)
        yield


def random_backbone(dtype: torch.dtype, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=3,
        num_attention_heads=8,
        max_position_embeddings=1024,
        initializer_range=0.06,
        attn_implementation="sdpa",
    )
    config.is_causal = False
    model = LlamaForCausalLM(config).to("cuda", dtype).eval().requires_grad_(False)
    ids = TokenIds(mask_id=500, eos_id=501, eot_id=502)
    return Backbone(model, LLADA, ids, num_parameters=0, source="random", identity="random")


def random_circuit(num_latents: int, vocab_size: int) -> HMM:
    generator = torch.Generator("cuda").manual_seed(0)
    tables = [(num_latents,), (num_latents, num_latents), (num_latents, vocab_size)]
    values = [torch.rand(shape, generator=generator, device="cuda") for shape in tables]
    return HMM(*(value / value.sum(-1, keepdim=True) for value in values), 16)


class TestKernels:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_rotation_is_the_same_to_the_bit(self, dtype: torch.dtype):
        states = torch.randn(3, 130, 8, 96, device="cuda", dtype=dtype)
        for width in (96, 64):
            cos, sin = (torch.randn(3, 130, 1, width, device="cuda") for _ in range(2))
            compiled = elementwise.rotate(cos, sin, states)
            with plainly():
                assert torch.equal(compiled, elementwise.rotate(cos, sin, states))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_norms_differ_by_the_order_of_a_sum(self, dtype: torch.dtype):
        norm = LlamaRMSNorm(512, 1e-5).to("cuda", dtype)
        states, update = (torch.randn(5, 300, 512, device="cuda", dtype=dtype) for _ in range(2))
        total, compiled = elementwise.normed_sum(norm, update, states)
        with plainly():
            assert torch.equal(total, states + update)
            torch.testing.assert_close(compiled, norm(states + update))
            torch.testing.assert_close(elementwise.normed(norm, total), compiled)


class TestChain:
    @pytest.mark.parametrize("rows", [1, 5, 8])
    def test_a_replayed_chain_is_the_computed_one(self, rows: int):
        circuit = random_circuit(1024, 40)
        for _ in range(3):
            log_leaf = 3 * torch.randn(rows, 16, 1024, device="cuda")
            replayed = circuit.chain_mass(log_leaf)
            with plainly(kernels=True):
                computed = circuit.chain_mass(log_leaf)
            for one, other in zip(replayed, computed, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)

    def test_a_drawn_path_is_where_its_numbers_point(self):
        circuit = random_circuit(1024, 40)
        log_initial, log_transitions = (table.double() for table in circuit.log_chain_tables)
        for _ in range(3):
            message, uniforms = 3 * torch.randn(64, 16, 1024, device="cuda"), torch.rand(64, 16, device="cuda")
            path = circuit.draw(message, uniforms)
            for t in range(16):
                log_prior = log_initial if t == 0 else log_transitions[t - 1][path[:, t - 1]]
                cumulative = (log_prior + message[:, t].double()).softmax(-1).cumsum(-1)
                upper = cumulative.gather(1, path[:, t, None])[:, 0]
                lower = torch.where(
                    path[:, t] > 0, cumulative.gather(1, (path[:, t, None] - 1).clamp(min=0))[:, 0], 0.0
                )
                assert (uniforms[:, t] > lower - 1e-5).all()
                assert (uniforms[:, t] < upper + 1e-5).all()


class TestSpans:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("padded", [False, True])
    @pytest.mark.parametrize("slots", [None, [3, 1, 2, 0, 4]])
    def test_a_replayed_span_is_the_computed_one(self, dtype: torch.dtype, padded: bool, slots: list[int] | None):
        backbone = random_backbone(dtype)
        mask = None
        if padded:
            mask = torch.ones(5, 150, dtype=torch.bool, device="cuda")
            mask[1:3, :40] = False
        rows = None if slots is None else torch.tensor(slots, device="cuda")
        caches = [backbone.new_cache(5, 150) for _ in range(2)]
        tokens = torch.randint(0, 400, (5, 150), device="cuda")
        with plainly():
            for cache in caches:
                backbone.hidden_at(tokens, mask, cache=cache, slots=rows)
        for step in range(4):
            tokens = torch.randint(0, 400, (5, 150), device="cuda")
            start = torch.tensor([60, 92, 60, 118, 92], device="cuda")
            positions = start[:, None] + torch.arange(32 - 5 * step, device="cuda")

            def compute(cache: Any, given: tuple = (tokens, mask, positions), start: Any = start) -> torch.Tensor:
                return backbone.hidden_at(*given, cache=cache, slots=rows, start=start, width=32)

            replayed = compute(caches[0])
            with plainly(kernels=True):
                computed = compute(caches[1])
            torch.testing.assert_close(replayed, computed)
        for one, other in zip(*(cache._keys for cache in caches), strict=True):
            torch.testing.assert_close(one, other)


class TestDecoding:
    SETTINGS = codd.DecodingConfig(num_steps=16, gen_length=64, block_length=16, pc_frac=0.9)

    @pytest.mark.parametrize("settings", [{}, {"cache": "dual", "threshold": 0.5}, {"cache": "prefix"}])
    @pytest.mark.parametrize("coupled", [False, True])
    def test_answers_are_those_of_plain_kernels_in_any_batch(self, settings: dict[str, Any], coupled: bool):
        backbone = random_backbone(torch.float32)
        circuit = random_circuit(32, 512) if coupled else None
        generator = torch.Generator().manual_seed(1)
        prompts = [torch.randint(0, 400, (n,), generator=generator).tolist() for n in (90, 40, 77, 60, 33, 50, 20)]
        config = replace(self.SETTINGS, **settings)
        answers = [codd.generate(backbone, prompts, config, circuit, batch_size=size) for size in (3, 1)]
        with plainly():
            answers.append(codd.generate(backbone, prompts, config, circuit, batch_size=3))
        first = [answer.tokens for answer in answers[0]]
        assert len({tuple(tokens) for tokens in first}) > 1
        assert all([answer.tokens for answer in other] == first for other in answers[1:])
