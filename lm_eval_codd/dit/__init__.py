"""The DiT family (DUO, MDLM, SEDD, D3PM, AR): network, processes, samplers, bounds, checkpoints."""

from lm_eval_codd.dit.loading import load_dit
from lm_eval_codd.dit.model import DiT

__all__ = ["DiT", "load_dit"]
