"""Deterministic stand-in for a masked diffusion LM (written for these golden files; no third-party code).

All arithmetic is integer until the last line, and every logit is a multiple of 1/4096, so the
logits are exactly representable in float32 (and in float64) and identical everywhere.

For one row x[0..L-1] of token ids (any ints), position j and slot s in 0..S-1:
    ctx  = ( sum_i (i+1) * (x[i] mod 1000 + 1) ) mod 1009
    l    = x[j-1] mod 1000 (0 if j==0) ; c = x[j] mod 1000 ; r = x[j+1] mod 1000 (0 if j==L-1)
    h    = (seed*7919 + 31*ctx + 101*l + 211*c + 307*r + 53*j) mod 10007
    base = ( (h+17) * (s+3)^2 + 29*(s+1)*((h mod 97)+1) ) mod 257
    peak = h mod S
    lift = ((h // 7) mod 16) * 40            # 0 .. 600
    val  = base + (lift if s == peak else 0) + bias[s]          # integer
    logit = val / 64 + s / 4096 ,  written to token id  slots[s]   (the s term breaks argmax ties)
Token ids that are not in `slots` get `floor` (default -100.0).
`copy` (optional integer, default 0): if x[j] is itself a slot token (slots must be range(vocab)) and
(h mod 5) != 0, add `copy` to val at slot x[j]  (makes most visible tokens look confirmed).
`const` (optional) makes every listed logit equal to const/64 (used for the tie files).
bias[s] is 0 unless listed in `bias` (integer, in 1/64 units).
`nonfinite` (optional) overwrites logits of listed (position, slot, value) with nan/inf.
`shift`: if True the model is an "AR-shifted" one: the row returned at index j is the row computed
for position j+1 (the last index repeats position L-1), i.e. out[j] predicts token j+1.
Call counting: .calls holds the input ids of every forward (list of lists of rows).
"""

import torch


class Out:
    def __init__(self, logits):
        self.logits = logits

    def get(self, k, default=None):
        return getattr(self, k, default)


class StubLM:
    def __init__(
        self,
        vocab,
        slots=None,
        seed=0,
        bias=None,
        floor=-100.0,
        nonfinite=None,
        shift=False,
        const=None,
        copy=0,
        noise=0.0,
        noise_seed=0,
        dtype=torch.float32,
    ):
        self.vocab = vocab
        self.slots = list(range(vocab)) if slots is None else list(slots)
        self.seed = seed
        self.bias = {int(k): int(v) for k, v in (bias or {}).items()}
        self.floor = floor
        self.nonfinite = nonfinite or []
        self.shift = shift
        self.const = const
        self.copy = copy
        self.dtype = dtype
        self.noise = noise
        self.gen = torch.Generator().manual_seed(noise_seed)
        self.device = torch.device("cpu")
        self.calls = []
        self.kwargs = []

    def parameters(self):
        return iter([torch.zeros(1)])

    def eval(self):
        return self

    def logits_for(self, ids):
        B, L = ids.shape
        S = len(self.slots)
        x = ids.to(torch.int64) % 1000
        pos = torch.arange(L, dtype=torch.int64)
        ctx = ((pos + 1) * (x + 1)).sum(1, keepdim=True) % 1009
        left = torch.cat([torch.zeros(B, 1, dtype=torch.int64), x[:, :-1]], 1)
        right = torch.cat([x[:, 1:], torch.zeros(B, 1, dtype=torch.int64)], 1)
        h = (self.seed * 7919 + 31 * ctx + 101 * left + 211 * x + 307 * right + 53 * pos) % 10007
        s = torch.arange(S, dtype=torch.int64)
        hh = h.unsqueeze(-1)
        base = ((hh + 17) * (s + 3) ** 2 + 29 * (s + 1) * ((hh % 97) + 1)) % 257
        lift = ((hh // 7) % 16) * 40
        val = base + torch.where(s == hh % S, lift, torch.zeros_like(lift))
        if self.copy:
            val = val + self.copy * ((s == ids.unsqueeze(-1)) & (hh % 5 != 0)).to(torch.int64)
        for k, v in self.bias.items():
            val[..., k] += v
        if self.const is not None:
            val = torch.full_like(val, int(self.const))
        small = val.to(torch.float32) / 64.0
        if self.const is None:
            small = small + s.to(torch.float32) / 4096.0
        for j, sl, name in self.nonfinite:
            if j < L:
                small[:, j, sl] = float(name)
        if self.noise:
            small = small + (torch.rand(small.shape, generator=self.gen) * 2 - 1) * self.noise
        if self.shift:
            small = torch.cat([small[:, 1:], small[:, -1:]], dim=1)
        if self.slots == list(range(self.vocab)):
            out = small
        else:
            out = torch.full((B, L, self.vocab), self.floor, dtype=torch.float32)
            out[..., torch.tensor(self.slots)] = small
        return out.to(self.dtype)

    def __call__(self, input_ids, **kw):
        self.calls.append(input_ids.tolist())
        self.kwargs.append({k: (v.tolist() if torch.is_tensor(v) else v) for k, v in kw.items()})
        return Out(self.logits_for(input_ids))
