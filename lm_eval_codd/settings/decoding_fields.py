"""The fields of `DecodingConfig`, which says what they mean: defaults, ranges, choices and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lm_eval_codd.settings.decoder_options import (
    BlockOptions,
    CadOptions,
    CorrectiveOptions,
    EbOptions,
    KlassOptions,
    OpenDllmOptions,
    P2Options,
    WinoOptions,
)
from lm_eval_codd.settings.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Range, facts_of, setting
from lm_eval_codd.settings.routing import RouterOptions

ALGS: Final = ("low_confidence", "topprob", "margin", "entropy", "random")
ALG_ALIASES: Final[Mapping[str, str]] = {
    "maskgit_plus": "low_confidence",
    "topk_margin": "margin",
    "origin": "random",
}
# Those whose confidence is a probability, or a difference of two: what `threshold` and `factor` are compared with.
CONFIDENCE_ALGS: Final = ("low_confidence", "margin", "topprob")
PARADIGMS: Final = ("block", "full")
PC_SAMPLING: Final = ("latent", "any_order", "marginal", "map")
PC_WINDOWS: Final = ("best", "cover")
CACHES: Final = ("none", "prefix", "dual")
COUNTS: Final = ("even", "rounded")

DEFAULT_NUM_STEPS: Final = 256


@dataclass(frozen=True, kw_only=True)
class DecodingFields(
    CadOptions,
    KlassOptions,
    EbOptions,
    WinoOptions,
    P2Options,
    OpenDllmOptions,
    CorrectiveOptions,
    BlockOptions,
    RouterOptions,
):
    """Every setting of a decode, unchecked."""

    decoder: str = setting(
        "unmasking",
        "what a step writes: unmasking, the surest positions; cad, all that are sure; klass, all that are sure and "
        "stable; eb, as many of the surest as their entropy allows; wino, all that are rather sure, and the mask where "
        "a token is unsure without itself; p2 and open_dllm, what is sure, and the mask where a token is not; "
        "corrective, every mask, and the mask where a token is unsure; block_diffusion, blocks of a family that is "
        "block-causal, by its own rule",
        is_axis=True,
    )
    alg: str = setting(
        "low_confidence",
        "remasking rule, which masked positions a step commits first; the names of the official code are read too",
        choices=ALGS,
        is_axis=True,
    )
    num_steps: int | None = setting(None, "denoising steps of an answer", range=AT_LEAST_1, is_axis=True)
    tokens_per_step: int | None = setting(
        None, "the same said the other way: num_steps = gen_length / tokens_per_step", range=AT_LEAST_1, is_axis=True
    )
    gen_length: int = setting(512, "tokens to decode", range=AT_LEAST_1)
    block_length: int = setting(
        32,
        "length of a semi-autoregressive block; read by the block paradigm, by both with a cache",
        range=AT_LEAST_1,
        paradigm="block",
    )
    paradigm: str = setting(
        "block", "block: blocks left to right; full: the whole canvas on a time grid", choices=PARADIGMS
    )
    counts: str | None = setting(
        None,
        "how many tokens a step of a block commits: even, num_steps split over blocks and tokens; rounded, dLLM's, "
        "which take any num_steps",
        choices=COUNTS,
    )
    temperature: float = setting(0.0, "0 takes the most likely token, otherwise tokens are drawn", range=AT_LEAST_0)
    top_p: float | None = setting(
        None, "nucleus; 1 is off", range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (1 is off)"), off=1
    )
    top_k: int | None = setting(
        None,
        "number of most likely tokens kept; 0 is off",
        range=Range(lambda v: v >= 0, "1 or more (0 is off)"),
        off=0,
    )
    alg_temp: float | None = setting(
        None, "temperature of the remasking rule itself; 0 is off", range=AT_LEAST_0, off=0
    )
    eps: float = setting(
        1e-3, "where the time grid ends", range=Range(lambda v: 0 < v < 1, "above 0 and below 1"), paradigm="full"
    )
    cfg_scale: float = setting(0.0, "classifier-free guidance; 0 is off", range=AT_LEAST_0)
    seed: int = setting(1234, "of the random draws; each row has its own stream", range=AT_LEAST_0)
    stop_at_eos: bool = setting(True, "an answer ends at its first end token; false keeps the text after it")
    logits_eos_inf: bool = setting(False, "the end token can never be chosen")
    confidence_eos_eot_inf: bool = setting(False, "end tokens are committed last")
    mask_id: int | None = setting(None, "instead of the checkpoint's mask token", range=AT_LEAST_0)
    eos_id: int | None = setting(None, "instead of the checkpoint's end token", range=AT_LEAST_0)
    eot_id: int | None = setting(None, "instead of the checkpoint's end-of-turn token", range=AT_LEAST_0)
    pc_temperature: float = setting(
        0.7,
        "divides the backbone's logits before they become evidence, above 0 and at most 1",
        range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (1 leaves the logits as they are)"),
        is_circuits=True,
        is_axis=True,
    )
    pc_frac: float = setting(
        0.3,
        "the circuit acts where the share of masked positions is below this",
        range=Range(lambda v: 0 <= v <= 2, "0 to 2 (a mask ratio: 0 never fires, above 1 always does)"),
        is_circuits=True,
        is_axis=True,
    )
    reverse_frac: bool = setting(False, "it acts where the share is above pc_frac instead", is_circuits=True)
    pc_sampling: str = setting(
        "latent", "how tokens come out of the coupled distribution", choices=PC_SAMPLING, is_circuits=True
    )
    pc_windows: str = setting(
        "best", "windows of the full paradigm", choices=PC_WINDOWS, is_circuits=True, paradigm="full"
    )
    cache: str = setting(
        "none",
        "keys and values kept within a block (approximate): prefix, before it; dual, after it as well",
        choices=CACHES,
        is_axis=True,
    )
    threshold: float | None = setting(
        None,
        "a step commits every position at least this sure (approximate), instead of --num_steps; cad: 0.95 by default; "
        "klass, 0.9: what is surer and stable, beside --num_steps; wino, 0.6: what is surer; corrective, 0.9: what is "
        "no surer is masked again; block_diffusion: by rule, and no approximation",
        range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (a confidence)"),
        is_axis=True,
    )
    factor: float | None = setting(
        None,
        "the same with a bound that falls with their number (approximate)",
        range=ABOVE_0,
        is_axis=True,
    )
    compat: bool = setting(
        False, "cad: the official code's bugs too; router=ec: the share of masks is of the padded width"
    )


# What only a circuit reads.
CIRCUIT_SETTINGS: Final = tuple(
    field.name for field in dataclasses.fields(DecodingFields) if facts_of(field).is_circuits
)
