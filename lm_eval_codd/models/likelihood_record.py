"""What a result says of log-likelihoods: settings, what the values are, counts, warnings."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval_codd.settings import targets_with_mask

if TYPE_CHECKING:
    from lm_eval_codd.likelihood import Likelihood
    from lm_eval_codd.models.journal import Kept
    from lm_eval_codd.settings import LikelihoodConfig


@dataclass
class LikelihoodTotals:
    """Counts over the likelihoods of a run, computed now or journalled before (not those out of `--use_cache`).

    Attributes:
        likelihoods: targets; those that several requests share are counted once, windows of a text each.
        journalled: those of them that were in the journal already.
        journalled_elsewhere: those of these that were made on other hardware or with other versions.
        truncated_contexts: contexts that lost their left end.
        tokens: of all targets.
        nfe: canvases that the network saw, counted for each target.
        circuit_calls: windows that the circuit evaluated.
        impossible_evidence: those of them where it ruled out all evidence and the backbone spoke alone.
        nonfinite: values that are no number to compare with.
        with_stderr: values with a standard error.
        squared_stderr: their variances, added up.
        with_mask: by task, the targets that hold the mask token; one that tasks share counts in each.
        seconds: wall time inside of the network and the circuit.
    """

    likelihoods: int = 0
    journalled: int = 0
    journalled_elsewhere: int = 0
    truncated_contexts: int = 0
    tokens: int = 0
    nfe: int = 0
    circuit_calls: int = 0
    impossible_evidence: int = 0
    nonfinite: int = 0
    with_stderr: int = 0
    squared_stderr: float = 0.0
    with_mask: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def add(self, scored: Kept[Likelihood], num_tokens: int, *, journalled: bool = False) -> None:
        """Count one likelihood."""
        likelihood = scored.result
        self.likelihoods += 1
        self.journalled += journalled
        self.journalled_elsewhere += journalled and scored.made_elsewhere
        self.tokens += num_tokens
        self.nfe += likelihood.num_forward
        self.circuit_calls += likelihood.num_circuit
        self.impossible_evidence += likelihood.num_impossible
        self.nonfinite += not math.isfinite(likelihood.value)
        if likelihood.stderr is not None and math.isfinite(likelihood.stderr):
            self.with_stderr += 1
            self.squared_stderr += likelihood.stderr**2
        self.seconds += scored.seconds

    def note_mask(self, task: str) -> None:
        """Count a target of a task that holds the mask token."""
        self.with_mask[task] = self.with_mask.get(task, 0) + 1

    @classmethod
    def over_ranks(cls, parts: Iterable[LikelihoodTotals]) -> LikelihoodTotals:
        """Every rank's counts, added up; the ranks work side by side, so the time is the slowest one's."""
        parts = list(parts)
        names = [field.name for field in dataclasses.fields(cls) if field.name not in ("with_mask", "seconds")]
        with_mask: Counter[str] = Counter()
        for part in parts:
            with_mask.update(part.with_mask)
        return cls(
            **{name: sum(getattr(part, name) for part in parts) for name in names},
            with_mask=dict(with_mask),
            seconds=max(part.seconds for part in parts),
        )

    def as_result(self, what: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """For lm-eval's results file.

        Args:
            what: the values are.
            settings: they were computed with.
        """
        counts = dataclasses.asdict(self)
        with_stderr, squared = counts.pop("with_stderr"), counts.pop("squared_stderr")
        return {
            "what": what,
            # Only where a metric reads it, unless somebody asked.
            "settings": {name: value for name, value in settings.items() if name != "is_greedy"},
            **counts,
            "seconds": round(self.seconds, 3),
            "mean_nfe": round(self.nfe / max(1, self.likelihoods), 3),
            "root_mean_square_stderr": round(math.sqrt(squared / with_stderr), 5) if with_stderr else None,
        }

    def warnings(self, config: LikelihoodConfig | None, mask_id: int | None) -> Iterator[str]:
        """What is to be known beside the figures.

        Args:
            config: of the log-likelihoods, where a circuit takes part in them.
            mask_id: of the model, where it has one.
        """
        if self.with_mask:
            tasks = ", ".join(f"{task} ({number})" for task, number in self.with_mask.items())
            yield targets_with_mask(sum(self.with_mask.values()), mask_id, f": {tasks}")
        if self.truncated_contexts:
            yield f"{self.truncated_contexts} contexts lost their left end, so that context and target fit the model"
        if self.nonfinite:
            yield (
                f"{self.nonfinite} of {self.likelihoods} log-likelihoods are not finite: tokens that the model or the "
                "circuit rules out, or logits that are no numbers (try `dtype=float32`)"
            )
        if config is not None and self.likelihoods and not self.circuit_calls:
            yield (
                f"the circuit never acted on log-likelihoods: no window had its share of masks "
                f"{'above' if config.reverse_frac else 'below'} `pc_frac={config.pc_frac:g}`"
            )
        if self.impossible_evidence:
            yield (
                f"in {self.impossible_evidence} of {self.circuit_calls} evaluations of log-likelihoods the circuit "
                "ruled out everything that the backbone allowed, and the backbone spoke alone"
            )
        if self.journalled_elsewhere:
            yield (
                f"{self.journalled_elsewhere} of {self.likelihoods} log-likelihoods come out of a journal and were "
                "made on other hardware or with other versions of torch or transformers; its files say which"
            )
