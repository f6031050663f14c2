"""Whole decodes in the official window mode, step by step against a reference written from its description."""

import dataclasses

import numpy as np
import pytest
import torch

import lm_eval_codd as codd
from tests.decoding.best_window import MASK, committed
from tests.decoding.test_coupling import random_circuit

VOCAB, MASK_ID, EOS = 9, 8, 7
NUM_CASES = 80


class Reactive:
    """Dream-like logits by position that change with what is on the canvas; the mask is never predicted."""

    family, mask_id, eos_id, eot_id, vocab_size = "dream", MASK_ID, EOS, None, VOCAB

    def __init__(self, length, generator):
        self.tables = 2 * torch.randn(5, length, VOCAB, generator=generator)
        self.tables[..., MASK_ID] = -30.0

    def logits(self, tokens, attention_mask=None, positions=None):
        return self.tables[tokens.sum(dim=1) % 5].gather(1, positions[..., None].expand(-1, -1, VOCAB))


def random_case(alg, seed):
    """A backbone, a prompt, settings and a circuit."""
    generator = torch.Generator().manual_seed(seed)

    def pick(*values):
        return values[int(torch.randint(len(values), (1,), generator=generator))]

    gen_length, window = pick(12, 17, 24), pick(3, 4, 6)
    temperature, top_p, top_k = pick((0.0, None, None), (0.0, None, 3), (0.2, 0.95, 4), (0.7, 0.9, None))
    config = codd.DecodingConfig(
        alg=alg,
        paradigm="full",
        gen_length=gen_length,
        num_steps=pick(3, 4, 6),
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        pc_frac=pick(0.4, 0.7, 1.0, 1.5),
        reverse_frac=pick(False, False, True),
        pc_temperature=pick(0.3, 0.7, 1.0),
        pc_sampling="map",
        stop_at_eos=False,
        seed=seed,
    )
    prompt = [1] * pick(1, 2, 5)
    backbone = Reactive(len(prompt) + gen_length, generator)
    return backbone, prompt, config, random_circuit(VOCAB, window, 2, seed=seed)


@pytest.mark.parametrize("alg", ["entropy", "low_confidence", "topprob", "margin"])
def test_every_step_commits_what_the_reference_does(alg):
    num_open = num_closed = 0
    for seed in range(NUM_CASES):
        backbone, prompt, config, circuit = random_case(alg, seed)
        if alg == "low_confidence" and config.temperature > 0:
            continue  # the candidate's own probability there, and candidates are drawn
        events = []
        codd.generate(backbone, [prompt], config, circuit=circuit, on_step=events.append)
        answer = [MASK_ID] * config.gen_length
        for event in events:
            tokens = torch.tensor([prompt + answer])
            logits = backbone.logits(tokens, positions=torch.arange(tokens.shape[1])[None])[0].double().numpy()
            canvas = prompt + [MASK if token == MASK_ID else token for token in answer]
            wanted, is_open, final = committed(canvas, len(prompt), logits, int(event.number[0]), config, circuit)
            columns = event.columns[0][event.commit[0]]
            assert {len(prompt) + column for column in columns.tolist()} == wanted, (alg, seed, int(event.number[0]))
            answer = event.answer[0].tolist()
            if config.temperature == 0:
                for position in wanted:
                    assert answer[position - len(prompt)] == np.argmax(final[position])
            num_open, num_closed = num_open + is_open, num_closed + (not is_open)
        assert MASK_ID not in answer
    assert min(num_open, num_closed) > NUM_CASES / 4


class TestTopprob:
    def test_decodes_as_low_confidence_does_wherever_the_settings_do_not_tell_them_apart(self):
        for seed in range(40):
            backbone, prompt, config, circuit = random_case("topprob", seed)
            other = dataclasses.replace(config, alg="low_confidence")
            cover = {"pc_windows": "cover"}
            pairs = [(config, None), (dataclasses.replace(config, **cover), circuit)]
            if config.temperature == 0 and config.top_k is None:
                pairs.append((config, circuit))
            for one, coupled in pairs:
                assert not one.tells_topprob_apart(coupled=coupled is not None)
                same = dataclasses.replace(other, pc_windows=one.pc_windows)
                answers = [codd.generate(backbone, [prompt], settings, circuit=coupled) for settings in (one, same)]
                assert answers[0] == answers[1]

    def test_decodes_otherwise_in_a_circuits_best_windows(self):
        different = 0
        for seed in range(40):
            backbone, prompt, config, circuit = random_case("topprob", seed)
            if config.tells_topprob_apart(coupled=True):
                other = dataclasses.replace(config, alg="low_confidence")
                one, two = (codd.generate(backbone, [prompt], c, circuit=circuit)[0] for c in (config, other))
                different += one.tokens != two.tokens
        assert different > 5
