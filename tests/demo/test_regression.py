"""The check against the demo's own reference passes as things are, and fails when a circuit or a decoder is broken."""

import os
from pathlib import Path

import pytest

from lm_eval_codd.commands import harness
from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.reporting.cli import check_main
from tests.forked import PATIENCE, start

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "demo" / "reference.yaml"

# What the launcher runs for cells of the demo, but for the number of problems.
ARGUMENTS = "--tasks codd_demo --apply_chat_template --log_samples --batch_size 50 --limit"
CIRCUIT = ("codd_llada", "pc=demo,num_steps=8,pc_frac=1.1", 100)
PLANNED = ("llada", "decoder=p2,num_steps=8,eta=2.0", 60)
CORRECTED = ("llada", "decoder=corrective,num_steps=8,threshold=0.5", 60)


def turn_the_gate():
    from lm_eval_codd.decoding.coupling import windows

    windows.Gate.__call__ = lambda self, num_masked, length: num_masked / length > self._threshold


def drop_the_circuit():
    from lm_eval_codd.decoding.coupling import sampling

    sampling.OneShot.decide = sampling.Independent.decide


def keep_the_least_sure():
    from lm_eval_codd.decoding.decoders import path_planning

    above = path_planning._above_the_cut
    path_planning._above_the_cut = lambda score, step: above(-score, step)


def mask_the_sure_again():
    from lm_eval_codd.decoding.decoders.corrective import Corrective

    unsure = Corrective._unsure
    Corrective._unsure = lambda self, confidence, among, most: among & ~unsure(self, confidence, among, most)


def evaluate(change, cell, folder):
    os.chdir(ROOT)
    change()
    model, settings, limit = cell
    settings = f"pretrained=demo,gen_length=32,dtype=float32,{settings}"
    arguments = [*ARGUMENTS.split(), str(limit), "--model", model, "--model_args", settings]
    harness.run([*arguments, "--output_path", str(folder)])


@pytest.mark.parametrize(
    ("change", "cell", "status"),
    [
        pytest.param(lambda: None, CIRCUIT, 0, id="none"),
        pytest.param(turn_the_gate, CIRCUIT, 1, id="the gate's comparison is turned around"),
        pytest.param(drop_the_circuit, CIRCUIT, 1, id="the circuit is dropped"),
        pytest.param(lambda: None, PLANNED, 0, id="none, p2"),
        pytest.param(keep_the_least_sure, PLANNED, 1, id="p2 keeps what it is least sure of"),
        pytest.param(lambda: None, CORRECTED, 0, id="none, corrective"),
        pytest.param(mask_the_sure_again, CORRECTED, 1, id="corrective masks what is sure"),
    ],
)
def test_the_paired_check(change, cell, status, tmp_path, capsys):
    assert CoddLLaDA  # imported here, once for all
    process = start(evaluate, change, cell, tmp_path)
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert check_main([str(tmp_path), "--against", str(REFERENCE)]) == status, capsys.readouterr().out
