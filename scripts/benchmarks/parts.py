"""Where a decode's time goes: backbone, head, circuit, coupling, sampling, and Python as the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.roofline import Ceilings, Work, circuit_work, head_work, trunk_work
from benchmarks.stopwatch import REST, Stopwatch
from lm_eval_codd.backbones.backbone import Backbone
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.circuits.posterior import Posterior
from lm_eval_codd.decoding.coupling.sampling import AnyOrder, OneShot
from lm_eval_codd.decoding.decoders.unmasking import Unmasking

if TYPE_CHECKING:
    from benchmarks.model import Shape

BACKBONE, HEAD, CIRCUIT, COUPLING, SAMPLING, PYTHON = "backbone", "lm_head", "circuit", "coupling", "sampling", "python"
MODELS = (BACKBONE, HEAD, CIRCUIT)
_QUERIES = ("sample", "max", "couple_masked", "masked_token_marginals", "observe", "select")


@dataclass
class Parts:
    """Seconds of each part, which add up to the whole, and the work that the models were given.

    `coupling` is what the circuit needs around it: windows, gates, evidence and writing back. `python` is all else: the
    loop, the canvas, the schedule.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, list[Work]] = field(default_factory=lambda: defaultdict(list))

    def share(self, *names: str) -> float:
        """Percent of the whole."""
        return 100 * sum(self.seconds.get(name, 0.0) for name in names) / sum(self.seconds.values())

    def outside_models(self) -> float:
        """Percent of the whole that is neither backbone nor head nor circuit."""
        return 100 - self.share(*MODELS)

    def reached(self, name: str, ceilings: Ceilings) -> float:
        """Percent of the machine's limit that a part reaches."""
        return 100 * sum(map(ceilings.floor, self.work[name])) / self.seconds[name]


@contextmanager
def watched(backbone: Backbone, shape: Shape) -> Iterator[Parts]:
    """Measure what is decoded inside; the parts are there afterwards.

    On a GPU they are read off its own timeline, and nothing waits: a part has what the device spends on it, and its
    idle time until the next part's first kernel.
    """
    parts, stopwatch = Parts(), _Timeline() if backbone.device.type == "cuda" else Stopwatch()
    itemsize = backbone.dtype.itemsize

    def of_trunk(_: Backbone, tokens: Any, attention_mask: Any = None, positions: Any = None, **span: Any) -> Work:
        rows, keys = tokens.shape
        queries = span.get("width") or keys
        asked = queries if positions is None else positions.shape[1]
        return trunk_work(shape, rows, queries, keys, asked, itemsize)

    def of_head(_: Backbone, hidden: Any, out: Any = None) -> Work:
        return head_work(shape, hidden.shape[:-1].numel(), itemsize)

    def of_circuit(circuit: HMM, log_evidence: Any, observed: Any, places: Any = None) -> Work:
        return circuit_work(
            circuit.num_latents,
            circuit.num_positions,
            circuit.vocab_size,
            rows=len(observed),
            masked=len(log_evidence),
            itemsize=circuit.emission.element_size(),
            evidence_itemsize=log_evidence.element_size(),
        )

    def count(part: str, owner: type, name: str, work_of: Callable[..., Work]) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            parts.work[part].append(work_of(*args, **kwargs))
            return function(*args, **kwargs)

        stopwatch.replace(owner, name, counted)
        stopwatch.watch(part, owner, name)

    with stopwatch.running():
        count(BACKBONE, Backbone, "hidden_at", of_trunk)
        count(HEAD, Backbone, "head", of_head)
        count(CIRCUIT, HMM, "evaluate", of_circuit)
        stopwatch.watch(CIRCUIT, Posterior, *_QUERIES)
        stopwatch.watch(COUPLING, OneShot, "decide")
        stopwatch.watch(COUPLING, AnyOrder, "decide")
        stopwatch.watch(SAMPLING, Unmasking, "choose", "_members")
        yield parts
    stopwatch.settle()
    parts.seconds = {PYTHON if name == REST else name: seconds for name, seconds in stopwatch.seconds.items()}


class _Timeline(Stopwatch):
    """Marks the boundaries between parts on the GPU's timeline instead of the host's."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: list[tuple[str, torch.cuda.Event]] = []

    def _turn(self) -> None:
        mark = torch.cuda.Event(enable_timing=True)
        mark.record()
        self._marks.append((self._parts[-1] if self._parts else REST, mark))

    def settle(self) -> None:
        """See `Stopwatch`."""
        torch.cuda.synchronize()
        for (_, before), (part, mark) in pairwise(self._marks):
            self.seconds[part] += before.elapsed_time(mark) / 1e3
