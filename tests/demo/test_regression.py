"""The check against the demo's own reference passes as things are, and fails when the circuit is broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_codd.reporting.cli import check_main

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "demo" / "reference.yaml"

# What the launcher runs for a cell of the demo, on the first 100 problems, after a change to the code.
RUN = """
import sys
from lm_eval_codd import harness
{change}
harness.run(sys.argv[1:])
"""
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

CHANGES = {
    "none": "",
    "the gate's comparison is turned around": """
from lm_eval_codd.decoding.coupling import windows
def turned(self, num_masked, length):
    return num_masked / length > self._threshold
windows.Gate.__call__ = turned
""",
    "the circuit is dropped": """
from lm_eval_codd.decoding.coupling import sampling as coupling
coupling.OneShot.decide = coupling.Independent.decide
""",
}


@pytest.mark.parametrize(("change", "status"), list(zip(CHANGES, (0, 1, 1), strict=True)), ids=list(CHANGES))
def test_the_paired_check(change, status, tmp_path, capsys):
    code = RUN.format(change=CHANGES[change])
    subprocess.run([sys.executable, "-c", code, *ARGUMENTS, str(tmp_path)], check=True, cwd=ROOT, capture_output=True)
    assert check_main([str(tmp_path), "--against", str(REFERENCE)]) == status, capsys.readouterr().out
