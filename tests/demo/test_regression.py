"""The check against the demo's own reference passes as things are, and fails when the circuit is broken."""

import os
from pathlib import Path

import pytest

from lm_eval_codd import harness
from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.reporting.cli import check_main
from tests.forked import start

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "demo" / "reference.yaml"

# What the launcher runs for a cell of the demo, on the first 100 problems.
ARGUMENTS = [
    "--model",
    "codd_llada",
    "--tasks",
    "codd_demo",
    "--apply_chat_template",
    "--log_samples",
    "--limit",
    "100",
    "--batch_size",
    "50",
    "--model_args",
    "pretrained=demo,pc=demo,num_steps=8,gen_length=32,pc_frac=1.1,dtype=float32",
    "--output_path",
]


def turn_the_gate():
    from lm_eval_codd.decoding.coupling import windows

    windows.Gate.__call__ = lambda self, num_masked, length: num_masked / length > self._threshold


def drop_the_circuit():
    from lm_eval_codd.decoding.coupling import sampling

    sampling.OneShot.decide = sampling.Independent.decide


def evaluate(change, folder):
    os.chdir(ROOT)
    change()
    harness.run([*ARGUMENTS, str(folder)])


@pytest.mark.parametrize(
    ("change", "status"),
    [(lambda: None, 0), (turn_the_gate, 1), (drop_the_circuit, 1)],
    ids=["none", "the gate's comparison is turned around", "the circuit is dropped"],
)
def test_the_paired_check(change, status, tmp_path, capsys):
    assert CoddLLaDA  # imported here, once for all
    process = start(evaluate, change, tmp_path)
    process.join(120)
    assert process.exitcode == 0
    assert check_main([str(tmp_path), "--against", str(REFERENCE)]) == status, capsys.readouterr().out
