"""What a setup says of what its kind of models lacks (`record.Setup`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval_codd.backbones.experts.tally import RoutingTotals

if TYPE_CHECKING:
    from lm_eval_codd.models.likelihood_record import LikelihoodTotals


class Unrouted:
    """Of models without experts that choose tokens."""

    @property
    def is_routed(self) -> bool:
        """See `Setup`."""
        return False

    def take_routing(self) -> RoutingTotals:
        """See `Setup`."""
        return RoutingTotals()


class Unscored:
    """Of models without log-likelihoods."""

    def likelihoods_as_result(self, likelihoods: LikelihoodTotals) -> dict[str, Any]:
        """See `Setup`."""
        return {}
