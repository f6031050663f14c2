"""Tables of runs under several templates or with several seeds: who is ahead where, and what holds over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lm_eval_codd.reporting.cells import BASE
from lm_eval_codd.reporting.clustered import Estimate, clustered_mean
from lm_eval_codd.reporting.pairs import LEVEL
from lm_eval_codd.reporting.repeated import AXES, Family, Method, Versus, compare, families, ranks
from lm_eval_codd.reporting.samples import read_outcomes
from lm_eval_codd.reporting.stats import holm
from lm_eval_codd.reporting.table import MISSING, Footnotes, Table, interval, legend_of, percent, points, probability

if TYPE_CHECKING:
    from lm_eval_codd.reporting.cells import Group

__all__ = ["method_name", "place_of", "ranking", "repeated_tables"]

_LEGEND: Final = (
    "each figure is of one {axis}, over the same items and prompts; over all: the mean difference in points, an item's "
    "differences over the {axes} being one cluster; seen from: the smallest mean difference that could have been "
    "significant (p < {level:g}) with items that vary as these do; nothing here is said of other {axes}"
)


def repeated_tables(groups: Sequence[Group]) -> Iterator[Table]:
    """For each family of runs: what every method scores under each value, with its rank; then every comparison."""
    for family in families(groups):
        yield _scores(family)
        if found := compare(family):
            yield _comparisons(family, found)


def ranking(family: Family) -> str:
    """Whether the ranking is one and the same: `3 different rankings over 5 templates`."""
    of_values = ranks(family)
    different = {tuple(sorted(places.items())) for places in of_values.values()}
    plural = AXES[family.axis][1]
    if len(different) == 1:
        return f"the ranking is the same under all {len(family.values)} {plural}"
    return f"{len(different)} different rankings over {len(family.values)} {plural}"


def method_name(family: Family, method: Method) -> str:
    """Rule and system, without what all methods of the family share."""
    rules, systems = ({of[place] for of in family.runs} for place in (0, 1))
    parts = [part for part, all_of in zip(method, (rules, systems), strict=True) if len(all_of) > 1]
    return ", ".join(parts or [method[1]])


def _scores(family: Family) -> Table:
    places = ranks(family)
    rows = []
    for method, runs in family.runs.items():
        cells = [f"{percent(runs[value])} ({places[value][method]})" for value in family.values]
        rows.append([*method, *cells, _mean(family, method), _spread(family, method)])
    axis, axes = family.axis, AXES[family.axis][1]
    header = ["rule", "system", *(f"{axis} {value}" for value in family.values), "mean", "from worst to best"]
    title = f"{family.title}: {place_of(family)}, accuracy in percent by {axis} (rank)"
    legend = [
        *legend_of([family.column]),
        ranking(family),
        *family.remarks,
        f"mean: over all {axes}, ± its standard error clustered by document",
    ]
    return Table(title, header, rows, 2, legend)


def _comparisons(family: Family, found: Sequence[Versus]) -> Table:
    notes, axis, axes = Footnotes(), family.axis, AXES[family.axis][1]
    adjusted = iter(holm([versus.over_all.p for versus in found if versus.over_all is not None]))
    rows, answers = [], []
    for versus in found:
        first, second = _names(versus)
        each = [_difference(versus.differences[value], notes) for value in family.values]
        row = [f"{second} over {first}", f"{versus.wins} of {len(family.values)}", *each]
        over_all, asked = versus.over_all, f"{second} beats {first}"
        if over_all is None:
            rows.append([*row, *[MISSING] * 5])
            answer = f"cannot tell whether {asked}: not under all {axes} could they be compared"
        else:
            p = next(adjusted)
            within = interval(*over_all.interval())
            seen_from = MISSING if (least := over_all.seen_from(LEVEL)) is None else f"{100 * least:.2f}"
            tests = [probability(over_all.p), probability(p)]
            rows.append([*row, points(over_all.mean), within, seen_from, *tests])
            answer = _answer(asked, over_all, p, versus.wins == len(family.values), seen_from)
            in_brackets = "" if within == MISSING else f" ({within})"
            answer += f": {points(over_all.mean)} points over all{in_brackets}, ahead in {row[1]} {axes}"
        if len(found) == 1 or (versus.first[0] == versus.second[0] and BASE in (versus.first[1], versus.second[1])):
            answers.append(answer)
    header = ["ahead", f"in {axes}", *(f"{axis} {value}" for value in family.values)]
    header += ["over all", "95% interval", "seen from", "p", "p (Holm)"]
    title = f"{family.title}: {place_of(family)}, does it hold whatever the {axis}? Differences in points"
    legend = _LEGEND.format(axis=axis, axes=axes, level=LEVEL)
    return Table(title, header, rows, 1, [*legend_of([family.column]), *answers, legend, *notes.lines()])


def _answer(asked: str, over_all: Estimate, p: float, is_ahead_in_each: bool, seen_from: str) -> str:
    """The title's question answered in a sentence, of a comparison whose p is Holm's."""
    if p >= LEVEL and seen_from == MISSING:
        documents = "1 document" if over_all.clusters == 1 else f"{over_all.clusters} documents"
        return f"cannot tell whether {asked} from {documents}{'' if over_all.mean else ' that score alike'}"
    if p >= LEVEL:
        return f"cannot tell whether {asked}, where a difference from {seen_from} on would have been significant"
    if over_all.mean < 0:
        return f"no, the other way round than {asked}"
    return f"yes, {asked} under each" if is_ahead_in_each else f"over all, but not under each, {asked}"


def _names(versus: Versus) -> tuple[str, str]:
    """What the two differ in: the systems of one rule, or the rules of one system, each named with what they share."""
    (rule, system), (other_rule, other_system) = versus.first, versus.second
    if rule == other_rule:
        return system, f"{other_system} ({rule})"
    return rule, f"{other_rule} ({system})"


def _difference(found: Estimate | str, notes: Footnotes) -> str:
    if isinstance(found, str):
        return notes.mark(MISSING, [f"no difference: {found}"])
    return points(found.mean)


def place_of(family: Family) -> str:
    """`gsm8k, 64 steps`."""
    schedule = family.column.schedule
    return f"{family.column.benchmark}, {schedule}{' steps' if schedule.isdecimal() else ''}"


def _mean(family: Family, method: Method) -> str:
    """`71.30 ± 1.90`: over all values of the axis, clustered by document."""
    clusters: dict[tuple[int, str], list[float]] = {}
    for value in family.values:
        try:
            outcomes = read_outcomes(family.runs[method][value])
        except ValueError:
            return MISSING
        for key, score in outcomes.items():
            clusters.setdefault((key.doc_id, key.doc_hash), []).append(score)
    found = clustered_mean(clusters.values())
    return f"{100 * found.mean:.2f}" + (f" ± {100 * found.stderr:.2f}" if found.clusters > 1 else "")


def _spread(family: Family, method: Method) -> str:
    scores = [family.runs[method][value].score_of_task for value in family.values]
    return points(max(scores) - min(scores))
