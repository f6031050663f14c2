"""EB-Sampler against its rule said plainly, a position at a time in float64; outputs of its authors are not here."""

import math

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.decoding.decoders.entropy_bound import bounded
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_klass import MASK, PROMPTS, VOCAB, Drifting

SMALL = {"decoder": "eb", "gen_length": 24, "block_length": 8}


def entropy_of(probabilities):
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def margin_of(probabilities):
    first, second = sorted(probabilities, reverse=True)[:2]
    return first - second


SCORES = {"confidence": max, "entropy": lambda probabilities: -entropy_of(probabilities), "margin": margin_of}


def plainly(backbone, prompt, *, width, gamma, proxy):
    """The answer, and what each step commits: the largest set from the top that the bound allows, tried one by one."""
    text, steps = [*prompt, *[MASK] * 24], []
    for start in range(len(prompt), len(text), width):
        while masks := [place for place in range(start, start + width) if text[place] == MASK]:
            all_rows = backbone.whole(text).double().softmax(dim=-1).tolist()
            rows = {place: all_rows[place] for place in masks}
            order = sorted(masks, key=lambda place: (-SCORES[proxy](rows[place]), place))
            entropies = [entropy_of(rows[place]) for place in order]
            allowed = [n for n in range(1, len(order) + 1) if sum(entropies[:n]) - max(entropies[:n]) <= gamma]
            chosen = order[: max(allowed)]
            for place in chosen:
                text[place] = max(range(VOCAB), key=lambda token, row=rows[place]: row[token])
            steps.append(sorted(place - len(prompt) for place in chosen))
    return text[len(prompt) :], steps


def decode(prompts, *, family="llada", batch_size=None, **settings):
    steps = []

    def note(event):
        steps.append(sorted(event.columns[event.commit].tolist()) if len(prompts) == 1 else None)

    config = codd.DecodingConfig(**{"stop_at_eos": False, **SMALL, **settings})
    return codd.generate(Drifting(family), prompts, config, on_step=note, batch_size=batch_size), steps


@pytest.mark.parametrize("proxy", SCORES)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0, 100.0])
@pytest.mark.parametrize("width", [8, 24])
def test_it_is_the_rule_said_plainly(proxy, gamma, width):
    given = {"block_length": width, "gamma": gamma, "error_proxy": proxy}
    for prompt in PROMPTS[:2]:
        (output,), steps = decode([prompt], **given)
        assert (output.tokens, steps) == plainly(Drifting(), prompt, width=width, gamma=gamma, proxy=proxy)
        assert output.num_forward == len(steps)
    if gamma == 100.0:
        assert len(steps) == 24 // width
    if gamma == 0.3:
        assert any(1 < len(step) < width for step in steps)


def test_dream_goes_over_the_whole_canvas():
    assert not codd.DecodingConfig.for_family("dream", decoder="eb").goes_by_blocks
    (output,), _ = decode([PROMPTS[0]], family="dream", paradigm="full", gamma=0.3)
    assert output.tokens == plainly(Drifting(), PROMPTS[0], width=24, gamma=0.3, proxy="confidence")[0]


@pytest.mark.parametrize("settings", [{"gamma": 0.3}, {"gamma": 1.0, "temperature": 0.8, "error_proxy": "entropy"}])
def test_a_row_is_alone(settings):
    alone = [decode([prompt], **settings)[0][0] for prompt in PROMPTS]
    for batch_size in (None, 2):
        assert decode(PROMPTS, batch_size=batch_size, **settings)[0] == alone


def test_the_first_of_an_order_always_counts_and_others_up_to_the_bound():
    entropy = torch.tensor([[3.0, 1.0, 0.5, 9.0], [math.nan, 1.0, 1.0, 1.0]], dtype=torch.float64)
    order = torch.tensor([[2, 1, 0, 3], [0, 1, 2, 3]])
    among = torch.tensor([[True, True, True, False], [True] * 4])
    assert [bounded(entropy, order, among, gamma).tolist() for gamma in (0.0, 0.5, 1.5, 9.0)] == [
        [1, 1],
        [2, 1],
        [3, 1],
        [3, 1],
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -0.1}, "`gamma=-0.1` .*0 or more"),
        ({"error_proxy": "random"}, "`error_proxy=random` is not known; use"),
        ({"num_steps": 24}, "`num_steps=24` is read by .*, not by `decoder=eb`"),
        ({"cache": "dual"}, "`cache=dual` is read by .*, not by `decoder=eb`"),
        ({"alg": "margin"}, "`alg=margin` is read by decoder=unmasking, not by `decoder=eb`"),
    ],
)
def test_refusals_are_one_line(settings, message):
    with pytest.raises(ValueError, match=message):
        codd.DecodingConfig(**{**SMALL, **settings})


def test_a_circuit_is_refused():
    circuit = random_circuit(VOCAB, 8, 4, sharpness=1.0)
    with pytest.raises(ValueError, match="a circuit does not go with `decoder=eb`; leave out one of them"):
        codd.generate(Drifting(), PROMPTS, codd.DecodingConfig(**SMALL), circuit=circuit)
