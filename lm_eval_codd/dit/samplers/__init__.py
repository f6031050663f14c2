"""Ways back from noise, one a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.dit.samplers.analytic import Analytic
from lm_eval_codd.dit.samplers.ancestral import Ancestral
from lm_eval_codd.dit.samplers.psi import Psi

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_eval_codd.dit.processes import Process
    from lm_eval_codd.dit.samplers.predictor import Predictor

PREDICTORS: Final = ("ancestral", "analytic", "psi")
REMOVALS: Final = ("ancestral", "greedy", "none")

_MAKERS: Final[dict[str, Callable[[Any, float], Predictor]]] = {
    "ancestral": Ancestral,
    "analytic": lambda process, p_nucleus: Analytic(process),
    "psi": lambda process, p_nucleus: Psi(process),
}


def make_predictor(name: str, process: Process, p_nucleus: float) -> Predictor:
    """The predictor of a name in `PREDICTORS`; `p_nucleus` is the ancestral one's."""
    return _MAKERS[name](process, p_nucleus)
