"""`sample_coupling`: rows of ids from Gaussian latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import torch

from lm_eval_codd.latent.noise import OfGenerator, OfRows
from lm_eval_codd.latent.one_step import of_flow, of_generator
from lm_eval_codd.latent.planned import planned
from lm_eval_codd.settings.coupling import CouplingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from lm_eval_codd.latent.model import CouplingModel
    from lm_eval_codd.latent.noise import Noise

# Of the logits of one batch.
_BATCH_BYTES: Final = 1 << 28


class CouplingSample(NamedTuple):
    """(tokens, num_forward): a sample's ids, padding among them, and how often the network saw it (NFE)."""

    tokens: list[int]
    num_forward: int


def sample_coupling(
    model: CouplingModel,
    num_samples: int,
    temperature: float = 0.65,
    top_p: float = 0.95,
    z_scale: float = 0.8,
    generator: torch.Generator | None = None,
    *,
    steps: int | None = None,
    tau: float = 0.0,
    eta: float = 1.0,
    seed: int = 1234,
    indices: Sequence[int] | None = None,
    start: Tensor | None = None,
    batch_size: int | None = None,
) -> list[CouplingSample]:
    """Sample from a Coupling Model.

    Args:
        model: of `load_coupling`.
        num_samples: rows.
        temperature: of the logits; 0 takes the likeliest tokens. Not of latent_mdm.
        top_p: mass of the tokens that are drawn from; 1: all. Not of latent_mdm.
        z_scale: deviation of the latent.
        generator: draws the latents, then the tokens, of all rows together, as the official code does. None: each row
            draws its own, from the seed and its index, whatever rows stand beside it.
        steps: of latent_mdm, and needed there: forwards of path planning (P2).
        tau: of latent_mdm: Gumbel noise on its logits; 0: none.
        eta: of latent_mdm: weight of visible tokens' log-probabilities. Above 1 they are masked again sooner.
        seed: of the rows' own draws; not read with a generator.
        indices: of the rows, which their draws go by; None: 0, 1, ...
        start: of latent_mdm, [B, T] ids to start from, in place of masks; what is no mask stays.
        batch_size: rows at once; None: as many as their logits leave room for. What a row becomes is the same.

    Returns:
        One `CouplingSample` a row, which is the pair (tokens, num_forward).

    Raises:
        ValueError: one line: a setting that is impossible, or that this model does not read.
    """
    settings = CouplingSettings(
        temperature=temperature, top_p=top_p, z_scale=z_scale, steps=steps, tau=tau, eta=eta, seed=seed
    )
    settings.check_goes_with(model.kind, model.source)
    _check_rows(model, num_samples, indices, start, batch_size, generator)
    if generator is not None:
        return _sampled(model, OfGenerator(generator, num_samples, model.device), num_samples, settings, start)
    numbers = range(num_samples) if indices is None else indices
    size = batch_size or max(1, _BATCH_BYTES // (4 * model.length * model.vocab_size))
    samples: list[CouplingSample] = []
    for begin in range(0, num_samples, size):
        some = numbers[begin : begin + size]
        of_rows = None if start is None else start[begin : begin + size]
        samples += _sampled(model, OfRows(settings.seed, some, model.device), len(some), settings, of_rows)
    return samples


@torch.inference_mode()
def _sampled(
    model: CouplingModel, noise: Noise, rows: int, settings: CouplingSettings, start: Tensor | None
) -> list[CouplingSample]:
    z = noise.gaussian(model.length, model.latent_dim) * settings.z_scale
    if model.kind == "latent_mdm":
        assert model.mask_id is not None and settings.steps is not None
        masks = torch.full((rows, model.length), model.mask_id, device=model.device)
        begun = masks if start is None else start.to(model.device)
        tokens = planned(model, z, begun, settings.steps, settings.tau, settings.eta, noise)
    else:
        choose = of_flow if model.kind == "stage_a" else of_generator
        tokens = choose(model.logits(z), settings.temperature, settings.top_p, noise)
    return [CouplingSample(ids, settings.steps or 1) for ids in tokens.tolist()]


def _check_rows(
    model: CouplingModel,
    num_samples: int,
    indices: Sequence[int] | None,
    start: Tensor | None,
    batch_size: int | None,
    generator: torch.Generator | None,
) -> None:
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
        is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not is_whole and not (value is None and name == "batch_size"):
            raise ValueError(f"`{name}={value}` must be a whole number of at least 1")
    if generator is not None and (batch_size is not None or indices is not None):
        raise ValueError(
            "`batch_size` and `indices` do not go with `generator`, which draws all rows together; leave them out"
        )
    if indices is not None and len(indices) != num_samples:
        raise ValueError(f"`indices` are {len(indices)}, and `num_samples={num_samples}`; give one a row")
    if start is None:
        return
    if model.kind != "latent_mdm":
        raise ValueError(f"`start` is of latent_mdm; `{model.source}` is {model.kind}, leave it out")
    if list(start.shape) != [num_samples, model.length]:
        raise ValueError(f"`start` has shape {list(start.shape)}; use [{num_samples}, {model.length}]")
