"""Settings of a decode: names, defaults of each family, and what is allowed.

Everything here is checked when a `DecodingConfig` is built, before a checkpoint is opened, so that an impossible
setting costs a user one line and no download. Nothing here imports torch: the launcher checks its runs with it too.
"""

from lm_eval_codd.settings.config import (
    FAMILIES,
    FAMILY_DEFAULTS,
    RULE_IF_BLOCKS,
    SCORE_WHAT_IS_DRAWN,
    SHIFTED,
    DecodingConfig,
    Family,
    usual_decoder,
)
from lm_eval_codd.settings.decoders import DECODERS, REVISING, TILED, DecoderFacts, only_read, reads
from lm_eval_codd.settings.decoding_fields import ALGS, CIRCUIT_SETTINGS, DEFAULT_NUM_STEPS, PARADIGMS, PC_SAMPLING
from lm_eval_codd.settings.derived import (
    approximations_of,
    departures_of,
    extensions_of,
    routing_of,
    rule_of,
    steps_follow_confidence,
)
from lm_eval_codd.settings.dit import DiTSettings
from lm_eval_codd.settings.fields import either, facts_of, unknown_value
from lm_eval_codd.settings.likelihood import (
    ESTIMATORS,
    LONGEST_EXACT,
    LOWER_BOUND,
    ONLY_LIKELIHOODS,
    READ_BY_LIKELIHOODS,
    SHARED_WITH_DECODING,
    LikelihoodConfig,
    targets_with_mask,
)
from lm_eval_codd.settings.refusals import refuse_attention
from lm_eval_codd.settings.routing import (
    EC_GATES,
    EC_SCHEDULES,
    ROUTER_SETTINGS,
    STATIC,
    RouterOptions,
    RouterSettings,
    refuse_shared_rows,
)

__all__ = [
    "ALGS",
    "CIRCUIT_SETTINGS",
    "DECODERS",
    "DEFAULT_NUM_STEPS",
    "EC_GATES",
    "EC_SCHEDULES",
    "ESTIMATORS",
    "FAMILIES",
    "FAMILY_DEFAULTS",
    "LONGEST_EXACT",
    "LOWER_BOUND",
    "ONLY_LIKELIHOODS",
    "PARADIGMS",
    "PC_SAMPLING",
    "READ_BY_LIKELIHOODS",
    "REVISING",
    "ROUTER_SETTINGS",
    "RULE_IF_BLOCKS",
    "SCORE_WHAT_IS_DRAWN",
    "SHARED_WITH_DECODING",
    "SHIFTED",
    "STATIC",
    "TILED",
    "DecoderFacts",
    "DecodingConfig",
    "DiTSettings",
    "Family",
    "LikelihoodConfig",
    "RouterOptions",
    "RouterSettings",
    "approximations_of",
    "departures_of",
    "either",
    "extensions_of",
    "facts_of",
    "only_read",
    "reads",
    "refuse_attention",
    "refuse_shared_rows",
    "routing_of",
    "rule_of",
    "steps_follow_confidence",
    "targets_with_mask",
    "unknown_value",
    "usual_decoder",
]
