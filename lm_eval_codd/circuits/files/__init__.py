"""Circuit files: .safetensors, PyJuice's .jpc, and the official code's unified folder."""

from lm_eval_codd.circuits.files.storage import load_circuit, save_circuit
from lm_eval_codd.circuits.files.unified import load_unified_config, save_unified

__all__ = ["load_circuit", "load_unified_config", "save_circuit", "save_unified"]
