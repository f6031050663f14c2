"""EC-DLM's own scores of multiple choice and continuations, and its validation loss."""

import pytest
import torch

from lm_eval_codd import LikelihoodConfig, log_likelihood
from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.likelihood import validation_loss
from tests.backbones.experts.goldens import MODEL, megatron_folder, model_goldens
from tests.likelihood.conftest import pairs_of

NAMES = [case["name"] for case in MODEL["cases"]]
MASK, END = MODEL["mask"], MODEL["eod"]


@pytest.fixture(scope="module")
def golden():
    return model_goldens()


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder, loaded = tmp_path_factory.mktemp("one-forward"), {}

    def _load(name):
        if name not in loaded:
            loaded[name] = load_backbone(megatron_folder(folder / name, name), device="cpu")
        return loaded[name]

    return _load


def as_trained(name, **settings):
    """One forward, with the router of the model."""
    return LikelihoodConfig(estimator="one_forward", router="tc" if name.startswith("tc") else "ec", **settings)


class TestGoldens:
    @pytest.mark.parametrize("name", NAMES)
    def test_letters_at_one_mask(self, load, golden, name):
        backbone, rows = load(name), golden["mcq_input_ids"]
        choices = MODEL["answer_token_ids"][:4]
        config = as_trained(name, pad_to=rows.shape[1])
        for row, expected in zip(rows, golden[f"{name}.mcq_choice_logits"], strict=True):
            place = row.tolist().index(MASK)
            assert set(row[place + 1 :].tolist()) <= {END}
            scores = log_likelihood(backbone, [(row[:place].tolist(), [choice]) for choice in choices], config)
            got = torch.tensor([score.value for score in scores])
            torch.testing.assert_close(got - got[0], expected - expected[0], atol=1e-4, rtol=0)
            assert [score.num_forward for score in scores] == [1] * 4

    @pytest.mark.parametrize("name", NAMES)
    def test_continuations(self, load, golden, name):
        pairs = []
        for row, labels in zip(golden["hellaswag_input_ids"], golden["hellaswag_labels"], strict=True):
            places = (row == MASK).nonzero()[:, 0]
            pairs.append((row[: places[0]].tolist(), labels[places].tolist()))
        config = as_trained(name, pad_to=golden["hellaswag_input_ids"].shape[1])
        got = torch.tensor([score.value for score in log_likelihood(load(name), pairs, config)])
        torch.testing.assert_close(got, golden[f"{name}.hellaswag_sum"], atol=1e-4, rtol=0)

    @pytest.mark.parametrize("name", NAMES)
    def test_validation_loss(self, load, golden, name):
        masked, share, loss = validation_loss(load(name), golden["clean"][:, 1:])
        assert torch.equal(masked, golden[f"{name}.val_mask"])
        assert torch.equal(share, golden[f"{name}.val_p_mask"])
        torch.testing.assert_close(loss, golden[f"{name}.val_loss"], atol=1e-4, rtol=0)


class TestOneForward:
    def test_of_one_token_is_its_log_probability_and_of_several_their_sum(self, tiny):
        for pair in pairs_of(6, (1, 2, 4)):
            prompt, target = pair
            log_p = tiny.log_p(prompt, [tiny.mask_id] * len(target))
            (got,) = log_likelihood(tiny, [pair], LikelihoodConfig(estimator="one_forward"))
            assert got.value == pytest.approx(sum(float(log_p[i, token]) for i, token in enumerate(target)), abs=1e-5)
            assert (got.stderr, got.num_forward) == (0.0, 1)

    def test_padding_that_is_seen_changes_it(self, load):
        pair = [([1, 2, 3], [4, 5])]
        plain, padded = (
            log_likelihood(load("ec_static_k3"), pair, as_trained("ec", pad_to=width))[0].value for width in (None, 20)
        )
        assert abs(plain - padded) > 0.01

    def test_is_not_called_a_bound(self):
        said = LikelihoodConfig(estimator="one_forward", pad_to=128).meaning(coupled=False)
        assert said.startswith("score of one forward with all of the target masked, padded with end tokens to 128")

    @pytest.mark.parametrize(
        ("pair", "pad_to", "message"),
        [
            (
                ([1] * 6, [2] * 3),
                8,
                "`pairs[0]` has 9 tokens and is longer than `pad_to=8`; use",
            ),
            (([1], [2]), 257, "`pad_to=257` exceeds the model's 256 tokens; use 256 or less"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, load, pair, pad_to, message):
        with pytest.raises(ValueError) as error:
            log_likelihood(load("ec_static_k3"), [pair], as_trained("ec", pad_to=pad_to))
        assert str(error.value).startswith(message)

    def test_another_estimator_does_not_pad(self):
        with pytest.raises(ValueError, match="`pad_to=8` is read by estimator=one_forward, not by `estimator=mc`"):
            LikelihoodConfig(pad_to=8)
