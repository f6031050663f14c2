"""What `sample_dit` can be asked for, said in one line where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

from lm_eval_codd.dit.samplers import PREDICTORS, REMOVALS
from lm_eval_codd.settings import unknown_value

if TYPE_CHECKING:
    from torch import Tensor

    from lm_eval_codd.dit.model import DiT


def check_call(
    dit: DiT,
    num_samples: int,
    length: int,
    steps: int | None,
    predictor: str,
    noise_removal: str,
    p_nucleus: float,
    prior: Tensor | None,
    uniforms: Callable[[int], Tensor] | None,
    psi: tuple[Tensor, Tensor] | None,
    batch_size: int | None,
) -> None:
    """Raise `ValueError` for arguments of `sample_dit` that say nothing, or nothing that this model can do."""
    counts = {"num_samples": num_samples, "length": length, "batch_size": batch_size}
    if dit.process is not None:
        counts["steps"] = steps if steps is not None or psi is None else len(psi[0]) - 1
    for name, value in counts.items():
        if value is None and name == "batch_size":
            continue
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
            raise ValueError(f"`{name}={value}` must be a whole number of at least 1")
    if length > dit.max_length:
        raise ValueError(f"`length={length}` is beyond the {dit.max_length} tokens that `{dit.source}` was trained on")
    for name, said, known in (
        ("predictor", predictor, PREDICTORS),
        ("noise_removal", noise_removal, REMOVALS),
    ):
        if said not in known:
            raise ValueError(unknown_value(name, said, known))
    if not 0 < p_nucleus <= 1:
        raise ValueError(f"`p_nucleus={p_nucleus}` must be above 0 and at most 1, which keeps every token")
    if dit.process is None:
        _check_autoregressive(dit, predictor, noise_removal, p_nucleus, prior, num_samples)
    else:
        _check_diffusion(dit, dit.process.predictors, predictor, noise_removal, p_nucleus, psi, steps)
        if prior is not None and list(prior.shape) != [num_samples, length]:
            raise ValueError(f"`prior` has shape {list(prior.shape)}; use [{num_samples}, {length}]")
    if prior is not None and not bool(((prior >= 0) & (prior < dit.vocab_size)).all()):
        raise ValueError(
            f"`prior` holds ids from {int(prior.min())} to {int(prior.max())}; the vocabulary of `{dit.source}` has "
            f"{dit.vocab_size}"
        )


def check_rows(
    dit: DiT, num_samples: int, length: int, prompts: Sequence[Sequence[int]], indices: Sequence[int]
) -> None:
    """Raise `ValueError` for prompts and indices that are not one a row, or prompts that a row cannot begin with."""
    for name, given in (("prompts", prompts), ("indices", indices)):
        if len(given) != num_samples:
            raise ValueError(f"`{name}` are {len(given)}, and `num_samples={num_samples}`; give one a row")
    longest = max(map(len, prompts))
    if longest > length:
        raise ValueError(f"`prompts` have up to {longest} ids, and `length={length}`; give a greater length")
    beyond = [one for prompt in prompts for one in prompt if not 0 <= one < dit.vocab_size]
    if beyond:
        raise ValueError(f"`prompts` hold id {beyond[0]}; the vocabulary of `{dit.source}` has {dit.vocab_size}")


def check_finite(dit: DiT, finite: Tensor) -> None:
    """Raise `ValueError` where ids were drawn from what is no numbers; `finite` has no dimension, and is waited for."""
    if not bool(finite):
        raise ValueError(f"logits of `{dit.source}` are not finite in {dit.dtype}; use dtype=float32")


def _check_autoregressive(
    dit: DiT, predictor: str, noise_removal: str, p_nucleus: float, prior: Tensor | None, num_samples: int
) -> None:
    if predictor != "ancestral" or noise_removal == "greedy" or p_nucleus != 1:
        raise ValueError(
            f"`predictor={predictor}`, `noise_removal={noise_removal}` and `p_nucleus={p_nucleus}` are of diffusions; "
            f"`{dit.source}` (algo=ar) draws each token after those before it: leave them out"
        )
    if prior is None and dit.bos_id is None:
        raise ValueError(
            f"`{dit.source}` does not say which token begins a row; give `prior` [{num_samples}, 1], or bos_token_id "
            "in its config.json"
        )
    if prior is not None and (prior.dim() != 2 or len(prior) != num_samples or not prior.shape[1]):
        raise ValueError(f"`prior` has shape {list(prior.shape)}; for ar use [{num_samples}, 1]")


def _check_diffusion(
    dit: DiT,
    own: tuple[str, ...],
    predictor: str,
    noise_removal: str,
    p_nucleus: float,
    psi: tuple[Tensor, Tensor] | None,
    steps: int | None,
) -> None:
    if predictor not in own:
        raise ValueError(f"`predictor={predictor}` is not one of {dit.algo}; use {' or '.join(own)}")
    if predictor == "analytic" and noise_removal == "greedy":
        raise ValueError("`noise_removal=greedy` does not go with predictor=analytic; use ancestral or none")
    if predictor != "ancestral" and p_nucleus != 1:
        raise ValueError(f"`p_nucleus={p_nucleus}` does not go with predictor={predictor}; use predictor=ancestral")
    if (psi is not None) != (predictor == "psi"):
        raise ValueError(
            "`psi` (times and shares of the posterior, as psi_profile makes them) and predictor=psi belong together; "
            "give both"
        )
    if psi is not None:
        times, kappas = psi
        if times.dim() != 1 or times.shape != kappas.shape or (steps is not None and len(times) != steps + 1):
            raise ValueError(
                f"`psi` has {list(times.shape)} times and {list(kappas.shape)} shares; both are [T + 1] for T steps"
            )
        is_back = (times[1:] <= times[:-1]).all() & (times[0] <= 1) & (times[-1] >= 0)
        if not bool(is_back) or not bool(((kappas >= 0) & (kappas <= 1)).all()):
            raise ValueError(
                "`psi` must have times between 0 and 1 that do not rise, and shares of the posterior between 0 and 1"
            )


def check_goes_with_circuit(
    predictor: str, noise_removal: str, p_nucleus: float, use_float64: bool, for_tests: bool
) -> None:
    """Raise `ValueError` for what a circuit has no part in."""
    if predictor != "ancestral" or noise_removal == "greedy" or p_nucleus != 1 or not use_float64 or for_tests:
        raise ValueError(
            "a circuit goes with predictor=ancestral in float64 alone, without p_nucleus, uniforms, "
            "on_step and noise_removal=greedy; leave those out, or the circuit"
        )
