"""Many targets at once: batches, order, and what is refused."""

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.likelihood import stream, validation_loss
from tests.likelihood.conftest import pairs_of

SETTINGS = [
    {},
    {"ladder": "official", "num_samples": 32},
    {"target_stderr": 0.5, "num_samples": 64},
    {"estimator": "mc_bernoulli"},
    {"estimator": "chain", "order": "confident", "is_greedy": True},
    {"estimator": "exact", "cfg_scale": 1.5},
]


class TestATargetIsAlone:
    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    @pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny"])
    def test_batches_of_one_and_seven_and_its_mates_change_nothing(self, load, name, settings):
        generator = torch.Generator().manual_seed(1)
        draw = lambda length: torch.randint(0, 400, (length,), generator=generator).tolist()  # noqa: E731
        pairs = [(draw(prompt), draw(target)) for prompt, target in [(0, 3), (7, 1), (7, 5), (3, 5), (12, 2)]]
        pairs.append((pairs[2][0], draw(5)))
        config = codd.LikelihoodConfig(**{"num_samples": 16, **settings} if _draws(settings) else settings)
        alone = [codd.log_likelihood(load(name), [pair], config, batch_size=1)[0] for pair in pairs]
        for batch_size in (1, 7, 64):
            together = codd.log_likelihood(load(name), pairs, config, batch_size=batch_size)
            for one, other in zip(alone, together, strict=True):
                assert other.value == pytest.approx(one.value, abs=2e-3)
                assert other.stderr == (None if one.stderr is None else pytest.approx(one.stderr, abs=2e-3))
                assert (other.num_forward, other.is_greedy) == (one.num_forward, one.is_greedy)

    def test_what_targets_of_one_prompt_share_is_seen_once(self, make_tiny):
        model = make_tiny()
        choices = [([1, 2, 3], [token]) for token in range(5)]
        likelihoods = codd.log_likelihood(model, choices, codd.LikelihoodConfig(), batch_size=1)
        assert model.num_rows == 1
        assert [one.num_forward for one in likelihoods] == [1] * 5
        expected = model.log_p([1, 2, 3], [5])[0]
        assert [one.value for one in likelihoods] == pytest.approx(expected[:5].tolist(), abs=1e-5)

    def test_values_come_as_they_are_done_longest_first(self, tiny):
        pairs = pairs_of(9, (1, 4, 6))
        done = [one.index for one in stream(tiny, pairs, codd.LikelihoodConfig(num_samples=4), batch_size=2)]
        assert sorted(done) == list(range(9))
        lengths = [len(pairs[index][0]) + len(pairs[index][1]) for index in done]
        assert lengths[0] == max(lengths) and lengths[-1] == min(lengths)

    def test_no_pairs_have_no_likelihoods(self, tiny):
        assert codd.log_likelihood(tiny, [], codd.LikelihoodConfig()) == []


class TestMasksInTargets:
    def test_are_counted_and_said_once(self, tiny, harness_log):
        mask = tiny.mask_id
        pairs = [([1], [2, mask]), ([mask], [2]), ([1], [2, 3]), ([1], (mask,))]
        codd.log_likelihood(tiny, pairs, codd.LikelihoodConfig(num_samples=4))
        (line,) = harness_log.messages
        assert line.startswith(f"2 targets hold the mask token (id {mask}), which is noise to this model")

    def test_so_are_texts_of_a_validation_loss(self, tiny, harness_log):
        validation_loss(tiny, torch.tensor([[1, 2], [tiny.mask_id, 2]]))
        (line,) = harness_log.messages
        assert line.startswith(f"1 targets hold the mask token (id {tiny.mask_id})")

    def test_nothing_is_said_where_there_are_none(self, tiny, harness_log):
        codd.log_likelihood(tiny, [([tiny.mask_id], [2])], codd.LikelihoodConfig(num_samples=4))
        assert not harness_log.messages


def _draws(settings):
    return settings.get("estimator", "mc").startswith("mc") and "num_samples" not in settings


class TestGuidance:
    def test_the_prompt_is_masked_in_the_other_half(self, tiny):
        prompt, target = [1, 0, 2], [3]
        with_prompt, without = (tiny.logits(torch.tensor([row]))[0, 3] for row in ([1, 0, 2, 5], [5, 5, 5, 5]))
        expected = (without + 3.0 * (with_prompt - without)).log_softmax(-1)[3]
        (guided,) = codd.log_likelihood(tiny, [(prompt, target)], codd.LikelihoodConfig(cfg_scale=2.0))
        assert guided.value == pytest.approx(float(expected), abs=1e-4)


class TestRefused:
    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ([([1], [2]), ([1], [])], r"the target of `pairs\[1\]` is empty"),
            ([([1], [6])], r"`pairs\[0\]` holds a token id outside the vocabulary of 6 tokens"),
        ],
    )
    def test_pairs_that_cannot_be(self, tiny, pairs, message):
        with pytest.raises(ValueError, match=message):
            codd.log_likelihood(tiny, pairs, codd.LikelihoodConfig())

    @pytest.mark.parametrize("attention", ["block", "full"])
    def test_a_block_causal_family_with_its_own_attention_or_the_full_one(self, golden_dir, attention):
        folder, ids = golden_dir / "families" / "llada2", {"mask_id": 111, "eos_id": 5}
        backbone = codd.load_backbone(folder, attention=attention, device="cpu", **ids)
        with pytest.raises(ValueError, match="log-likelihoods of llada2 checkpoints, which are block-causal"):
            codd.log_likelihood(backbone, [([1], [2])], codd.LikelihoodConfig())

    def test_a_target_longer_than_the_model(self, load):
        backbone = load("llada-tiny")
        longest = backbone.max_length
        with pytest.raises(ValueError, match=f"a target of {longest + 1} tokens after a prompt of 0 exceeds"):
            codd.log_likelihood(backbone, [([], [1] * (longest + 1))], codd.LikelihoodConfig())

    @pytest.mark.parametrize(
        ("pairs", "config", "message"),
        [
            ([("a", "b")], codd.LikelihoodConfig(), r"`pairs\[0\]` is not a pair of lists"),
            ([1, 2], codd.LikelihoodConfig(), r"`pairs\[0\]` is not a pair of lists"),
            ([], codd.DecodingConfig(), "`config` is a DecodingConfig; give a LikelihoodConfig"),
        ],
    )
    def test_other_kinds(self, tiny, pairs, config, message):
        with pytest.raises(TypeError, match=message):
            codd.log_likelihood(tiny, pairs, config)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"estimator": "mcmc"}, "`estimator=mcmc` is not known; use one of mc, mc_bernoulli, chain, exact"),
            ({"ladder": "official", "num_samples": 20}, "not made of whole ladders of `ladder_size=16`"),
            ({"estimator": "chain", "num_samples": 4}, "`num_samples=4` is read by estimator=mc or mc_bernoulli"),
            ({"order": "confident"}, "`order=confident` is read by estimator=chain"),
            ({"target_stderr": 0}, "`target_stderr=0` is out of range; it must be above 0"),
            ({"mc_number": 3}, "unknown setting `mc_number`"),
        ],
    )
    def test_settings_that_cannot_be(self, settings, message):
        with pytest.raises(ValueError, match=message):
            codd.LikelihoodConfig(**settings)
