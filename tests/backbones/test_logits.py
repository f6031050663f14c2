"""Logits against the official code's, and what of a forward pass is computed."""

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from lm_eval_codd.backbones import forward, load_backbone
from lm_eval_codd.decoding.protocols import Backbone as BackboneProtocol

LLADA = ("llada-tiny", "llada-tiny-gqa")
CHECKPOINTS = (*LLADA, "dream-tiny")


class Golden:
    """One checkpoint's official inputs and outputs."""

    def __init__(self, path):
        self._arrays = np.load(path)
        self.cases = sorted({key.split(".")[0] for key in self._arrays.files})

    def get(self, case, name):
        key = f"{case}.{name}"
        return torch.from_numpy(self._arrays[key]) if key in self._arrays.files else None

    def tokens(self, case):
        return self.get("full" if case == "full_bf16" else case, "input_ids")

    def mask(self, case):
        mask = self.get(case, "attention_mask")
        return None if mask is None else mask.bool()


@pytest.fixture(params=CHECKPOINTS)
def name(request):
    return request.param


@pytest.fixture
def golden(golden_dir, name):
    return Golden(golden_dir / "decoding" / "forward" / f"{name}.npz")


class TestAgainstTheOfficialCode:
    def test_every_float32_case_is_within_2e_4(self, golden, load, name):
        backbone = load(name)
        for case in golden.cases:
            if case == "full_bf16":
                continue
            got, expected = _official(backbone, golden, case)
            assert (got - expected).abs().max() < 2e-4, case

    def test_bfloat16_keeps_the_rotary_embedding_of_the_original(self, golden, load, name):
        backbone = load(name, dtype="bfloat16")
        got, expected = _official(backbone, golden, "full_bf16")
        assert got.dtype == torch.bfloat16
        assert (got.float() - expected).abs().mean() < 0.01

    @pytest.mark.parametrize("name", LLADA, indirect=True)
    def test_llada_scores_a_token_at_its_own_position(self, golden, load, name):
        got = load(name).logits(golden.tokens("full"))
        torch.testing.assert_close(got, golden.get("full", "logits"), atol=2e-4, rtol=0)

    @pytest.mark.parametrize("name", ["dream-tiny"], indirect=True)
    def test_dream_scores_a_token_at_the_position_before(self, golden, load, name):
        raw = golden.get("full", "logits")
        got = load(name).logits(golden.tokens("full"))
        torch.testing.assert_close(got, torch.cat([raw[:, :1], raw[:, :-1]], dim=1), atol=2e-4, rtol=0)

    @pytest.mark.parametrize("name", ["dream-tiny"], indirect=True)
    def test_dream_scores_the_first_token_after_padding_by_its_own_row(self, golden, load, name):
        tokens, mask, raw = golden.tokens("leftpad"), golden.mask("leftpad"), golden.get("leftpad", "logits")
        got = load(name).logits(tokens, mask)
        for row, start in enumerate((~mask).sum(1).tolist()):
            expected = torch.cat([raw[row, start : start + 1], raw[row, start:-1]])
            torch.testing.assert_close(got[row, start:], expected, atol=2e-4, rtol=0)


class TestPositions:
    def test_asked_positions_equal_the_same_columns_of_all(self, load, name):
        backbone = load(name)
        tokens = _tokens(backbone, 3, 20)
        positions = torch.tensor([[0, 5, 19], [7, 7, 1], [19, 18, 0]])
        got = backbone.logits(tokens, positions=positions)
        everything = backbone.logits(tokens)
        assert got.shape == (3, 3, backbone.vocab_size)
        torch.testing.assert_close(got, everything[torch.arange(3)[:, None], positions], atol=1e-5, rtol=0)

    def test_asked_positions_of_padded_rows_too(self, load, name):
        backbone = load(name)
        tokens, mask = _padded(backbone, [list(range(9)), list(range(20))], "left")
        positions = torch.tensor([[11, 12, 19], [0, 1, 19]])
        everything = backbone.logits(tokens, mask)
        got = backbone.logits(tokens, mask, positions)
        torch.testing.assert_close(got, everything[torch.arange(2)[:, None], positions], atol=1e-5, rtol=0)

    def test_the_head_is_applied_to_the_asked_rows_only(self, load, name):
        backbone = load(name)
        seen = []
        hook = backbone.model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
        backbone.logits(_tokens(backbone, 2, 24), positions=torch.tensor([[3, 9, 4], [1, 2, 23]]))
        hook.remove()
        assert seen == [(2, 3, backbone.model.config.hidden_size)]

    def test_the_last_layer_computes_nothing_else_that_is_not_read(self, load, name):
        backbone, widths = load(name), {}

        def watch(label, module):
            return module.register_forward_pre_hook(lambda _, args: widths.update({label: args[0].shape[1]}))

        *_, before, last = backbone.model.model.layers
        watched = {
            "mlp before": before.mlp,
            "keys": last.self_attn.k_proj,
            "values": last.self_attn.v_proj,
            "queries": last.self_attn.q_proj,
            "output": last.self_attn.o_proj,
            "mlp": last.mlp,
            "norm": backbone.model.model.norm,
        }
        hooks = [watch(label, module) for label, module in watched.items()]
        backbone.logits(_tokens(backbone, 2, 24), positions=torch.tensor([[3, 9, 4], [1, 2, 23]]))
        for hook in hooks:
            hook.remove()
        assert widths == dict.fromkeys(watched, 3) | {"mlp before": 24, "keys": 24, "values": 24}


class TestPlaces:
    def test_columns_that_share_a_place_are_computed_as_transformers_does(self, load, name):
        backbone = load(name)
        tokens = _tokens(backbone, 2, 12)
        places = torch.tensor([[*range(8), 4, 5, 6, 7], [*range(8), 0, 1, 2, 3]])
        seen = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.6
        seen |= torch.eye(12, dtype=torch.bool)
        ours = backbone.hidden_at(tokens, seen, places=places)
        model = backbone.model.model
        theirs = model(input_ids=tokens, attention_mask=seen, position_ids=places, use_cache=False).last_hidden_state
        if not backbone.scored_by_previous:
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        else:
            torch.testing.assert_close(ours[:, 1:], theirs[:, :-1], atol=1e-4, rtol=0)
        assert not torch.allclose(ours, backbone.hidden_at(tokens, seen), atol=1e-2)

    def test_those_of_a_span_are_the_spans_own(self, load, name):
        backbone = load(name)
        tokens, places = _tokens(backbone, 2, 12), torch.arange(12).flip(0).expand(2, -1)
        cache = backbone.new_cache(2, 12)
        everything = backbone.hidden_at(tokens, cache=cache, places=places)
        start = torch.tensor([4, 7])
        got = backbone.hidden_at(tokens, cache=cache, start=start, width=4, places=places)
        for row, first in enumerate(start.tolist()):
            torch.testing.assert_close(got[row, 1:], everything[row, first + 1 : first + 4], atol=1e-5, rtol=0)


class TestRoomForLogits:
    @pytest.fixture
    def hidden(self, load, name):
        backbone = load(name)
        return backbone.hidden_at(torch.arange(12)[None])[0]

    def test_logits_lie_in_it_and_are_the_same(self, load, name, hidden):
        backbone = load(name)
        room = torch.full((20, backbone.vocab_size), torch.nan)
        logits = backbone.head(hidden, out=room)
        assert torch.equal(logits, backbone.head(hidden))
        assert logits.data_ptr() == room.data_ptr()
        assert room[12:].isnan().all()

    def test_a_head_that_does_more_than_multiply_is_called(self, load, name, hidden):
        backbone = load(name)
        plain = backbone.head(hidden)
        handle = backbone.model.lm_head.register_forward_hook(lambda module, args, output: output + 1)
        try:
            logits = backbone.head(hidden, out=torch.zeros(20, backbone.vocab_size))
        finally:
            handle.remove()
        assert torch.equal(logits, plain + 1)

    def test_a_head_whose_weight_is_offloaded_is_called(self, load, models, name, hidden):
        offloaded = load_backbone(models / name, dtype="float32", device="cpu")
        cpu_offload(offloaded.model.lm_head, execution_device="cpu")
        room = torch.zeros(20, offloaded.vocab_size)
        torch.testing.assert_close(offloaded.head(hidden, out=room), load(name).head(hidden))

    def test_room_of_another_dtype_is_left_alone(self, load, name, hidden):
        backbone = load(name)
        assert backbone.head(hidden, out=torch.zeros(20, backbone.vocab_size).double()).dtype == torch.float32


class TestPadding:
    # float64 shows that nothing but rounding is left; in float32 a forward pass itself is exact to 4e-5 here.
    @pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-11), ("float32", 4e-5)])
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding_does_not_change_a_rows_logits(self, load, name, side, dtype, tolerance):
        backbone = load(name, dtype=dtype)
        rows = [[5, 9, backbone.mask_id, 3], list(range(1, 24)), [backbone.mask_id] * 11]
        tokens, mask = _padded(backbone, rows, side)
        together = backbone.logits(tokens, mask)
        for row, ids in enumerate(rows):
            alone = backbone.logits(torch.tensor([ids]))[0]
            torch.testing.assert_close(together[row][mask[row]], alone, atol=tolerance, rtol=0)

    def test_a_mask_without_padding_gives_attention_no_mask(self, load, monkeypatch, name):
        backbone = load(name)
        tokens = _tokens(backbone, 2, 8)
        attend, seen = forward.scaled_dot_product_attention, []

        def record(*args, **kwargs):
            seen.append(kwargs["attn_mask"])
            return attend(*args, **kwargs)

        monkeypatch.setattr(forward, "scaled_dot_product_attention", record)
        with_mask = backbone.logits(tokens, torch.ones_like(tokens, dtype=torch.bool))
        assert seen == [None] * backbone.model.config.num_hidden_layers
        torch.testing.assert_close(with_mask, backbone.logits(tokens), atol=0, rtol=0)


class TestContract:
    def test_a_backbone_is_what_decoding_asks_for(self, load, name):
        assert isinstance(load(name), BackboneProtocol)

    def test_logits_take_no_gradient_and_can_be_written_to(self, load, name):
        backbone = load(name)
        logits = backbone.logits(_tokens(backbone, 1, 4))
        logits[..., 0] = float("-inf")
        assert not logits.requires_grad
        assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def _official(backbone, golden, case):
    """Logits of the golden's outputs [N, V] and the golden itself, without padding and what scores no token."""
    tokens, mask, expected = golden.tokens(case), golden.mask(case), golden.get(case, "logits")
    outputs = golden.get(case, "positions")
    outputs = torch.arange(tokens.shape[1]) if outputs is None else outputs
    tokens_scored = outputs + 1 if backbone.family == "dream" else outputs
    exists = tokens_scored < tokens.shape[1]
    got = backbone.logits(tokens, mask, tokens_scored[exists].expand(len(tokens), -1))
    real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
    real = real[:, outputs[exists]]
    return got[real], expected[:, exists][real]


def _tokens(backbone, rows, length):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, backbone.vocab_size, (rows, length), generator=generator)


def _padded(backbone, rows, side):
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), backbone.eos_id)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, ids in enumerate(rows):
        where = slice(width - len(ids), None) if side == "left" else slice(0, len(ids))
        tokens[row, where] = torch.tensor(ids)
        mask[row, where] = True
    return tokens, mask
