"""The settings of a mixture of experts: who chooses whom (EC-DLM). Decoding and log-likelihoods read them alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lm_eval_codd.settings.fields import ABOVE_0, AT_LEAST_1, setting

ROUTERS: Final = ("tc", "ec")
EC_GATES: Final = ("pre", "post", "sigmoid")
EC_SCOPES: Final = ("sequence", "batch")
STATIC: Final = "static"
EC_SCHEDULES: Final = (
    STATIC,
    "linear",
    "linear_reverse",
    "cosine",
    "cosine_reverse",
    "bell",
    "bell_gaussian",
    "bell_gaussian_reverse",
)


class RouterSettings(Protocol):
    """What `DecodingConfig` and `LikelihoodConfig` have alike of a mixture of experts; see `RouterOptions`."""

    @property
    def router(self) -> str: ...  # noqa: D102
    @property
    def ec_gates(self) -> str | None: ...  # noqa: D102
    @property
    def ec_schedule(self) -> str: ...  # noqa: D102
    @property
    def ec_k(self) -> int | None: ...  # noqa: D102
    @property
    def ec_k_min(self) -> int | None: ...  # noqa: D102
    @property
    def ec_k_max(self) -> int | None: ...  # noqa: D102
    @property
    def ec_sigma(self) -> float: ...  # noqa: D102
    @property
    def ec_scope(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class RouterOptions:
    """Expert choice (EC-DLM): every expert takes the positions of a row that want it most, `ec_k` each on average.

    With `router=tc`, the default, a checkpoint computes what it was trained to. `ec` exchanges the selection and keeps
    the weights, without the fine-tuning that EC-DLM does; no such checkpoint is published.
    """

    router: str = setting(
        "tc",
        "mixtures of experts: tc, tokens choose experts; ec (EC-DLM), experts choose tokens, which hurts a checkpoint "
        "that was not trained for it",
        choices=ROUTERS,
        is_axis=True,
    )
    ec_schedule: str = setting(
        STATIC,
        "router=ec: experts of a token by the share of its row that is masked, between --ec_k_min and --ec_k_max",
        choices=EC_SCHEDULES,
        is_axis=True,
    )
    ec_k: int | None = setting(
        None,
        "router=ec: experts of a token on average, of ec_schedule=static; the checkpoint's own",
        range=AT_LEAST_1,
        is_axis=True,
    )
    ec_k_min: int | None = setting(
        None, "router=ec: fewest experts of a token, of a schedule", range=AT_LEAST_1, is_axis=True
    )
    ec_k_max: int | None = setting(
        None, "router=ec: most experts of a token, of a schedule", range=AT_LEAST_1, is_axis=True
    )
    ec_sigma: float = setting(0.22, "router=ec: width of the Gaussian schedules", range=ABOVE_0, is_axis=True)
    ec_gates: str | None = setting(
        None,
        "router=ec: gates by softmax over all experts (pre), over those that chose the token (post), or sigmoid; the "
        "checkpoint's own rule",
        choices=EC_GATES,
        is_axis=True,
    )
    ec_scope: str | None = setting(
        None,
        "router=ec: which positions compete for an expert: sequence, those of a row (also the default), which has to "
        "be said where attention is block-causal, since finished blocks are computed anew then; batch, of all rows, "
        "is for `logits` in Python alone and refused here, since an answer would depend on its batch",
        choices=EC_SCOPES,
        is_axis=True,
    )


ROUTER_SETTINGS: Final = tuple(field.name for field in dataclasses.fields(RouterOptions))


def refuse_routing(config: RouterSettings) -> None:
    """Refuse settings of expert choice without it, or that do not go together. Raises `ValueError`, one line."""
    usual = vars(RouterOptions())
    given = {name: value for name in ROUTER_SETTINGS if (value := getattr(config, name)) != usual[name]}
    if config.router == "tc":
        for name, value in given.items():
            raise ValueError(f"`{name}={value}` is read by router=ec, not by `router=tc`; leave out one of them")
        return
    if config.ec_schedule == STATIC:
        for name in ("ec_k_min", "ec_k_max", "ec_sigma"):
            if name in given:
                raise ValueError(
                    f"`{name}={given[name]}` is of a schedule, and `ec_schedule={STATIC}` has ec_k; set ec_schedule, "
                    f"or leave {name} out"
                )
        return
    _refuse_schedule(config, given)


def refuse_shared_rows(config: RouterSettings, batch_size: int | str | None = 1) -> None:
    """Refuse what would make an answer depend on its batch. Raises `ValueError`, one line.

    Args:
        config: a `DecodingConfig` or `LikelihoodConfig`.
        batch_size: rows of different lengths that are decoded together; None or `auto`: any number.
    """
    if config.ec_scope == "batch":
        raise ValueError(
            "`ec_scope=batch` lets the rows of a batch compete for experts, so that an answer would depend on its "
            "batch: it is for `backbone.routed_by(config).logits` in Python alone; use ec_scope=sequence, or leave it "
            "out"
        )
    if config.router == "ec" and getattr(config, "compat", False) and str(batch_size) != "1":
        raise ValueError(
            "`compat=True` with `router=ec` takes the share of masks of the padded width, so that an answer would "
            "depend on its batch; use batch_size=1, or leave compat out"
        )


def _refuse_schedule(config: RouterSettings, given: dict[str, Any]) -> None:
    schedule = f"`ec_schedule={config.ec_schedule}`"
    if config.ec_k is not None:
        raise ValueError(f"`ec_k={config.ec_k}` is of ec_schedule={STATIC}, not of {schedule}; leave out one of them")
    if config.ec_k_min is None or config.ec_k_max is None:
        raise ValueError(
            f"{schedule} goes from ec_k_min to ec_k_max experts of a token; give both, such as ec_k_min=2, ec_k_max=14 "
            "for 64 experts"
        )
    if config.ec_k_min > config.ec_k_max:
        raise ValueError(
            f"`ec_k_min={config.ec_k_min}` is more than `ec_k_max={config.ec_k_max}`; lower it, or turn the schedule "
            "round (linear, linear_reverse)"
        )
    if "ec_sigma" in given and "gaussian" not in config.ec_schedule:
        raise ValueError(
            f"`ec_sigma={config.ec_sigma:g}` is of the Gaussian schedules, not of {schedule}; leave it out"
        )
    if config.ec_gates == "pre":
        raise ValueError(
            f"`ec_gates=pre` takes one number of experts for all rows, and {schedule} gives each its own; use "
            f"ec_gates=post or ec_gates=sigmoid, or ec_schedule={STATIC}"
        )
