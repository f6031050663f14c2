"""Hidden Markov circuits: evidence in, log Z, latent paths and exact marginals out; and the files they live in."""

from lm_eval_codd.circuits.files import load_circuit, load_unified_config, save_circuit, save_unified
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.circuits.posterior import Posterior

__all__ = [
    "HMM",
    "Posterior",
    "load_circuit",
    "load_unified_config",
    "save_circuit",
    "save_unified",
]
