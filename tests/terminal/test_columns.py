"""Tables of plain text."""

from lm_eval_codd.terminal.columns import aligned


def test_columns_stand_below_each_other_without_blanks_at_the_end():
    lines = [("run", "value", "note"), ("a long name", "7", ""), ("b", "12.5", "busy")]
    assert aligned(lines, right=[1], rule=True) == [
        "run          value  note",
        "-----------  -----  ----",
        "a long name      7",
        "b             12.5  busy",
    ]
