"""`Routing`: how one checkpoint's tokens and experts are paired, resolved from settings and what its files say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.settings import ROUTER_SETTINGS, STATIC, RouterOptions

if TYPE_CHECKING:
    from lm_eval_codd.settings import RouterSettings

# Gates of which each row may have a number of experts of its own, as a schedule gives it.
_TAKE_SCHEDULES: Final = ("post", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class Experts:
    """What a checkpoint has been trained with.

    Attributes:
        num: E, experts of a layer.
        k: experts of a token.
        gates: the rule of its gates, as for `expert_choice`.
        scale: multiplies them.
    """

    num: int
    k: int
    gates: str
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Routing:
    """How tokens and experts are paired, in place of the transformers class's own way.

    Attributes:
        chooser: `ec`, experts choose positions; `tc`, positions choose experts.
        num_experts: E.
        gates, scale: as for `expert_choice`.
        schedule: `static`, or one of `schedules.SCHEDULES`.
        k_min, k_max: experts of a token on average; equal where static, and of `tc`.
        sigma: width of the Gaussian schedules.
        factors: by the number of experts that picked a token, 0 to E; None: 1.
        scope: which positions compete, as for `expert_choice`.
        over_width: whether the share of masks that a schedule goes by is of the padded width, as in the authors'
            code, not of the row's own positions.
    """

    num_experts: int
    gates: str
    k_min: int
    k_max: int
    chooser: str = "ec"
    schedule: str = STATIC
    sigma: float = 0.22
    scale: float = 1.0
    factors: tuple[float, ...] | None = None
    scope: str = "sequence"
    over_width: bool = False


def experts_of(config: Any, gates: str | None, own: Routing | None = None) -> Experts | None:
    """What a checkpoint has been trained with.

    Args:
        config: of transformers.
        gates: by which rule they are, where experts are paired in the class's way; None: it has none.
        own: how they are paired where that is not the class's way.
    """
    if own is not None:
        return Experts(num=own.num_experts, k=config.num_experts_per_tok, gates=own.gates, scale=own.scale)
    if gates is None:
        return None
    return Experts(
        num=config.num_local_experts,
        k=config.num_experts_per_tok,
        gates=gates,
        scale=getattr(config, "routed_scaling_factor", 1.0),
    )


def no_experts_with_blocks(source: str) -> str:
    """One line: experts do not choose tokens of block-causal checkpoints."""
    return (
        f"`router=ec` does not go with the block-causal attention of `{source}`: a later block would change which "
        "experts compute an earlier one; leave it out, or give ec_scope=sequence to have it so"
    )


def choose_routing(
    settings: RouterSettings, experts: Experts | None, own: Routing | None, source: str
) -> Routing | None:
    """How a checkpoint's tokens and experts are paired under these settings; None: as it was trained.

    Args:
        settings: those of a decode or of log-likelihoods.
        experts: what the checkpoint has; None where it has none.
        own: how it was trained, where that is not its class's way.
        source: what it is called.

    Raises:
        ValueError: one line: it has no experts, or fewer than asked for, or its gates take no schedule, or it was
            trained with expert choice and is asked for token choice.
    """
    has_own = own is not None and own.chooser == "ec"
    if settings.router == "tc":
        if has_own:
            raise ValueError(
                f"`router=tc`: `{source}` was trained with experts that choose tokens; give router=ec, which alone "
                "means its own rule"
            )
        return None
    usual = RouterOptions(router="ec", ec_scope=settings.ec_scope)
    # Log-likelihoods have no `compat`: their canvases are not padded.
    how: dict[str, Any] = {"scope": settings.ec_scope or "sequence", "over_width": getattr(settings, "compat", False)}
    if own is not None and has_own and all(getattr(settings, n) == getattr(usual, n) for n in ROUTER_SETTINGS):
        changed = replace(own, **how)
        return None if changed == own else changed
    routing = replace(_expert_choice_of(settings, experts, source), **how)
    return replace(routing, factors=own.factors) if own is not None and routing.gates != "pre" else routing


def _expert_choice_of(settings: RouterSettings, experts: Experts | None, source: str) -> Routing:
    if experts is None:
        raise ValueError(
            f"`router=ec` is for mixtures of experts, and `{source}` has none; leave it out, with its ec_ settings"
        )
    is_static = settings.ec_schedule == STATIC
    gates = settings.ec_gates or experts.gates
    if not is_static and gates not in _TAKE_SCHEDULES:
        raise ValueError(
            f"`ec_schedule={settings.ec_schedule}` gives each row its own number of experts, and the gates of "
            f"`{source}` (ec_gates={gates}) take one for all; add ec_gates=post, or leave the schedule out"
        )
    k = settings.ec_k or experts.k
    least, most = (k, k) if is_static else (settings.ec_k_min or k, settings.ec_k_max or k)
    if most > experts.num:
        name = "ec_k" if is_static else "ec_k_max"
        raise ValueError(
            f"`{name}={most}` is more than the {experts.num} experts of `{source}`; use {experts.num} or less"
        )
    return Routing(
        num_experts=experts.num,
        gates=gates,
        schedule=settings.ec_schedule,
        k_min=least,
        k_max=most,
        sigma=settings.ec_sigma,
        scale=experts.scale,
    )
