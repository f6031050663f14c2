"""Finished run folders that version 700bfb9 wrote: the demo, 6 documents each (tests/golden/records)."""

import json
import shutil
from pathlib import Path

from lm_eval_codd.runs.make_run import parse_run

FOLDER = Path(__file__).parent / "golden" / "records"
_DEMO = "--model_alias llada --llada_ckpt demo --task demo --gen_length 32 --limit 6"
# The flags that each was started with; the last one decodes otherwise now.
FLAGS = {
    "base": f"{_DEMO} --num_steps 8",
    "circuit": f"{_DEMO} --num_steps 8 --pc_ckpt demo --pc_frac 1.1",
    "threshold": f"{_DEMO} --alg margin --threshold 0.9",
    "sampled": f"{_DEMO} --num_steps 8 --temperature 1 --seed 7",
    "best window": f"{_DEMO} --num_steps 8 --paradigm full --pc_ckpt demo --pc_frac 1.1",
}
_NAMES = {
    "base": "llada_demo_low_confidence_steps8_ckpt-demo_gen_length-32_limit6",
    "circuit": "llada_demo_low_confidence_steps8_ckpt-demo_pc-demo_gen_length-32_pc_frac-1.1_limit6",
    "threshold": "llada_demo_margin_ckpt-demo_gen_length-32_threshold-0.9_limit6",
    "sampled": "llada_demo_low_confidence_steps8_ckpt-demo_gen_length-32_temperature-1_seed-7_limit6",
    "best window": "llada_demo_low_confidence_steps8_ckpt-demo_pc-demo_gen_length-32_paradigm-full_pc_frac-1.1_limit6",
}


def copied(which: str, results: Path) -> Path:
    """A copy of a folder in `results`, as if its checkpoint's files had not been written again since (by a clone)."""
    folder = results / _NAMES[which]
    shutil.copytree(FOLDER / folder.name, folder)
    change(folder / "run.json", lambda record: record.update(fingerprints=parse_run(FLAGS[which]).fingerprints()))
    return folder


def interrupted(folder: Path) -> None:
    """Leave what a run leaves that was stopped after its second answer."""
    for file in [*folder.glob("results_*"), *folder.glob("samples_*")]:
        file.unlink()
    change(folder / "run.json", lambda record: record.update(status="interrupted", results=None))
    (journal,) = (folder / "journal").iterdir()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:40])


def change(path: Path, how) -> None:
    """Rewrite a JSON file as `how` changes its content in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    how(content)
    path.write_text(json.dumps(content), encoding="utf-8")
