"""Noise, the backbone's evidence, and its cache."""

from typing import ClassVar

import pytest
import torch

from lm_eval_codd.training.data import load_data
from lm_eval_codd.training.evidence import CachedEvidence, LiveEvidence, TopK
from lm_eval_codd.training.noise import draw_mask

WINDOW = 4


@pytest.fixture(scope="module")
def examples(backbone_dir, data_file, tokenizer, backbone):
    from lm_eval_codd.training.settings import TrainingConfig

    config = TrainingConfig(backbone=str(backbone_dir), data=str(data_file), held_out=6, window=WINDOW)
    return load_data(config, tokenizer, backbone).train


@pytest.fixture
def live(backbone, examples):
    return LiveEvidence(backbone, examples, WINDOW, None, seed=0)


class TestNoise:
    def test_it_depends_on_seed_draw_and_row_alone(self):
        mask = draw_mask(0, 1, 2, 50)
        assert torch.equal(mask, draw_mask(0, 1, 2, 50))
        assert all(not torch.equal(mask, draw_mask(*other, 50)) for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)))

    def test_levels_are_uniform(self):
        shares = torch.stack([draw_mask(0, 0, row, 200).float().mean() for row in range(2000)])
        quantiles = torch.quantile(shares, torch.tensor([0.1, 0.5, 0.9]))
        torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.5, 0.9]), rtol=0, atol=0.04)


class TestLive:
    def test_it_is_what_the_backbone_says_of_each_row_alone(self, live, backbone, examples):
        rows = [3, 0, 7, 5]
        batch = live.batch(rows, draw=2)
        tokens, masked, log_evidence = [], [], []
        for row in rows:
            answer = torch.tensor(examples[row].answer)
            mask = draw_mask(0, 2, row, len(answer))
            canvas = torch.cat([torch.tensor(examples[row].prompt), answer.masked_fill(mask, backbone.mask_id)])
            logits = backbone.logits(canvas[None])[0, len(examples[row].prompt) :]
            for window in range(0, len(answer), WINDOW):
                part = slice(window, window + WINDOW)
                if mask[part].any():
                    tokens.append(answer[part])
                    masked.append(mask[part])
                    log_evidence.append(logits[part][mask[part]].log_softmax(-1))
        assert torch.equal(batch.tokens, torch.stack(tokens))
        assert torch.equal(batch.masked, torch.stack(masked))
        torch.testing.assert_close(batch.log_evidence, torch.cat(log_evidence), rtol=0, atol=1e-4)

    def test_a_longer_canvas_is_filled_with_masked_and_known_ends(self, backbone, examples, live):
        longer = LiveEvidence(backbone, examples, WINDOW, 12, seed=0)
        short, long = live.batch([0, 1], 0), longer.batch([0, 1], 0)
        assert short.tokens.shape[1] == long.tokens.shape[1] == WINDOW
        assert {tuple(row) for row in long.tokens.tolist()} <= {
            tuple(answer[i : i + WINDOW])
            for answer in (examples[0].answer, examples[1].answer)
            for i in range(0, len(answer), WINDOW)
        }

    def test_a_batch_without_a_mask_is_empty(self, live, monkeypatch):
        monkeypatch.setattr(live, "_mask", lambda row, draw: torch.zeros(len(live.examples[row].answer)).bool())
        batch = live.batch([0, 1], 0)
        assert batch.tokens.shape == (0, WINDOW)
        assert batch.log_evidence.shape == (0, live.backbone.vocab_size)


class TestTopK:
    @pytest.fixture
    def log_evidence(self):
        return torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).log_softmax(-1)

    def test_what_is_left_out_is_spread_evenly(self, log_evidence):
        dense = TopK.of(log_evidence, 6).dense()
        torch.testing.assert_close(dense.exp().sum(-1), torch.ones(5))
        best = log_evidence.topk(6).indices
        assert torch.equal(dense.gather(1, best), log_evidence.gather(1, best))
        rest = dense.scatter(1, best, torch.nan)
        assert all(len(row[~row.isnan()].unique()) == 1 for row in rest)

    def test_keeping_all_changes_nothing(self, log_evidence):
        for k in (40, 100):
            torch.testing.assert_close(TopK.of(log_evidence, k).dense(), log_evidence)

    @pytest.mark.parametrize("num_left", [1, 2, 3])
    def test_near_the_whole_vocabulary_the_few_that_are_left_share_what_is_left(self, num_left):
        vocab_size = 12
        log_evidence = torch.randn(5, vocab_size, generator=torch.Generator().manual_seed(3)).log_softmax(-1)
        dense = TopK.of(log_evidence, vocab_size - num_left).dense()
        torch.testing.assert_close(dense.exp().sum(-1), torch.ones(5))
        left = log_evidence.exp().sort().values[:, :num_left]
        shared = dense.exp().sort().values[:, :num_left]
        torch.testing.assert_close(shared, left.mean(-1, keepdim=True).expand_as(left))


class TestCached:
    KEY: ClassVar = {"seed": 0}

    @pytest.fixture
    def make(self, live, tmp_path):
        def make(top_k=None, num_draws=2, key=self.KEY):
            return CachedEvidence(live, tmp_path / "cache", num_draws, key, batch_size=5, top_k=top_k)

        return make

    def test_it_is_the_live_evidence_in_half_precision(self, make, live):
        cached, rows = make(), [4, 11, 0]
        for draw in (0, 1, 3):
            found, wanted = cached.batch(rows, draw), live.batch(rows, draw % 2)
            assert torch.equal(found.tokens, wanted.tokens)
            assert torch.equal(found.masked, wanted.masked)
            torch.testing.assert_close(found.log_evidence, wanted.log_evidence, rtol=1e-3, atol=1e-3)

    def test_top_k_is_kept_sparse(self, make, live, tmp_path):
        found = make(top_k=7).batch([2, 9], 1).log_evidence
        wanted = TopK.of(live.batch([2, 9], 1).log_evidence, 7).dense()
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        num_masked = sum(int(live.windows(range(18), draw)[1].sum()) for draw in (0, 1))
        size = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.safetensors"))
        assert size < num_masked * (7 * 6 + 4) + 2000

    def test_shards_that_are_there_are_not_made_again(self, make, live, monkeypatch):
        first = make().batch([1], 0).log_evidence
        monkeypatch.setattr(live, "log_evidence", None)
        assert torch.equal(make().batch([1], 0).log_evidence, first)

    @pytest.mark.parametrize(
        ("changes", "said"), [({"key": {"seed": 1}}, "seed=0, not 1"), ({"top_k": 3}, "top_k=None")]
    )
    def test_other_evidence_is_refused(self, make, changes, said):
        make()
        with pytest.raises(ValueError, match=said):
            make(**changes)
