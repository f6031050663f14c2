"""The decoder of CONTRIBUTING.md is added as it says, decodes, and is what drafts and traces are tested with."""

import dataclasses
import re
import sys
import types
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.models.journal import Keys
from lm_eval_codd.settings import DECODERS, DecoderFacts
from lm_eval_codd.trace import record
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_loop import PROMPTS
from tests.device_waits import Operations

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
SETTINGS = {"decoder": "second_thoughts", "gen_length": 16, "num_steps": 5, "stop_at_eos": False}
DRAFTS = [[20 + index] * (3 + 2 * index) for index in range(len(PROMPTS))]


@pytest.fixture(autouse=True)
def second_thoughts(monkeypatch):
    """The guide's decoder, registered by the guide's own lines."""
    text = GUIDE.read_text(encoding="utf-8")
    section = re.search(r"## Add a decoder\n.*?(?=\n## |\Z)", text, re.DOTALL).group()
    source, line = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert source.count("\n") < 35
    module = types.ModuleType("lm_eval_codd.decoding.decoders.second_thoughts")
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(DECODERS, "second_thoughts", None)
    exec(line, {"DECODERS": DECODERS, "DecoderFacts": DecoderFacts})
    return module.SecondThoughts


def masked(backbone, drafts):
    return [[backbone.mask_id if place % 3 == 1 else token for place, token in enumerate(row)] for row in drafts]


class TestAnswers:
    def test_every_position_is_decided_and_batches_of_1_and_of_7_decode_alike(self, backbone):
        config = codd.DecodingConfig(**SETTINGS)
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config) == alone
        assert codd.generate(backbone, PROMPTS, config, batch_size=3) == alone
        assert all(backbone.mask_id not in one.tokens and one.num_forward == 5 for one in alone)

    def test_its_state_travels_with_rows_that_join_and_leave(self, backbone, monkeypatch, second_thoughts):
        kept = {}

        class Recorded(second_thoughts):
            def decide(self, canvas, step, logits):
                decision = super().decide(canvas, step, logits)
                for place, index in enumerate(canvas.indices):
                    counts = decision.state["kept"][place, : canvas.answer_lengths[place]].tolist()
                    kept.setdefault(index, []).append(counts)
                return decision

        monkeypatch.setattr(sys.modules[second_thoughts.__module__], "SecondThoughts", Recorded, raising=False)
        monkeypatch.setattr(sys.modules[DECODERS["second_thoughts"].target.split(":")[0]], "SecondThoughts", Recorded)
        config = codd.DecodingConfig(**SETTINGS)
        codd.generate(backbone, PROMPTS, config, batch_size=2, drafts=DRAFTS)
        together = dict(kept)
        kept.clear()
        for index, (prompt, draft) in enumerate(zip(PROMPTS, DRAFTS, strict=True)):
            codd.generate(backbone, [prompt], config, drafts=[draft])
            assert kept.pop(0) == together[index]

    def test_a_circuit_is_not_ignored(self, backbone):
        circuit = random_circuit(backbone.vocab_size, 8, 3)
        with pytest.raises(ValueError, match="a circuit does not go with `decoder=second_thoughts`; leave out one"):
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(**SETTINGS), circuit)

    def test_it_waits_for_nothing(self, backbone):
        with Operations() as operations:
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(**SETTINGS), drafts=DRAFTS, batch_size=3)
        assert operations.num_waits == 0

    def test_a_cache_would_keep_what_it_takes_back(self, backbone, monkeypatch):
        wrong = dataclasses.replace(DECODERS["second_thoughts"], shared=("num_steps", "cache"), revises=False)
        monkeypatch.setitem(DECODERS, "second_thoughts", wrong)
        with pytest.raises(ValueError, match="`cache=dual` would keep what `decoder=second_thoughts` takes back"):
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(cache="dual", **SETTINGS))


class TestDrafts:
    def test_each_has_its_own_length_and_depends_on_nothing_else(self, backbone):
        config = codd.DecodingConfig(**SETTINGS)
        drafts = masked(backbone, DRAFTS)
        together = codd.generate(backbone, PROMPTS, config, drafts=drafts, batch_size=4)
        assert [len(one.tokens) for one in together] == [len(draft) for draft in drafts]
        assert [one.num_answer_tokens for one in together] == [len(draft) for draft in drafts]
        for one, prompt, draft in zip(together, PROMPTS, drafts, strict=True):
            assert codd.generate(backbone, [prompt], config, drafts=[draft]) == [one]
        longer = dataclasses.replace(config, gen_length=999)
        assert codd.generate(backbone, PROMPTS, longer, drafts=drafts) == together

    def test_prompts_may_be_empty_and_drafts_too(self, backbone):
        config = codd.DecodingConfig(**SETTINGS)
        outputs = codd.generate(backbone, [[], [5, 6], []], config, drafts=[[7, 8, 9], [], [3] * 5])
        assert [len(one.tokens) for one in outputs] == [3, 0, 5]
        assert [one.num_forward for one in outputs] == [5, 0, 5]
        assert codd.generate(backbone, [[]], config, drafts=[[3] * 5]) == outputs[2:]
        assert codd.generate(backbone, [[1]], config, drafts=[[]])[0].tokens == []

    def test_a_mask_in_place_of_every_token_is_what_no_draft_is(self, backbone):
        config = codd.DecodingConfig(**SETTINGS)
        drafts = [[backbone.mask_id] * 16] * len(PROMPTS)
        assert codd.generate(backbone, PROMPTS, config, drafts=drafts) == codd.generate(backbone, PROMPTS, config)

    @pytest.mark.parametrize("stop_at_eos", [False, True])
    def test_fixed_positions_never_change_and_stay_masked_if_they_are(self, backbone, stop_at_eos):
        drafts = masked(backbone, DRAFTS)
        fixed = [[place % 2 == 1 for place in range(len(draft))] for draft in drafts]
        config = codd.DecodingConfig(**{**SETTINGS, "stop_at_eos": stop_at_eos, "eos_id": 22})
        outputs = codd.generate(backbone, PROMPTS, config, drafts=drafts, fixed=fixed, batch_size=3)
        changed = 0
        for output, draft, mine in zip(outputs, drafts, fixed, strict=True):
            for token, before, stays in zip(output.tokens, draft, mine, strict=True):
                assert not stays or token == before
                changed += token != before
        assert changed
        assert any(backbone.mask_id in output.tokens for output in outputs)

    def test_a_row_is_keyed_by_its_draft_and_the_journal_by_what_is_fixed_too(self):
        keys = Keys({})
        asked = [
            ([1, 2], 0, None, None),
            ([1, 2], 0, [3, 4], None),
            ([1, 2, 3], 0, [4], None),
            ([1, 2], 0, [3, 4], [True, False]),
            ([1, 2], 0, [3, 4], [False, False]),
            ([1, 2], 0, [], None),
            ([1, 2, 3, 4], 0, None, None),
        ]
        assert len({keys.of(*one) for one in asked}) == len(asked)
        from lm_eval_codd.tensors.noise import row_keys

        cpu = torch.device("cpu")
        drawn = [row_keys(0, [[1, 2]], [0], cpu, drafts=drafts).item() for drafts in (None, [[3]], [[4]], [[]])]
        assert len(set(drawn)) == 4

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"drafts": [[1]]}, "`drafts` has 1 lists for 7 prompts"),
            ({"fixed": [[True]]}, "`fixed` says which positions of `drafts` never change; give `drafts` too"),
            ({"drafts": DRAFTS, "fixed": [[True]] * 7}, "`fixed` needs a bool for each token of each draft"),
            ({"drafts": [[10**6]] * 7}, "is outside the vocabulary"),
            ({"drafts": [[1] * 10**5] * 7}, "a prompt and its draft have 100009 tokens and exceed the model's"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, backbone, given, message):
        with pytest.raises(ValueError, match=message):
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(**SETTINGS), **given)

    @pytest.mark.parametrize("decoder", ["unmasking", "cad"])
    def test_decoders_that_take_nothing_back_refuse_them(self, backbone, decoder):
        config = codd.DecodingConfig(decoder=decoder, gen_length=32)
        with pytest.raises(ValueError, match=f"`drafts` are for decoders that revise, and `decoder={decoder}`"):
            codd.generate(backbone, PROMPTS, config, drafts=DRAFTS)


class TestTraces:
    def test_an_event_knows_what_was_taken_back(self, backbone):
        events = []
        config = codd.DecodingConfig(**SETTINGS)
        codd.generate(backbone, PROMPTS[:2], config, on_step=events.append, drafts=[[5] * 4, [6] * 9])
        before = torch.tensor([[5] * 4 + [backbone.mask_id] * 5, [6] * 9])[events[0].rows]
        for event in events:
            changes = torch.zeros_like(before, dtype=torch.bool).scatter(1, event.columns, event.taken_back)
            assert torch.equal(changes, (before != backbone.mask_id) & (event.answer == backbone.mask_id))
            before = event.answer
        assert sum(int(event.taken_back.sum()) for event in events)
        short = events[0].rows.tolist().index(0)
        assert (events[-1].answer[short, 4:] == backbone.mask_id).all()

    def test_frames_follow_from_what_was_committed_and_taken_back(self, backbone):
        trace = record(backbone, PROMPTS[0], codd.DecodingConfig(**SETTINGS))
        canvas = [backbone.mask_id] * 16
        for frame in trace.frames:
            for column in frame.taken_back:
                canvas[column] = backbone.mask_id
            for one in frame.committed:
                canvas[one.column] = one.token
            assert list(frame.canvas) == canvas
        assert any(frame.taken_back for frame in trace.frames)
