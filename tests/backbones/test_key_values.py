"""Passes over a span of the canvas, against passes over all of it and against transformers' own layers."""

import pytest
import torch
from safetensors.torch import load_file

from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.backbones.families.llada import LLADA
from lm_eval_codd.backbones.token_ids import TokenIds

LENGTH, WIDTH = 24, 6
STARTS = torch.tensor([9, 4, 18])
PADDING = torch.tensor([0, 3, 7])
# In float32 a pass is exact to 4e-5 on these weights.
CLOSE = {"atol": 4e-5, "rtol": 0}


@pytest.fixture(params=["llada-tiny", "llada-tiny-gqa", "dream-tiny"])
def backbone(request, load):
    return load(request.param)


@pytest.fixture(params=["unpadded", "padded"])
def attention_mask(request):
    return torch.arange(LENGTH) >= PADDING[:, None] if request.param == "padded" else None


class TestFullPass:
    def test_filling_a_cache_changes_no_result(self, backbone, attention_mask):
        tokens, cache = _tokens(backbone), backbone.new_cache(5, LENGTH + 2)
        expected = backbone.hidden_at(tokens, attention_mask)
        assert torch.equal(backbone.hidden_at(tokens, attention_mask, cache=cache), expected)
        slots = torch.tensor([4, 0, 2])
        assert torch.equal(backbone.hidden_at(tokens, attention_mask, cache=cache, slots=slots), expected)


class TestSpan:
    def test_on_the_same_tokens_it_equals_the_full_pass(self, backbone, attention_mask):
        tokens, positions = _tokens(backbone), _columns(STARTS)
        cache = backbone.new_cache(3, LENGTH)
        expected = backbone.hidden_at(tokens, attention_mask, positions, cache=cache)
        got = backbone.hidden_at(tokens, attention_mask, positions, cache=cache, start=STARTS, width=WIDTH)
        first = backbone.family == "dream"  # see the next test
        torch.testing.assert_close(got[:, first:], expected[:, first:], **CLOSE)

    def test_dream_scores_its_first_token_by_itself(self, load):
        backbone = load("dream-tiny")
        tokens, cache = _tokens(backbone), backbone.new_cache(3, LENGTH)
        # The output of the first column scores the token after it.
        expected = backbone.hidden_at(tokens, None, STARTS[:, None] + 1, cache=cache)
        got = backbone.hidden_at(tokens, None, STARTS[:, None], cache=cache, start=STARTS, width=WIDTH)
        torch.testing.assert_close(got, expected, **CLOSE)

    def test_positions_may_be_any_of_it(self, backbone, attention_mask):
        tokens, cache = _tokens(backbone), backbone.new_cache(3, LENGTH)
        backbone.hidden_at(tokens, attention_mask, cache=cache)
        everything = backbone.hidden_at(tokens, attention_mask, cache=cache, start=STARTS, width=WIDTH)
        picked = torch.tensor([[5, 0], [2, 2], [1, 4]])
        got = backbone.hidden_at(
            tokens, attention_mask, STARTS[:, None] + picked, cache=cache, start=STARTS, width=WIDTH
        )
        assert everything.shape[:2] == (3, WIDTH)
        torch.testing.assert_close(got, everything[torch.arange(3)[:, None], picked], **CLOSE)

    def test_one_that_passes_the_end_of_the_canvas(self, backbone, attention_mask):
        tokens, cache = _tokens(backbone), backbone.new_cache(3, LENGTH)
        backbone.hidden_at(tokens, attention_mask, cache=cache)
        starts, positions = torch.tensor([LENGTH - 2, 10, LENGTH - 1]), torch.full((3, 1), LENGTH - 1)
        positions[1] = 12
        got = backbone.hidden_at(tokens, attention_mask, positions, cache=cache, start=starts, width=WIDTH)
        alone = backbone.hidden_at(tokens, attention_mask, positions, cache=cache, start=positions[:, 0] - 1, width=2)
        rows = [0, 1] if backbone.family == "dream" else [0, 1, 2]
        torch.testing.assert_close(got[rows], alone[rows], **CLOSE)

    def test_one_without_a_cache_is_refused(self, load):
        backbone = load("llada-tiny")
        with pytest.raises(ValueError, match="give `cache=` and `width=` too"):
            backbone.hidden_at(_tokens(backbone), start=STARTS, width=WIDTH)

    def test_a_row_alone_equals_the_row_among_others(self, backbone, attention_mask):
        tokens = _tokens(backbone)
        together = _two_spans(backbone, tokens, attention_mask, STARTS, WIDTH)
        for row in range(3):
            mask = None if attention_mask is None else attention_mask[row, PADDING[row] :][None]
            padding = 0 if attention_mask is None else int(PADDING[row])
            alone = _two_spans(backbone, tokens[row, padding:][None], mask, STARTS[row][None] - padding, WIDTH)
            torch.testing.assert_close(together[row], alone[0], **CLOSE)

    def test_slots_are_rows_of_the_cache_in_any_order(self, backbone, attention_mask):
        tokens = _tokens(backbone)
        expected = _two_spans(backbone, tokens, attention_mask, STARTS, WIDTH)
        slots = torch.tensor([4, 0, 2])
        got = _two_spans(backbone, tokens, attention_mask, STARTS, WIDTH, slots, backbone.new_cache(6, LENGTH + 3))
        torch.testing.assert_close(got, expected, **CLOSE)


class TestAgainstTransformersLayers:
    @pytest.mark.parametrize("starts, width", [(STARTS, WIDTH), (torch.tensor([9, 9, 9]), LENGTH - 9)])
    def test_what_was_written_is_seen_and_the_rest_is_stale(self, backbone, attention_mask, starts, width):
        """The dual cache's spans with a start for each row, then the prefix cache's: all up to the end."""
        tokens, past = _tokens(backbone), Past()
        got = _two_spans(backbone, tokens, attention_mask, starts, width)
        _by_transformers(backbone, tokens, attention_mask, _columns(torch.zeros(3, dtype=int), LENGTH), past)
        columns = _columns(starts, width)
        for changed in _changes(backbone, tokens, starts):
            expected = _by_transformers(backbone, changed, attention_mask, columns, past)
        if backbone.family == "dream":
            expected = torch.cat([expected[:, :1], expected[:, :-1]], dim=1)
        torch.testing.assert_close(got, expected, **CLOSE)
        fresh = backbone.hidden_at(changed, attention_mask, columns)
        assert (got - fresh).abs().max() > 0.01  # the rest of the canvas is as it was before the changes


class TestCrop:
    def test_columns_of_padding_can_go(self, backbone):
        tokens, mask = _tokens(backbone), torch.arange(LENGTH) >= torch.tensor([[3], [5], [4]])
        caches = [backbone.new_cache(3, LENGTH) for _ in range(2)]
        for cache in caches:
            backbone.hidden_at(tokens, mask, cache=cache)
        caches[1].crop(3)
        assert caches[1].num_columns == LENGTH - 3
        for changed in _changes(backbone, tokens, STARTS + 1):
            expected = backbone.hidden_at(changed, mask, cache=caches[0], start=STARTS + 1, width=4)
            got = backbone.hidden_at(changed[:, 3:], mask[:, 3:], cache=caches[1], start=STARTS - 2, width=4)
            torch.testing.assert_close(got, expected, **CLOSE)


class TestOtherWeights:
    def test_bfloat16(self, load):
        backbone = load("llada-tiny-gqa", dtype="bfloat16")
        tokens, cache = _tokens(backbone), backbone.new_cache(3, LENGTH)
        expected = backbone.hidden_at(tokens, None, _columns(STARTS), cache=cache)
        got = backbone.hidden_at(tokens, None, _columns(STARTS), cache=cache, start=STARTS, width=WIDTH)
        assert got.dtype == torch.bfloat16
        assert (got - expected).float().abs().mean() < 0.01

    def test_an_adapter(self, models, tmp_path):
        pytest.importorskip("peft")
        from tests.backbones.test_adapter import LLADA as modules
        from tests.backbones.test_adapter import save_adapter

        save_adapter(tmp_path / "a", load_file(models / "llada-tiny" / "model.safetensors"), modules)
        backbone = load_backbone(models / "llada-tiny", device="cpu", peft=tmp_path / "a")
        tokens, cache = _tokens(backbone), backbone.new_cache(3, LENGTH)
        expected = backbone.hidden_at(tokens, None, _columns(STARTS), cache=cache)
        got = backbone.hidden_at(tokens, None, _columns(STARTS), cache=cache, start=STARTS, width=WIDTH)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


class TestDevice:
    def test_nothing_waits_for_it(self, models, monkeypatch):
        """On the meta device there are no values, so reading one of them fails."""
        # transformers 5.2 asks this of any device, and torch has no answer for this one.
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type=None: False)
        model = load_backbone(models / "llada-tiny", dtype="bfloat16", device="cpu").model.to("meta")
        backbone = Backbone(model, LLADA, TokenIds(490, 470, None), num_parameters=0, source="meta", identity="none")
        tokens = torch.zeros(3, LENGTH, dtype=torch.int64, device="meta")
        mask, positions = tokens.bool(), tokens[:, :WIDTH]
        cache = backbone.new_cache(4, LENGTH)
        for slots in (None, tokens[:, 0]):
            backbone.hidden_at(tokens, mask, positions, cache=cache, slots=slots)
            hidden = backbone.hidden_at(
                tokens, mask, positions, cache=cache, slots=slots, start=tokens[:, 0], width=WIDTH
            )
            assert backbone.head(hidden).shape == (3, WIDTH, backbone.vocab_size)


class Past:
    """Keys and values of transformers' own layers, [B, H, L, D] each, of which `columns` are overwritten."""

    def __init__(self):
        self.layers, self.columns = {}, None

    def update(self, keys, values, layer, *args, **kwargs):
        if layer not in self.layers:
            self.layers[layer] = keys, values
            return keys, values
        rows = torch.arange(len(keys))[:, None]
        for kept, new in zip(self.layers[layer], (keys, values), strict=True):
            kept[rows, :, self.columns] = new.transpose(1, 2)
        return self.layers[layer]


def _by_transformers(backbone, tokens, attention_mask, columns, past):
    """Outputs [B, W, D] of the columns [B, W], without Dream's shift."""
    trunk, past.columns = backbone.model.model, columns
    mask = torch.ones(tokens.shape, dtype=torch.bool) if attention_mask is None else attention_mask
    phases = (mask.long().cumsum(-1) - 1).clamp(min=0).gather(1, columns)
    hidden = trunk.embed_tokens(tokens.gather(1, columns))
    rotary = trunk.rotary_emb(hidden, phases)
    for layer in trunk.layers:
        hidden = layer(hidden, attention_mask=mask[:, None, None, :], position_embeddings=rotary, past_key_values=past)
    return trunk.norm(hidden)


def _tokens(backbone, rows=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, backbone.vocab_size, (rows, LENGTH), generator=generator)


def _columns(starts, width=WIDTH):
    return starts[:, None] + torch.arange(width)


def _changes(backbone, tokens, starts):
    """The tokens after one, and after two commits into the spans."""
    for offset in (1, 3):
        columns = starts[:, None] + offset
        tokens = tokens.scatter(1, columns, (tokens.gather(1, columns) + 100) % backbone.vocab_size)
        yield tokens


def _two_spans(backbone, tokens, attention_mask, starts, width, slots=None, cache=None):
    """What the span's tokens are scored by in the second of two steps after a full pass."""
    cache = cache or backbone.new_cache(*tokens.shape)
    backbone.hidden_at(tokens, attention_mask, cache=cache, slots=slots)
    for changed in _changes(backbone, tokens, starts):
        hidden = backbone.hidden_at(changed, attention_mask, cache=cache, slots=slots, start=starts, width=width)
    return hidden
