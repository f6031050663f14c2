"""WINO against its rules said plainly, a position at a time in float64; outputs of the authors' code are not here."""

import itertools

import pytest
import torch

import lm_eval_codd as codd
from tests.decoding.test_coupling import random_circuit

PROMPTS = [[3, 4, 5], [7] * 6, [8, 3, 9, 6], [1], [4, 5], [2, 2], [9, 8, 7, 6, 5]]
VOCAB, MASK, EOS = 24, 23, 22
SMALL = {"decoder": "wino", "gen_length": 24, "block_length": 8}


class Doubtful:
    """Logits that are a formula of the tokens seen and their places: sure at some places, much moved at others.

    masks: whether the mask itself is what is predicted at some places.
    """

    splits = True
    family, vocab_size, mask_id, eos_id, eot_id, device = "llada", VOCAB, MASK, EOS, None, torch.device("cpu")

    def __init__(self, masks=False):
        self.masks, self.num_calls = masks, 0

    def plain(self, text, place, block):
        """[V] float32 at a place; of a token of the block [start, end), without itself but with the block's masks."""
        seen = list(enumerate(text))
        if block is not None:
            seen = [pair for pair in seen if pair[0] != place] + [(there, MASK) for there in range(*block)]
        return self._score(seen, place)

    def _score(self, seen, place):
        """[V] float32 for a column at a place, which sees these (place, token) pairs, in any order."""
        text = sum((there + 1) * (token + 1) for there, token in seen) % 1009
        token = torch.arange(VOCAB)
        noise = ((text * 31 + place * 17 + token * 101) * 7919 % 10007).float() / 10007
        peak = ((place * 5 + text % 3) % (VOCAB - 2) == token).float()
        if self.masks and place % 4 == 0:
            peak = 2 * (token == MASK).float()
        return peak * (1.5 + place * 3 % 4) + 1.5 * (place * 7 % 5) / 5 * noise + 0.01 * noise

    def hidden_at(self, tokens, attention_mask=None, positions=None, *, places=None):
        self.num_calls += 1
        rows = []
        for row, at in enumerate(positions.tolist()):
            text, where = tokens[row].tolist(), places[row].tolist()
            scores = []
            for column in at:
                seen = attention_mask[row, 0, column].nonzero()[:, 0].tolist()
                scores.append(self._score([(where[one], text[one]) for one in seen], where[column]))
            rows.append(torch.stack(scores))
        return torch.stack(rows)

    def head(self, hidden, out=None):
        return hidden.clone()

    def logits(self, tokens, attention_mask=None, positions=None):
        raise AssertionError("the trunk is asked")

    def new_cache(self, num_slots, length):
        raise AssertionError("no cache is asked for")


def plainly(plain, prompt, *, width, sure, back, gen_length=24, draft=None, fixed=(), mask=MASK):
    """The answer, and what each step writes and takes back: a statement of the rules of its own.

    plain: from (text, place, block or None) to logits [V], as `Doubtful.plain`.
    """
    text = [*prompt, *(draft or [mask] * gen_length)]
    fixed = {len(prompt) + place for place in fixed}
    steps = []
    for start in range(len(prompt), len(text), width):
        end = min(start + width, len(text))
        still_open = {place for place in range(len(prompt), end) if text[place] == mask} - fixed
        before = 30
        while still_open:
            chance, best = {}, {}
            for place in {*still_open, *range(start, end)} - fixed:
                is_open = place in still_open
                probabilities = plain(text, place, None if is_open else (start, end)).double().softmax(dim=-1)
                best[place] = int(probabilities.argmax()) if is_open else text[place]
                chance[place] = float(probabilities[best[place]])
            most = min(max(7 * len(still_open) // 10, 5), 20)
            ranked = sorted(still_open, key=lambda place: (-chance[place], place))
            written = [place for place in ranked if chance[place] > sure][:most] or ranked[:1]
            doubted = [place for place in range(start, end) if place not in still_open | fixed and chance[place] < back]
            taken = sorted(doubted, key=lambda place: (chance[place], place))[: before - 1] if len(written) > 1 else []
            for place in written:
                text[place] = best[place]
            for place in taken:
                text[place] = mask
            still_open = still_open - {*written} | {*taken}
            before = len(written)
            steps.append((sorted(p - len(prompt) for p in written), sorted(p - len(prompt) for p in taken)))
    return text[len(prompt) :], steps


def decode(prompts, *, backbone=None, batch_size=None, drafts=None, fixed=None, **settings):
    """Outputs, and of a single prompt what each step writes and takes back."""
    steps = []

    def note(event):
        if len(prompts) > 1:
            return
        written, taken = event.commit & ~event.taken_back, event.taken_back
        steps.append((sorted(event.columns[written].tolist()), sorted(event.columns[taken].tolist())))

    config = codd.DecodingConfig(**{"stop_at_eos": False, **SMALL, **settings})
    backbone = Doubtful() if backbone is None else backbone
    outputs = codd.generate(backbone, prompts, config, on_step=note, batch_size=batch_size, drafts=drafts, fixed=fixed)
    return outputs, steps


BOUNDS = [(sure, back) for sure in (0.1, 0.3, 0.6) for back in (0.3, 0.7, 0.9, 1.1)]


class TestItIsTheRulesSaidPlainly:
    @pytest.mark.parametrize(("sure", "back"), BOUNDS)
    @pytest.mark.parametrize("width", [8, 24, 3])
    def test_each_steps_writing_and_taking_back(self, sure, back, width):
        for prompt in PROMPTS[:2]:
            (output,), steps = decode([prompt], block_length=width, threshold=sure, threshold_back=back)
            expected = plainly(Doubtful().plain, prompt, width=width, sure=sure, back=back)
            assert (output.tokens, steps) == expected
            assert output.num_forward == len(steps) <= 24

    @pytest.mark.parametrize(("sure", "back"), BOUNDS)
    def test_where_the_mask_is_predicted_it_counts_as_decided_until_the_next_block(self, sure, back):
        backbone = Doubtful(masks=True)
        (output,), steps = decode([PROMPTS[0]], backbone=backbone, threshold=sure, threshold_back=back)
        expected, steps = plainly(backbone.plain, PROMPTS[0], width=8, sure=sure, back=back)
        assert output.tokens == expected and output.num_forward == len(steps)
        assert MASK in output.tokens

    def test_the_cases_have_every_kind_of_step(self):
        kinds = {"some of the doubted": 0, "all of them": 0, "a single one": 0, "as many as may be": 0}
        for sure, back in BOUNDS:
            for width in (8, 24):
                _, steps = plainly(Doubtful().plain, PROMPTS[0], width=width, sure=sure, back=back)
                for (before, _), (written, taken) in itertools.pairwise(steps):
                    kinds["some of the doubted"] += 0 < len(taken) == len(before) - 1
                    kinds["all of them"] += 0 < len(taken) < len(before) - 1
                    kinds["a single one"] += len(written) == 1
                    kinds["as many as may be"] += len(written) in (5, 16)
        assert min(kinds.values()) > 3, kinds

    def test_long_blocks_write_20_at_most(self):
        given = {"block_length": 40, "gen_length": 40, "threshold": 0.0, "threshold_back": 0.0}
        _, steps = decode([PROMPTS[0]], **given)
        assert [len(written) for written, _ in steps] == [20, 14, 5, 1]

    def test_on_a_checkpoint_whose_own_class_computes_the_shadow(self, load):
        backbone = load("llada-tiny")
        model, mask = backbone.model, backbone.mask_id

        def plain(text, place, block):
            start, end = (0, 0) if block is None else block
            tokens = torch.tensor([[*text, *[mask] * (end - start)]])
            places = torch.tensor([[*range(len(text)), *range(start, end)]])
            seen = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
            seen[: len(text), len(text) :] = False
            for number, there in enumerate(range(start, end)):
                seen[len(text) + number, there] = False
            column = place if block is None else len(text) + place - start
            with torch.no_grad():
                hidden = model.model(tokens, attention_mask=seen[None, None], position_ids=places, use_cache=False)
                return model.lm_head(hidden.last_hidden_state)[0, column]

        for prompt in ([11, 12, 13], [200, 3, 45, 6, 99]):
            given = {"threshold": 0.03, "threshold_back": 0.05, "block_length": 12}
            (output,), _ = decode([prompt], backbone=backbone, **given)
            expected, steps = plainly(plain, prompt, width=12, sure=0.03, back=0.05, mask=mask)
            assert (output.tokens, output.num_forward) == (expected, len(steps))
            assert any(taken for _, taken in steps) and any(len(written) > 1 for written, _ in steps)


class TestDefaults:
    def test_are_those_of_the_authors_code(self):
        config = codd.DecodingConfig(decoder="wino")
        assert (config.threshold, config.threshold_back) == (0.6, 0.9)
        assert config.num_steps is None and config.steps_follow_confidence


class TestARowIsAlone:
    @pytest.mark.parametrize(
        "settings",
        [
            {"threshold": 0.3},
            {"threshold": 0.1, "threshold_back": 0.7, "block_length": 6},
            {"threshold": 0.3, "temperature": 0.8},
            {"threshold": 0.3, "stop_at_eos": True},
        ],
        ids=str,
    )
    def test_in_any_batch_and_where_rows_join_later(self, settings):
        alone = [decode([prompt], **settings)[0][0] for prompt in PROMPTS]
        for batch_size in (None, 2, 3):
            assert decode(PROMPTS, batch_size=batch_size, **settings)[0] == alone

    def test_and_deciding_a_step_twice_changes_nothing(self):
        config = codd.DecodingConfig(**SMALL, threshold=0.3, stop_at_eos=False)
        assert codd.generate(Doubtful(), PROMPTS, config, compare=True) == decode(PROMPTS, threshold=0.3)[0]

    def test_on_a_checkpoint(self, load):
        prompts = [[11, 12, 13], [7] * 9, [200, 3, 45, 6, 99], [1], [42, 43]]
        config = codd.DecodingConfig(**SMALL, threshold=0.02, threshold_back=0.05)
        backbone = load("llada-tiny")
        together = codd.generate(backbone, prompts, config, batch_size=2)
        assert together == [codd.generate(backbone, [prompt], config)[0] for prompt in prompts]
        assert any(3 < output.num_forward < 24 for output in together)


class TestDrafts:
    DRAFTS = ([5, MASK, 7, 7, MASK, 2, 9, 9, 4, 4, MASK, 1], [3] * 8, [MASK] * 5, [5, 5, 5, 5, 5, 5, 5, 5, 5, MASK])

    @pytest.mark.parametrize(("sure", "back"), BOUNDS[:6])
    def test_tokens_of_a_block_with_masks_are_verified_too(self, sure, back):
        given = {"threshold": sure, "threshold_back": back}
        outputs, _ = decode(PROMPTS[:4], drafts=self.DRAFTS, **given)
        for prompt, draft, output in zip(PROMPTS, self.DRAFTS, outputs, strict=False):
            expected, steps = plainly(Doubtful().plain, prompt, width=8, sure=sure, back=back, draft=draft)
            assert (output.tokens, output.num_forward) == (expected, len(steps))
        assert outputs[1].num_forward == 0

    def test_what_is_fixed_never_changes(self):
        prompt, draft = PROMPTS[0], self.DRAFTS[0]
        fixed = [place in (0, 1, 3) for place in range(len(draft))]
        (output,), _ = decode([prompt], drafts=[draft], fixed=[fixed], threshold=0.1, threshold_back=1.1)
        given = {"width": 8, "sure": 0.1, "back": 1.1, "draft": draft, "fixed": (0, 1, 3)}
        expected, steps = plainly(Doubtful().plain, prompt, **given)
        assert (output.tokens, output.num_forward) == (expected, len(steps))
        assert [output.tokens[place] for place in (0, 1, 3)] == [5, MASK, 7]


class TestTheEnd:
    def test_a_row_stops_once_the_block_of_its_end_token_is_full(self):
        fewer = 0
        for end in range(0, 22, 3):
            backbone = Doubtful()
            backbone.eos_id = end
            stopped, _ = decode(PROMPTS, backbone=backbone, stop_at_eos=True, threshold=0.1)
            whole, _ = decode(PROMPTS, backbone=backbone, threshold=0.1)
            for short, long in zip(stopped, whole, strict=True):
                length = short.num_answer_tokens
                assert short.tokens[: length + 1] == long.tokens[: length + 1]
                assert set(short.tokens[length:]) <= {end}
                fewer += short.num_forward < long.num_forward
        assert fewer > 10


class TestTemperature:
    def test_draws_what_is_written_and_scores_it_untempered(self):
        backbone, confidences = Doubtful(), []
        config = codd.DecodingConfig(**SMALL, temperature=1.0, threshold=0.3, stop_at_eos=False)

        def note(event):
            if event.number == 0:
                written = event.commit[0]
                confidences.extend(
                    zip(
                        *(part[0][written].tolist() for part in (event.columns, event.tokens, event.confidence)),
                        strict=True,
                    )
                )

        codd.generate(backbone, PROMPTS[:1], config, on_step=note)
        text = [*PROMPTS[0], *[MASK] * 24]
        for column, token, confidence in confidences:
            expected = backbone.plain(text, 3 + column, None).softmax(dim=-1)[token]
            assert confidence == pytest.approx(float(expected), abs=1e-6)
        assert confidences

    def test_each_seed_has_its_own_answer(self):
        answers = {tuple(decode(PROMPTS[:1], temperature=1.0, seed=seed)[0][0].tokens) for seed in range(4)}
        assert len(answers) == 4


class TestRefusals:
    def test_a_circuit(self):
        circuit = random_circuit(VOCAB, 8, 4, sharpness=1.0)
        with pytest.raises(ValueError, match="a circuit does not go with `decoder=wino`; leave out one of them"):
            codd.generate(Doubtful(), PROMPTS, codd.DecodingConfig(**SMALL), circuit=circuit)

    def test_families_that_score_a_position_one_earlier(self, load):
        message = "`decoder=wino` scores a token at its own position, and dream checkpoints"
        with pytest.raises(ValueError, match=message):
            codd.DecodingConfig.for_family("dream", **SMALL)
        with pytest.raises(ValueError, match=message):
            codd.generate(load("dream-tiny"), PROMPTS, codd.DecodingConfig(**SMALL))

    def test_a_backbone_with_logits_of_its_own(self):
        class Plain:
            family, vocab_size, mask_id, eos_id, eot_id = "llada", VOCAB, MASK, EOS, None

            def logits(self, tokens, attention_mask=None, positions=None):
                raise AssertionError("refused before")

        with pytest.raises(ValueError, match=r"`decoder=wino` needs a backbone whose .* and Plain has no `hidden_at`"):
            codd.generate(Plain(), PROMPTS, codd.DecodingConfig(**SMALL))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"threshold_back": -0.1}, "`threshold_back=-0.1` .*0 or more"),
            ({"block_length": 7}, "`gen_length=24` cannot be cut into blocks of `block_length=7`"),
            ({"num_steps": 24}, "`num_steps=24` is read by .*, not by `decoder=wino`"),
            ({"cache": "dual"}, "`cache=dual` is read by .*, not by `decoder=wino`"),
            ({"cfg_scale": 0.5}, "`cfg_scale=0.5` is read by .*, not by `decoder=wino`"),
            ({"router": "ec"}, "`router=ec` is read by .*, not by `decoder=wino`"),
            ({"top_p": 0.9}, "`top_p=0.9` is read by .*, not by `decoder=wino`"),
            ({"decoder": "cad", "threshold_back": 0.5}, "is read by decoder=wino, not by"),
        ],
    )
    def test_are_one_line(self, settings, message):
        with pytest.raises(ValueError, match=message) as caught:
            codd.DecodingConfig(**{**SMALL, **settings})
        assert "\n" not in str(caught.value)
