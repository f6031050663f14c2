"""No two runs that were decoded differently share a cell, whatever setting they differ in."""

import dataclasses

import pytest

from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.run import Run
from lm_eval_codd.settings import DECODERS, DecodingConfig, facts_of, reads

VALUES = ("linear", 0.5, 0.25, 1, 2, 64, True, False)
# Without which a setting is not read.
_SCHEDULE = {"router": "ec", "ec_schedule": "bell_gaussian", "ec_k_min": 2, "ec_k_max": 8}
COMPANIONS = {
    "entropy_threshold": {"selection": "entropy"},
    **{name: {"router": "ec"} for name in ("ec_k", "ec_gates", "ec_scope")},
    **{name: _SCHEDULE for name in ("ec_schedule", "ec_k_min", "ec_k_max", "ec_sigma")},
}


def with_another_value(base: DecodingConfig, given: dict, field: dataclasses.Field) -> DecodingConfig:
    """The same with the first value of a setting that can be and is not the one that it has."""
    for value in (*facts_of(field).choices, *VALUES):
        try:
            other = DecodingConfig(**{**given, field.name: value})
        except ValueError:
            continue
        if getattr(other, field.name) != getattr(base, field.name):
            return other
    raise AssertionError(f"no other value is known for {field.name}")


def cells(*configs: DecodingConfig, circuit: str | None) -> int:
    """In how many cells runs with these configurations stand."""
    runs = [
        Run(name=str(n), task="t", metric="m", value=0.5, settings=vars(config), family="llada", circuit=circuit)
        for n, config in enumerate(configs)
    ]
    return sum(len(group.cells) for group in group_runs(runs))


SETTINGS = [
    (decoder, paradigm, field)
    for decoder in DECODERS
    for paradigm in (("block", "full") if reads(decoder, "paradigm") else ("block",))
    for field in dataclasses.fields(DecodingConfig)
    if reads(decoder, field.name)
    and facts_of(field).paradigm in (None, paradigm)
    # Read by it, and refused at every other value than its default; or alone.
    and (decoder, field.name) not in (("block_diffusion", "cfg_scale"), ("block_diffusion", "router"))
    # Told by another one of them, and points of one cell's grid.
    and field.name not in ("decoder", "tokens_per_step", "pc_frac", "pc_temperature")
]


@pytest.mark.parametrize(
    ("decoder", "paradigm", "field"), SETTINGS, ids=[f"{d}-{p}-{field.name}" for d, p, field in SETTINGS]
)
def test_a_setting_that_is_read_gives_another_cell(decoder, paradigm, field):
    given = {"decoder": decoder, "paradigm": paradigm, **COMPANIONS.get(field.name, {})}
    if decoder == "block_diffusion" and "router" in given:
        given["ec_scope"] = "sequence"
    base = DecodingConfig(**given)
    other = with_another_value(base, given, field)
    assert cells(base, other, circuit="pc" if facts_of(field).is_circuits else None) == 2


@pytest.mark.parametrize("name", ["pc_frac", "pc_temperature"])
def test_a_circuits_grid_is_one_cell(name):
    runs = [DecodingConfig(), DecodingConfig(**{name: 0.5})]
    assert cells(*runs, circuit="pc") == 1
