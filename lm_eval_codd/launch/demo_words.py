"""The demo of word problems: a backbone and its circuit at fixed steps, and every other decoder beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lm_eval_codd.demo import packaged
from lm_eval_codd.launch.demo import REFERENCES, Demo, difference, percent
from lm_eval_codd.reporting.cells import BASE, Cell, CellKey, Group
from lm_eval_codd.reporting.decoder_table import against_fixed_steps
from lm_eval_codd.reporting.equivalence import DEFAULT_MARGIN
from lm_eval_codd.reporting.equivalence_table import equivalence_table
from lm_eval_codd.reporting.parallelism import parallelism_table
from lm_eval_codd.reporting.repeated_table import repeated_tables
from lm_eval_codd.reporting.table import Table, who_revises

__all__ = ["DEMO"]

# The demo's answers are one block of 32 tokens; its float16 file is computed in float32, which any machine can.
_COMMON: Final = "model_alias=llada llada_ckpt=demo task=demo gen_length=32 block_length=32 dtype=float32 batch_size=50"
# Fixed numbers of steps, and a decoder that sets its own pace.
_DECODERS: Final = ("num_steps=2,4,8,16,32", "decoder=cad")
# Above 1 the circuit acts at every step, a block's first one included. Chosen on the demo's tuning problems.
_CIRCUIT: Final = "pc_ckpt=none,demo pc_frac=1.1"
# An extension: of the decoders that mask again the best with the circuit, on the tuning problems too.
_EXTENSION: Final = "decoder=open_dllm variant=p2_upgraded num_steps=4,8 pc_ckpt=demo pc_frac=1.1"
# Without a circuit; of each what was best on the tuning problems at 8 steps (scripts/tune_demo.py). Of corrective
# refinement the best threshold: at temperature 0 its linear schedule decodes as open_dllm's p2_upgraded does.
_ALONE: Final = (
    "decoder=cad threshold=0.5,0.8",
    "decoder=p2 eta=2 num_steps=4,8,16",
    "decoder=open_dllm variant=p2_upgraded num_steps=4,8,16",
    "decoder=corrective threshold=0.5 num_steps=4,8,16",
)
# The question put in two other ways: does the circuit help whatever the template?
_TEMPLATES: Final = "num_steps=4 template=wording,marker"
_EXPLANATION: Final = """\
Why 8 steps are worse than 4 for the backbone: the end tokens behind an answer are its surest, so the first steps commit
nothing else; at 8 steps of 4 tokens it is often one too many, which leaves no room for the closing "#### N" (77 of the
107 wrong answers lack it, 24 of 74 at 4 steps, none with the circuit).
Why NFE does not fall below the number of steps: for the same reason the last tokens of the text come in the last step,
and the answer is one block, so its early end saves no step."""


def _points() -> Sequence[str]:
    """By every decoder, and by some with the circuit too, where there is one."""
    swept = [*_DECODERS, *_ALONE, _TEMPLATES]
    if packaged.CIRCUITS["demo"].exists():
        swept = [*(f"{decoder} {_CIRCUIT}" for decoder in _DECODERS), *_ALONE, _EXTENSION, f"{_TEMPLATES} {_CIRCUIT}"]
    return [f"{_COMMON} {decoder}" for decoder in swept]


def _tables(group: Group) -> list[Table]:
    """Fixed steps with and without the circuit (README.md), and the other decoders (docs/decoders.md)."""
    decoders = _decoders_table(group)
    return [_steps_table(group), *([decoders] if decoders.rows else [])]


def _beside(groups: Sequence[Group]) -> list[Table]:
    """What holds over all templates, one figure for each curve, and which claims of no loss hold."""
    of_groups = (parallelism_table(groups[0]), equivalence_table(groups[0], DEFAULT_MARGIN / 100))
    return [*repeated_tables(groups), *(table for table in of_groups if table is not None)]


def _steps_table(group: Group) -> Table:
    """Accuracy of the backbone and of CoDD at each number of steps, and the difference with McNemar's p."""
    (alg, *_), columns = group.rows[0], [c for c in group.columns if c.steps and not c.approximations]
    rows = [
        ["backbone", *(percent(group.cells.get(CellKey(alg, BASE, *column))) for column in columns)],
        ["CoDD", *(percent(group.cells.get(CellKey(alg, "CoDD", *column))) for column in columns)],
        [
            "difference (McNemar's p)",
            *(difference(*(group.cells.get(CellKey(alg, s, *column)) for s in (BASE, "CoDD"))) for column in columns),
        ],
    ]
    header = [f"accuracy in %, n = {_documents(group)}", *(f"{column.steps} steps" for column in columns)]
    return Table(group.title, header, rows, 1)


def _decoders_table(group: Group) -> Table:
    """Every other decoder beside the fixed steps of at least as many network evaluations."""
    rows = []
    for fixed, cell in against_fixed_steps(group):
        name = cell.key.alg if cell.key.system == BASE else f"{cell.key.alg}, {cell.key.system}"
        tokens = None if cell.run is None else cell.run.tokens_per_evaluation
        cost = [f"{_nfe(cell):.1f}", "-" if tokens is None else f"{tokens:.1f}"]
        rows.append([name, percent(cell), *cost, f"{percent(fixed)} at {_nfe(fixed):.0f}", difference(fixed, cell)])
    header = [
        *(f"decoder, n = {_documents(group)}", "accuracy in %", "NFE", "tokens / NFE"),
        *("fixed steps, at NFE", "difference (McNemar's p)"),
    ]
    return Table(f"{group.title}: decoders", header, rows, 1, who_revises(group))


def _documents(group: Group) -> str:
    return ", ".join(map(str, sorted({cell.run.n or 0 for cell in group.cells.values() if cell.run is not None})))


def _nfe(cell: Cell) -> float:
    return 0.0 if cell.run is None or cell.run.nfe is None else cell.run.nfe


DEMO: Final = Demo(
    title="Demo: 300 word problems, a small LLaDA alone and coupled by a circuit",
    points=_points,
    reference=REFERENCES / "reference.yaml",
    tables=_tables,
    beside=_beside,
    example=(
        "pretrained=demo,pc=demo,num_steps=4,pc_frac=1.1",
        "Emma has 17 books. Emma drops 7. How many are left?",
    ),
    explanation=_EXPLANATION,
)
