"""Continuous batching: rows join and leave while others are under way."""

import pytest

import lm_eval_codd as codd
from lm_eval_codd.decoding import stream
from tests.decoding.test_loop import PROMPTS, SMALL

PARADIGMS = pytest.mark.parametrize(
    "settings",
    [{}, {"paradigm": "full"}, {"paradigm": "full", "alg": "random"}, {"temperature": 0.8, "alg": "entropy"}],
    ids=str,
)


def an_end(backbone, config):
    """A token that ends some answers early and some late or never."""
    answers = [codd.generate(backbone, [prompt], config)[0].tokens for prompt in PROMPTS]
    return max(
        {token for answer in answers for token in answer}, key=lambda t: len({a.index(t) for a in answers if t in a})
    )


class TestRefill:
    @PARADIGMS
    def test_the_batch_size_changes_no_answer(self, backbone, settings):
        end = an_end(backbone, codd.DecodingConfig(stop_at_eos=False, **SMALL, **settings))
        config = codd.DecodingConfig(eos_id=end, **SMALL, **settings)
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert len({answer.num_forward for answer in alone}) > 1
        for batch_size in (1, 2, 3, 6):
            assert codd.generate(backbone, PROMPTS, config, batch_size=batch_size) == alone, batch_size

    def test_the_batch_stays_full_while_prompts_wait(self, backbone):
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL)
        end = an_end(backbone, config)
        rows = []
        config = codd.DecodingConfig(eos_id=end, **SMALL)
        codd.generate(backbone, PROMPTS, config, on_step=lambda event: rows.append(event.rows.tolist()), batch_size=3)
        last = next(step for step, now in enumerate(rows) if set().union(*rows[: step + 1]) == set(range(len(PROMPTS))))
        assert {len(now) for now in rows[:last]} == {3}
        cost = [answer.num_forward for answer in codd.generate(backbone, PROMPTS, config)]
        order = sorted(range(len(PROMPTS)), key=lambda row: -len(PROMPTS[row]))
        assert len(rows) < sum(max(cost[row] for row in order[start : start + 3]) for start in range(0, 7, 3))

    def test_longer_prompts_come_first(self, backbone):
        rows = []
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL)
        codd.generate(backbone, PROMPTS, config, on_step=lambda event: rows.append(event.rows.tolist()), batch_size=2)
        seen = list(dict.fromkeys(row for now in rows for row in now))
        assert seen == sorted(range(len(PROMPTS)), key=lambda row: -len(PROMPTS[row]))

    def test_the_canvas_is_no_wider_than_its_longest_row(self, backbone):
        shapes = []

        class Spy:
            def __getattr__(self, name):
                return getattr(backbone, name)

            def logits(self, tokens, attention_mask=None, positions=None):
                shapes.append((tuple(tokens.shape), attention_mask is None))
                return backbone.logits(tokens, attention_mask, positions)

        config = codd.DecodingConfig(stop_at_eos=False, **SMALL)
        codd.generate(Spy(), [[5] * 9, [6] * 4, [7] * 4, [8] * 2], config, batch_size=2)
        steps = config.num_steps
        assert shapes == [((2, 41), False)] * steps + [((2, 36), False)] * steps


class TestStream:
    def test_answers_come_as_they_are_done(self, backbone):
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL)
        config = codd.DecodingConfig(eos_id=an_end(backbone, config), **SMALL)
        whole = codd.generate(backbone, PROMPTS, config)
        finished = list(stream(backbone, PROMPTS, config))
        assert sorted(one.index for one in finished) == list(range(len(PROMPTS)))
        assert [one.generation for one in finished] == [whole[one.index] for one in finished]
        order = [one.generation.num_forward for one in finished]
        assert order == sorted(order)

    def test_the_rows_share_the_time(self, backbone):
        finished = list(stream(backbone, PROMPTS, codd.DecodingConfig(stop_at_eos=False, **SMALL)))
        assert len({round(one.seconds, 9) for one in finished}) == 1
        assert all(one.seconds > 0 for one in finished)

    def test_what_the_caller_does_with_an_answer_is_not_counted(self, backbone, monkeypatch):
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL)
        now = 0.0
        monkeypatch.setattr("lm_eval_codd.decoding.loop.time.perf_counter", lambda: now)

        def a_step_takes_a_second(event):
            nonlocal now
            now += 1.0

        seconds = []
        for one in stream(backbone, PROMPTS[:3], config, on_step=a_step_takes_a_second, batch_size=2):
            seconds.append(one.seconds)
            now += 100.0
        assert seconds == [4.0, 4.0, 8.0]
