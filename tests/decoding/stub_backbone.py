"""The goldens' formula as a backbone."""

import torch

from tests.decoding.stub_lm import StubLM


class StubBackbone:
    """What `StubLM` has for logits; `calls` holds the ids of every forward.

    A stub with `shift=True` scores the next token, and is asked for it one position before.
    """

    family, eos_id, eot_id = "llada", 0, None

    def __init__(self, stub, mask_id=31):
        self.model = StubLM(**stub)
        self.vocab_size, self.mask_id, self.calls = self.model.vocab, mask_id, []
        self.shifts = stub.get("shift", False)

    def logits(self, tokens, attention_mask=None, positions=None):
        self.calls.append(tokens.tolist())
        if positions is None:
            positions = torch.arange(tokens.shape[1]).expand(len(tokens), -1)
        if self.shifts:
            positions = (positions - 1).clamp(min=0)
        return self.model.logits_for(tokens)[torch.arange(len(tokens))[:, None], positions]
