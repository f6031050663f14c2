"""A network small enough to enumerate, and what its likelihoods are by enumeration."""

import pytest
import torch


class Tiny:
    """A masked model of 6 tokens, the last of which is the mask: a position hears all others, near ones louder."""

    family, mask_id, eos_id, eot_id, vocab_size = "llada", 5, 4, None, 6

    def __init__(self, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self._tokens, self._out, self._own = (torch.randn(6, 6, generator=generator) for _ in range(3))
        self.num_rows = 0

    def logits(self, tokens, attention_mask=None, positions=None):
        self.num_rows += len(tokens)
        real = torch.ones_like(tokens, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        place = torch.arange(tokens.shape[1])
        nearness = 1 / (1 + (place[:, None] - place).abs()).float()
        heard = (nearness * real[:, None, :]) @ self._tokens[tokens]
        logits = 1.5 * (heard.tanh() @ self._out + self._own[tokens])
        rows = torch.arange(len(tokens))[:, None]
        return logits if positions is None else logits[rows, positions]

    def log_p(self, prompt, canvas):
        """[n, V] log probabilities on a canvas [n] after a prompt."""
        whole = torch.tensor([*prompt, *canvas])[None]
        return self.logits(whole)[0, len(prompt) :].double().log_softmax(-1)


@pytest.fixture(scope="session")
def tiny():
    return Tiny()


@pytest.fixture(scope="session")
def make_tiny():
    return Tiny


def pairs_of(number, lengths, seed=0):
    """(prompt, target) pairs over the first five tokens."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda length: torch.randint(0, 5, (length,), generator=generator).tolist()  # noqa: E731
    return [(draw(index % 4), draw(lengths[index % len(lengths)])) for index in range(number)]
