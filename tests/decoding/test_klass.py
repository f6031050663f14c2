"""KLASS against its rules said plainly, a position at a time in float64."""

import math

import pytest
import torch

import lm_eval_codd as codd
from tests.decoding.test_coupling import random_circuit

PROMPTS = [[3, 4, 5], [7] * 6, [8, 3, 9, 6], [1], [4, 5]]
VOCAB, MASK, EOS = 24, 23, 22
SMALL = {"decoder": "klass", "gen_length": 24, "block_length": 8, "num_steps": 24}


class Drifting:
    """Logits with a peak at each position, which the whole text moves: little at some positions, much at others."""

    vocab_size, mask_id, eos_id, eot_id = VOCAB, MASK, EOS, None

    def __init__(self, family="llada"):
        self.family, self.num_calls = family, 0

    def whole(self, tokens):
        """[L, V] float32, of one row."""
        ids = torch.tensor(tokens)
        place = torch.arange(len(ids))[:, None]
        text = int(((place[:, 0] + 1) * (ids + 1)).sum()) % 1009
        token = torch.arange(VOCAB)[None, :]
        noise = ((text * 31 + place * 17 + token * 101) * 7919 % 10007).float() / 10007
        peak = ((place * 5 + len(ids)) % (VOCAB - 2) == token).float()
        moves = (place * 7 % 5).float() / 5
        return peak * (2.0 + (place * 3 % 7)) + 1.5 * moves**2 * noise + 0.01 * noise

    def logits(self, tokens, attention_mask=None, positions=None):
        self.num_calls += 1
        rows = []
        for index, row in enumerate(tokens.tolist()):
            first = 0 if attention_mask is None else int((~attention_mask[index]).sum())
            own = self.whole(row[first:])
            rows.append(torch.cat([torch.zeros(first, VOCAB), own]))
        return torch.stack(rows)[torch.arange(len(rows))[:, None], positions]


class Hesitating(Drifting):
    """The same, but now and then the mask is the most likely token."""

    def whole(self, tokens):
        logits, place, ids = super().whole(tokens), torch.arange(len(tokens)), torch.tensor(tokens)
        masks = (place * 3 + int(((place + 1) * (ids + 1)).sum()) % 7) % 3 == 0
        logits[masks, MASK] = logits[masks].amax(dim=-1) + 0.5
        return logits


def in_the_nucleus(chances, top_p, top_k):
    """The probability of the most likely of some tokens, among those that may be drawn."""
    ordered, mass = sorted(chances, reverse=True), 0.0
    kept = []
    for chance in ordered:
        if top_p is None or mass <= top_p:
            kept.append(chance)
        mass += chance
    return kept[0] / sum(kept if top_k is None else kept[:top_k])


def plainly(
    backbone,
    prompt,
    *,
    gen_length,
    width,
    num_steps,
    sure,
    calm,
    history,
    dreams=False,
    last=None,
    top_p=None,
    top_k=None,
):
    """The answer, and what each step commits: a statement of the rules of its own.

    `last`: whether the last step of a block commits what is left; None where steps are fewer than tokens.
    """
    last = num_steps < gen_length if last is None else last
    text = [*prompt, *[MASK] * gen_length]
    old = [[0.0] * VOCAB for _ in text]
    steps = []
    moved = [[] for _ in text]
    per_block = num_steps * width // gen_length
    for start in range(len(prompt), len(text), width):
        block = range(start, start + width)
        quotas = [width // per_block + (step < width % per_block) for step in range(per_block)]
        for number in range(per_block):
            masks = [place for place in block if text[place] == MASK]
            if not masks:
                break
            new = backbone.whole(text).double().softmax(dim=-1).tolist()
            for place in range(len(text)):
                pairs = zip(new[place], old[place], strict=True)
                moved[place].append(sum(p * (math.log(p + 1e-12) - math.log(q + 1e-12)) for p, q in pairs))
            old = new
            best = {place: max(range(VOCAB), key=lambda token, p=new[place]: p[token]) for place in masks}
            chance = {place: new[place][best[place]] for place in masks}
            chosen = [
                place
                for place in masks
                if number >= history - 1
                and all(value < calm for value in moved[place][-history:])
                and (chance[place] >= sure if dreams else chance[place] > sure)
            ]
            if not chosen:
                most = 1 if dreams else quotas[number]
                score = {p: in_the_nucleus(new[p], top_p, top_k) if dreams else chance[p] for p in masks}
                chosen = sorted(masks, key=lambda place: -score[place])[:most]
            if number == per_block - 1 and last:
                chosen = masks
            for place in chosen:
                text[place] = best[place]
            steps.append(sorted(place - len(prompt) for place in chosen))
    return text[len(prompt) :], steps


def decode(prompts, *, family="llada", batch_size=None, stub=Drifting, **settings):
    """Outputs, and of a single prompt what each step commits."""
    steps = []

    def note(event):
        steps.append(sorted(event.columns[event.commit].tolist()) if len(prompts) == 1 else None)

    config = codd.DecodingConfig(**{"stop_at_eos": False, **SMALL, **settings})
    return codd.generate(stub(family), prompts, config, on_step=note, batch_size=batch_size), steps


BOUNDS = [
    {"threshold": threshold, "kl_threshold": calm, "history_length": history}
    for threshold in (0.3, 0.6, 0.9)
    for calm in (0.003, 0.03)
    for history in (1, 2, 3)
]


def bounds_of(settings):
    return {"sure": settings["threshold"], "calm": settings["kl_threshold"], "history": settings["history_length"]}


class TestItIsTheRulesSaidPlainly:
    @pytest.mark.parametrize("settings", BOUNDS, ids=str)
    @pytest.mark.parametrize(("width", "num_steps"), [(8, 24), (24, 24), (8, 12), (8, 15)])
    def test_of_llada(self, settings, width, num_steps):
        for prompt in PROMPTS[:2]:
            (output,), steps = decode([prompt], block_length=width, num_steps=num_steps, **settings)
            expected = plainly(
                Drifting(), prompt, gen_length=24, width=width, num_steps=num_steps, **bounds_of(settings)
            )
            assert (output.tokens, steps) == expected
            assert output.num_forward == len(steps)

    @pytest.mark.parametrize("settings", BOUNDS, ids=str)
    @pytest.mark.parametrize("num_steps", [24, 12])
    def test_of_dream_on_the_whole_canvas(self, settings, num_steps):
        (output,), steps = decode([PROMPTS[0]], family="dream", paradigm="full", num_steps=num_steps, **settings)
        expected = plainly(
            Drifting(), PROMPTS[0], gen_length=24, width=24, num_steps=num_steps, dreams=True, **bounds_of(settings)
        )
        assert (output.tokens, steps) == expected

    @pytest.mark.parametrize("cut", [{"top_p": 0.3}, {"top_p": 0.9}, {"top_k": 2}, {"top_p": 0.8, "top_k": 3}], ids=str)
    @pytest.mark.parametrize("settings", BOUNDS[::4], ids=str)
    def test_of_dream_goes_on_where_what_it_may_draw_is_surest(self, settings, cut):
        (output,), steps = decode([PROMPTS[0]], family="dream", paradigm="full", **settings, **cut)
        given = {"gen_length": 24, "width": 24, "num_steps": 24, "dreams": True, **bounds_of(settings)}
        assert (output.tokens, steps) == plainly(Drifting(), PROMPTS[0], **given, **cut)

    @pytest.mark.parametrize(("family", "paradigm", "width"), [("llada", "block", 8), ("dream", "full", 24)])
    def test_with_a_step_a_token_a_predicted_mask_stays(self, family, paradigm, width):
        given = {"gen_length": 24, "width": width, "num_steps": 24, "dreams": family == "dream"}
        has_masks = []
        for settings in BOUNDS[::5]:
            (output,), steps = decode(
                [PROMPTS[0]], family=family, paradigm=paradigm, block_length=width, stub=Hesitating, **settings
            )
            expected = plainly(Hesitating(), PROMPTS[0], **given, **bounds_of(settings))
            assert (output.tokens, steps) == expected
            has_masks.append(MASK in output.tokens)
        assert any(has_masks)

    def test_the_cases_have_every_kind_of_step(self):
        several, one = 0, 0
        for settings in BOUNDS:
            _, steps = decode([PROMPTS[0]], **settings)
            several += sum(len(step) > 1 for step in steps)
            one += sum(len(step) == 1 for step in steps)
        assert several > 20 and one > 20

    def test_with_fewer_steps_no_mask_is_left(self):
        settings = {"threshold": 0.3, "kl_threshold": 0.03, "history_length": 1}
        given = {"gen_length": 24, "width": 8, "num_steps": 6, **bounds_of(settings)}
        assert MASK in plainly(Drifting(), PROMPTS[0], last=False, **given)[0]
        (output,), _ = decode([PROMPTS[0]], num_steps=6, **settings)
        assert MASK not in output.tokens and output.tokens == plainly(Drifting(), PROMPTS[0], **given)[0]


class TestDefaults:
    def test_are_those_of_the_authors_code(self):
        config = codd.DecodingConfig(decoder="klass")
        assert (config.threshold, config.kl_threshold, config.history_length) == (0.9, 0.01, 2)
        assert config.num_steps == 256

    def test_dream_goes_over_the_whole_canvas(self):
        assert not codd.DecodingConfig.for_family("dream", decoder="klass").goes_by_blocks
        assert codd.DecodingConfig.for_family("llada", decoder="klass").goes_by_blocks


class TestARowIsAlone:
    @pytest.mark.parametrize(
        "settings",
        [
            {"threshold": 0.5, "kl_threshold": 0.03},
            {"threshold": 0.3, "history_length": 1, "block_length": 4},
            {"family": "dream", "paradigm": "full", "temperature": 0.7, "top_p": 0.9},
        ],
        ids=str,
    )
    def test_in_any_batch_and_where_rows_join_later(self, settings):
        alone = [decode([prompt], **settings)[0][0] for prompt in PROMPTS]
        for batch_size in (None, 2, 3):
            assert decode(PROMPTS, batch_size=batch_size, **settings)[0] == alone

    def test_and_deciding_a_step_twice_changes_nothing(self):
        settings = {**SMALL, "threshold": 0.5, "kl_threshold": 0.03, "stop_at_eos": False}
        twice = codd.generate(Drifting(), PROMPTS, codd.DecodingConfig(**settings), compare=True)
        assert twice == decode(PROMPTS, threshold=0.5, kl_threshold=0.03)[0]

    def test_in_either_family(self, backbone):
        prompts = [[11, 12, 13], [7] * 9, [200, 3, 45, 6, 99], [1], [42, 43]]
        config = codd.DecodingConfig(**{**SMALL, "threshold": 0.02, "kl_threshold": 0.5})
        together = codd.generate(backbone, prompts, config, batch_size=2)
        assert together == [codd.generate(backbone, [prompt], config)[0] for prompt in prompts]
        assert any(output.num_forward < 24 for output in together)


class TestTemperature:
    def test_of_dream_draws_where_to_go_on_and_no_tokens(self):
        settings = {"family": "dream", "paradigm": "full", "temperature": 1.0, "kl_threshold": 1e-9}
        (output,), steps = decode([PROMPTS[0]], **settings)
        (other,), others = decode([PROMPTS[0]], seed=1, **settings)
        assert steps != others and all(len(step) == 1 for step in steps)
        peaks = [(place * 5 + 27) % (VOCAB - 2) for place in range(3, 27)]
        assert output.tokens == other.tokens == peaks

    def test_of_llada_is_refused(self):
        with pytest.raises(ValueError, match=r"`temperature=0.5` is not for `decoder=klass` on llada .*temperature=0"):
            decode(PROMPTS, temperature=0.5)


class TestRefusals:
    def test_a_circuit(self):
        circuit = random_circuit(VOCAB, 8, 4, sharpness=1.0)
        config = codd.DecodingConfig(**SMALL)
        with pytest.raises(ValueError, match="a circuit does not go with `decoder=klass`; leave out one of them"):
            codd.generate(Drifting(), PROMPTS, config, circuit=circuit)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"kl_threshold": 0.0}, "`kl_threshold=0` .* above 0"),
            ({"history_length": 0}, "`history_length=0` .* at least 1"),
            ({"num_steps": 23}, "`num_steps=23` cannot be split over 3 blocks of 8"),
            ({"alg": "entropy"}, "`alg=entropy` is read by decoder=unmasking, not by `decoder=klass`"),
            ({"cache": "dual"}, "`cache=dual` is read by .*, not by `decoder=klass`"),
            ({"decoder": "cad", "num_steps": None, "kl_threshold": 0.1}, "is read by decoder=klass, not by"),
        ],
    )
    def test_are_one_line(self, settings, message):
        with pytest.raises(ValueError, match=message) as caught:
            codd.DecodingConfig(**{**SMALL, **settings})
        assert "\n" not in str(caught.value)
