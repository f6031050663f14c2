"""What records of older versions mean: the settings that they lack, and what such settings decode to since.

Results files and run records say in `decoding_version` how many of the changes below their answers already have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lm_eval_codd.settings import DecodingConfig

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """From one version on, some settings decode to other answers.

    Attributes:
        concerns: whether resolved settings, used with a circuit, are among them.
        line: what is to be known of a record from before.
    """

    concerns: Callable[[Settings], bool]
    line: str


def _have_a_best_window(settings: Settings) -> bool:
    return (settings["paradigm"], settings["cache"], settings["pc_windows"]) == ("full", "none", "best")


def _topprob_would_differ(settings: Settings) -> bool:
    draws = settings["temperature"] != 0 or settings["top_p"] is not None or settings["top_k"] is not None
    return settings["alg"] == "low_confidence" and draws and _have_a_best_window(settings)


# In the order in which they came; a new one goes to the end, and its line into CHANGELOG.md.
_OF_CIRCUITS: Final = (
    Change(
        _have_a_best_window,
        "decoded by an older rule: an open gate did not yet hold a step's commits to the best window; measure it again",
    ),
    Change(
        _topprob_would_differ,
        "`topprob` was then another name of `low_confidence`: if that was meant, the answers are not its own",
    ),
)
DECODING_VERSION: Final = len(_OF_CIRCUITS)


def filled_settings(settings: Settings) -> dict[str, Any]:
    """Settings out of a record, with the default of every setting that its version did not have.

    The default is `DecodingConfig`'s own, whatever the family: what a version did without the setting.
    """
    return {**dataclasses.asdict(DecodingConfig()), **settings}


def decodes_otherwise(record: Mapping[str, Any], settings: Settings, *, coupled: bool) -> list[str]:
    """A line for every change since the record that makes such settings decode to other answers.

    Args:
        record: what may say `decoding_version`; the first versions did not.
        settings: of its decode, filled.
        coupled: whether a circuit was used.
    """
    version = record.get("decoding_version")
    since = _OF_CIRCUITS[version if isinstance(version, int) else 0 :]
    return [change.line for change in since if coupled and change.concerns(settings)]
