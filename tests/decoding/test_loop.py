"""Properties of the loop that hold for every family, rule and paradigm."""

import copy
import itertools

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.settings import ALGS

PROMPTS = [[11, 12, 13], [7] * 9, [200, 3, 45, 6, 99], [1], [42, 43], [300, 301, 302, 303], [8, 9, 10, 11, 12, 13]]
SMALL = {"gen_length": 32, "block_length": 8, "num_steps": 8}


class TestARowIsAlone:
    @pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9, "top_k": 20}], ids=["greedy", "drawn"])
    @pytest.mark.parametrize(("alg", "paradigm"), list(itertools.product(ALGS, ["block", "full"])))
    def test_batches_of_1_and_of_7_decode_alike(self, backbone, alg, paradigm, sampling):
        config = codd.DecodingConfig(alg=alg, paradigm=paradigm, **SMALL, **sampling)
        together = codd.generate(backbone, PROMPTS, config)
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert together == alone

    @pytest.mark.parametrize("extra", [{"cfg_scale": 1.0}, {"alg_temp": 0.3}], ids=str)
    def test_so_they_do_with_guidance_and_a_rule_temperature(self, backbone, extra):
        config = codd.DecodingConfig(**SMALL, **extra)
        assert codd.generate(backbone, PROMPTS, config) == [
            codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS
        ]

    def test_order_does_not_matter(self, backbone):
        config = codd.DecodingConfig(alg="random", temperature=1.0, **SMALL)
        assert codd.generate(backbone, PROMPTS[::-1], config) == codd.generate(backbone, PROMPTS, config)[::-1]


class TestSeeds:
    def test_equal_prompts_decode_alike_and_repeats_differ(self, backbone):
        config = codd.DecodingConfig(temperature=1.0, **SMALL)
        same = codd.generate(backbone, [PROMPTS[0]] * 2, config)
        repeated = codd.generate(backbone, [PROMPTS[0]] * 2, config, repeats=[0, 1])
        assert same[0] == same[1] == repeated[0]
        assert repeated[1] != repeated[0]

    def test_the_seed_matters_only_where_something_is_drawn(self, backbone):
        def decode(**settings):
            return codd.generate(backbone, PROMPTS[:2], codd.DecodingConfig(**SMALL, **settings))

        assert decode(seed=1) == decode(seed=2)
        assert decode(seed=1, temperature=1.0) != decode(seed=2, temperature=1.0)
        assert decode(seed=1, alg="random") != decode(seed=2, alg="random")


class TestTheEndOfAnAnswer:
    def full_answer(self, backbone, **settings):
        return codd.generate(backbone, PROMPTS[:1], codd.DecodingConfig(stop_at_eos=False, **SMALL, **settings))[
            0
        ].tokens

    @pytest.mark.parametrize("paradigm", ["block", "full"])
    def test_what_follows_the_first_end_token_is_eos_and_what_precedes_is_untouched(self, backbone, paradigm):
        whole = self.full_answer(backbone, paradigm=paradigm)
        end = whole[5]
        first = whole.index(end)
        config = codd.DecodingConfig(eos_id=end, paradigm=paradigm, **SMALL)
        output = codd.generate(backbone, PROMPTS[:1], config)[0]
        assert output.tokens == whole[:first] + [end] * (32 - first)
        assert output.num_answer_tokens == first

    def test_either_end_token_ends_it(self, backbone):
        whole = self.full_answer(backbone)
        first = whole.index(whole[5])
        config = codd.DecodingConfig(eos_id=backbone.mask_id - 1, eot_id=whole[5], **SMALL)
        output = codd.generate(backbone, PROMPTS[:1], config)[0]
        assert output.tokens == [*whole[: first + 1], *[backbone.mask_id - 1] * (31 - first)]

    def test_a_settled_row_stops_and_costs_no_more_forwards(self, backbone):
        whole = self.full_answer(backbone)
        config = codd.DecodingConfig(eos_id=whole[0], **SMALL)
        assert codd.generate(backbone, PROMPTS[:1], config)[0].num_forward <= 2
        assert codd.generate(backbone, PROMPTS[:1], codd.DecodingConfig(**SMALL))[0].num_forward == 8

    def test_without_an_end_token_the_answer_is_the_whole_canvas(self, backbone):
        output = codd.generate(backbone, PROMPTS[:1], codd.DecodingConfig(eos_id=backbone.mask_id - 1, **SMALL))[0]
        assert output.num_answer_tokens == len(output.tokens) == 32

    def test_logits_eos_inf_never_lets_eos_out(self, backbone):
        eos = self.full_answer(backbone)[0]
        config = codd.DecodingConfig(eos_id=eos, logits_eos_inf=True, **SMALL)
        assert eos not in codd.generate(backbone, PROMPTS[:1], config)[0].tokens

    def test_confidence_eos_eot_inf_commits_end_tokens_last(self, backbone):
        settings = {"stop_at_eos": False, "gen_length": 16, "block_length": 16, "num_steps": 16}

        def decode(**extra):
            events = []
            config = codd.DecodingConfig(**settings, **extra)
            codd.generate(backbone, PROMPTS[2:3], config, on_step=events.append)
            return events

        eos = next(int(step.tokens[step.commit]) for step in decode() if step.tokens.unique().numel() > 1)
        steps = decode(eos_id=eos, confidence_eos_eot_inf=True)
        assert any(eos in step.tokens[~step.commit] for step in steps)
        for step in steps:
            assert (step.confidence[step.tokens == eos] == 0).all()
            if eos in step.tokens[step.commit]:
                assert (step.tokens == eos).all()


class TestCounts:
    def test_a_step_commits_its_share(self, backbone):
        for settings, shares in (
            ({"num_steps": 12}, [3, 3, 2] * 4),
            ({"num_steps": 8, "paradigm": "full"}, [3, 4, 4, 4, 4, 4, 4, 5]),
        ):
            events = []
            config = codd.DecodingConfig(**SMALL | settings, stop_at_eos=False)
            codd.generate(backbone, PROMPTS[:2], config, on_step=events.append)
            assert [event.commit.sum(1).tolist() for event in events] == [[share] * 2 for share in shares]

    def test_blocks_are_decoded_left_to_right(self, backbone):
        events = []
        config = codd.DecodingConfig(**SMALL, stop_at_eos=False)
        codd.generate(backbone, PROMPTS[:1], config, on_step=events.append)
        blocks = [set((event.columns[event.commit] // 8).tolist()) for event in events]
        assert blocks == [{0}, {0}, {1}, {1}, {2}, {2}, {3}, {3}]

    def test_more_steps_than_tokens_cost_no_empty_forwards(self, backbone):
        config = codd.DecodingConfig(gen_length=8, block_length=8, num_steps=64, stop_at_eos=False)
        assert codd.generate(backbone, PROMPTS[:1], config)[0].num_forward == 8

    def test_logits_are_asked_only_where_something_can_be_committed(self, backbone):
        asked = []

        class Spy:
            def __getattr__(self, name):
                return getattr(backbone, name)

            def logits(self, tokens, attention_mask=None, positions=None):
                asked.append(positions)
                return backbone.logits(tokens, attention_mask, positions)

        codd.generate(Spy(), PROMPTS[:1], codd.DecodingConfig(**SMALL, stop_at_eos=False))
        assert [positions.shape[1] for positions in asked] == [8, 4] * 4

    def test_random_in_full_draws_every_mask_by_itself_and_ends_complete(self, backbone):
        config = codd.DecodingConfig(alg="random", paradigm="full", gen_length=64, num_steps=64, stop_at_eos=False)
        outputs = codd.generate(backbone, PROMPTS, config)
        assert all(backbone.mask_id not in output.tokens for output in outputs)
        assert len({output.num_forward for output in outputs}) > 1


class TestLogitsOfOnesOwn:
    """Whoever writes over a backbone's `logits` decodes from those."""

    def otherwise(self, backbone):
        def logits(tokens, attention_mask=None, positions=None):
            return backbone.logits(tokens, attention_mask, positions).roll(1, dims=-1)

        return logits

    def check(self, changed, backbone):
        config = codd.DecodingConfig(num_steps=1, gen_length=8, block_length=8, stop_at_eos=False)
        (usual,), (other,) = (codd.generate(each, PROMPTS[:1], config) for each in (backbone, changed))
        assert other.tokens == [(token + 1) % backbone.vocab_size for token in usual.tokens]
        with pytest.raises(ValueError, match="does not, or has `logits` of its own"):
            codd.generate(changed, PROMPTS[:1], codd.DecodingConfig(cache="dual", **SMALL))

    def test_in_a_subclass(self, backbone):
        class Changed(type(backbone)):
            def __init__(self):
                self.__dict__.update(vars(backbone))

            logits = staticmethod(self.otherwise(backbone))

        self.check(Changed(), backbone)

    def test_on_the_instance(self, backbone):
        changed = copy.copy(backbone)
        changed.logits = self.otherwise(backbone)
        self.check(changed, backbone)


class TestRefusals:
    def test_too_long_for_the_model(self, backbone):
        with pytest.raises(ValueError, match=r"`gen_length=8192` after a prompt of 3 tokens exceeds"):
            codd.generate(backbone, PROMPTS[:1], codd.DecodingConfig(gen_length=8192))

    def test_an_id_outside_the_vocabulary(self, backbone):
        with pytest.raises(ValueError, match=r"`eos_id=99999` is outside the vocabulary"):
            codd.generate(backbone, PROMPTS[:1], codd.DecodingConfig(eos_id=99999, **SMALL))
        with pytest.raises(ValueError, match="is outside the vocabulary of"):
            codd.generate(backbone, [[5, 99999]], codd.DecodingConfig(**SMALL))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"repeats": [0]}, "`repeats` has 1 numbers for 2 prompts"),
            ({"repeats": [0, 0, 1]}, "`repeats` has 3 numbers for 2 prompts"),
            ({"batch_size": 0}, "`batch_size=0` must be at least 1"),
            ({"batch_size": -1}, "`batch_size=-1` must be at least 1"),
        ],
        ids=str,
    )
    def test_rows_that_cannot_be(self, backbone, given, message):
        with pytest.raises(ValueError, match=message):
            codd.generate(backbone, PROMPTS[:2], codd.DecodingConfig(**SMALL), **given)

    def test_no_prompts_no_answers(self, backbone):
        assert codd.generate(backbone, [], codd.DecodingConfig()) == []

    def test_gradients_are_never_recorded(self, backbone):
        events = []
        codd.generate(backbone, PROMPTS[:1], codd.DecodingConfig(**SMALL), on_step=events.append)
        assert not any(event.confidence.requires_grad for event in events)
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["eos_id", "eot_id"])
def test_an_end_token_that_is_the_mask_is_refused(backbone, name):
    config = codd.DecodingConfig(**SMALL, **{name: backbone.mask_id})
    with pytest.raises(ValueError, match=f"`{name}={backbone.mask_id}` is the mask token too"):
        codd.generate(backbone, PROMPTS[:1], config)
