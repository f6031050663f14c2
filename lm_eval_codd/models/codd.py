"""`--model codd_llada`, `codd_dream`, `codd_masked_lm`: the same backbones, coupled by the circuit that `pc=` names."""

from __future__ import annotations

from lm_eval_codd.models.dream import Dream
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.masked_lm import MaskedLM


class CoddLLaDA(LLaDA):
    """LLaDA with a circuit (Algorithm 1 of the paper, a block at a time)."""

    takes_circuit = True


class CoddDream(Dream):
    """Dream with a circuit (Algorithm 2 of the paper, a window at a time)."""

    takes_circuit = True


class CoddMaskedLM(MaskedLM):
    """A checkpoint of any family with a circuit, as its paradigm has it: a block or a window at a time."""

    takes_circuit = True
