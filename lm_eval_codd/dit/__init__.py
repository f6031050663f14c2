"""The DiT family (DUO, MDLM, SEDD, D3PM, AR): network, processes, samplers, bounds, checkpoints."""

from lm_eval_codd.dit.loading import load_dit
from lm_eval_codd.dit.model import DiT
from lm_eval_codd.dit.sampling import Sample, sample_dit

__all__ = ["DiT", "Sample", "load_dit", "sample_dit"]
