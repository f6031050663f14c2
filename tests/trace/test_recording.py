import pytest

from lm_eval_codd.decoding import generate
from lm_eval_codd.trace import record

PROMPT = [3, 1, 4, 1, 5]


@pytest.fixture(params=["llada", "dream"])
def family(request):
    return request.param


@pytest.fixture(params=["latent", "any_order", "marginal"])
def lm(request, make_lm, family):
    return make_lm(family, pc_sampling=request.param)


class TestRecord:
    def test_watching_changes_no_answer(self, lm):
        for circuit in (None, lm.circuit):
            assert (
                record(lm.backbone, PROMPT, lm.config, circuit).generation
                == (generate(lm.backbone, [PROMPT], lm.config, circuit)[0])
            )

    def test_a_frame_follows_from_the_one_before_and_what_was_committed(self, lm):
        trace = record(lm.backbone, PROMPT, lm.config, lm.circuit)
        canvas = [lm.backbone.mask_id] * lm.config.gen_length
        for frame in trace.frames:
            for one in frame.committed:
                canvas[one.column] = one.token
            assert list(frame.canvas) == canvas
        until_the_end = slice(trace.generation.num_answer_tokens)
        assert canvas[until_the_end] == trace.generation.tokens[until_the_end]

    def test_the_counts_add_up(self, lm):
        trace = record(lm.backbone, PROMPT, lm.config, lm.circuit)
        assert len(trace.frames) == trace.generation.num_forward
        assert sum(frame.num_circuit for frame in trace.frames) == trace.generation.num_circuit > 0


class TestTheBackboneAlone:
    def test_is_what_a_decode_without_the_circuit_does_on_the_same_canvas(self, make_lm, family):
        lm = make_lm(family, pc_frac=2.0, paradigm="block", temperature=1.0, top_p=None, top_k=None)
        coupled, alone = (record(lm.backbone, PROMPT, lm.config, circuit) for circuit in (lm.circuit, None))
        first, expected = coupled.frames[0], alone.frames[0]
        assert first.num_circuit == 1
        assert [
            (one.column, one.alone_token, one.alone_confidence, one.alone_committed) for one in first.candidates
        ] == [(one.column, one.token, one.confidence, one.committed) for one in expected.candidates]
        assert any(one.confidence != one.alone_confidence for one in first.candidates)

    def test_differs_only_where_the_circuit_acted(self, make_lm):
        lm = make_lm()
        frames = record(lm.backbone, PROMPT, lm.config, lm.circuit).frames
        for frame in frames:
            assert frame.num_circuit or not any(one.changed or one.promoted for one in frame.candidates)
        for what in ("changed", "promoted"):
            assert any(getattr(one, what) for frame in frames for one in frame.candidates)

    def test_is_all_there_is_without_a_circuit(self, make_lm):
        lm = make_lm()
        frames = record(lm.backbone, PROMPT, lm.config).frames
        assert not any(one.changed or one.promoted for frame in frames for one in frame.candidates)

    def test_is_decided_only_when_it_is_asked_for(self, make_lm):
        lm, events = make_lm(), []
        generate(lm.backbone, [PROMPT], lm.config, lm.circuit, events.append)
        assert {event.alone for event in events} == {None}
