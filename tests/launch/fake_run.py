"""Stands in for `python -m lm_eval_codd run`: does what FAKE_RUN says for its number of steps, then writes results.

FAKE_RUN is JSON, `{"64": {"fail": 3, "print": "text", "mute": true}}`; a run that is not named succeeds.
`"kill"`: a signal that it sends itself; `"hangs": N`: the first N runs of the folder say so in `hanging.txt` and hang.
`"fill": PATH` takes the disk's room but `"free"` bytes; with `"hush"` results that cannot be written are no error.
`"torn"`: its results lack their end.
With `"answers": N` it makes N answers, a file each in its journal, which it does not make again; one takes `"each": S`
seconds. `computed.txt` gets a line for each that was made. With `"until": PATH` it first waits for that file; with
`"environment": NAMES` it prints these variables. `"shown": PATH`: when its answers are made, it waits for that file.
It ends itself after a quarter of an hour, should nobody else do so.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

signal.alarm(900)
parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--model_args", type=json.loads)
parser.add_argument("--tasks")
parser.add_argument("--output_path", type=Path)
parser.add_argument("--limit", type=float)
args, _ = parser.parse_known_args()

steps = args.model_args["num_steps"]
todo = json.loads(os.environ.get("FAKE_RUN", "{}")).get(str(steps), {})
where = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
with open(args.output_path.parent.parent / "order.txt", "a") as order:
    order.write(f"start {steps} {json.dumps(where)}\n")
print(todo.get("print", "working"), flush=True)
if names := todo.get("environment"):
    print("environment:", *(f"{name}={os.environ.get(name)}" for name in names), flush=True)
if todo.get("grandchild"):
    import subprocess

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (args.output_path.parent / "grandchild.pid").write_text(str(child.pid))
with open(args.output_path.parent.parent / "hanging.txt", "a+") as hanging:
    hanging.seek(0)
    hangs = len(hanging.readlines()) < todo.get("hangs", 0)
    if hangs:
        hanging.write(f"{steps}\n")
while hangs:
    time.sleep(1)
while "until" in todo and not Path(todo["until"]).exists():
    time.sleep(0.02)
if "fill" in todo:
    disk = os.statvfs(args.output_path.parent)
    Path(todo["fill"]).write_bytes(b"\0" * (disk.f_bavail * disk.f_frsize - todo.get("free", 0)))
if "answers" in todo:
    journal, output_dir = Path(args.model_args["journal"]), args.output_path.parent.parent
    journal.mkdir(exist_ok=True)
    for number in range(todo["answers"]):
        answer = journal / f"{number}.txt"
        if not answer.exists():
            time.sleep(todo.get("each", 0))
            answer.with_suffix(".new").write_text(f"answer {number} of {steps}")
            answer.with_suffix(".new").rename(answer)
            with open(output_dir / "computed.txt", "a") as computed:
                computed.write(f"{steps} {number}\n")
        said = {"done": number + 1, "total": todo["answers"], "tokens_per_second": 12.5, "step": 3}
        Path(os.environ["CODD_PROGRESS_FILE"]).write_text(json.dumps(said))
while "shown" in todo and not Path(todo["shown"]).exists():
    time.sleep(0.02)
with open(args.output_path.parent.parent / "order.txt", "a") as order:
    order.write(f"end {steps}\n")
if todo.get("kill"):
    os.kill(os.getpid(), todo["kill"])
if todo.get("fail"):
    sys.exit(todo["fail"])
if not todo.get("mute"):
    scores = {"alias": args.tasks, "exact_match,flexible-extract": 0.5, "exact_match_stderr,flexible-extract": 0.01}
    results = {
        "results": {args.tasks: scores},
        "n-samples": {args.tasks: {"original": 1319, "effective": int(args.limit or 1319)}},
        "configs": {args.tasks: {"metadata": {"reported": "exact_match,flexible-extract"}}},
        "config": {"mean_nfe": steps - 0.5, **todo.get("config", {})},
    }
    stamp = f"2026-01-01T00-00-{time.monotonic_ns()}"
    text = json.dumps(results)
    try:
        (args.output_path.parent / f"results_{stamp}.json").write_text(text[: -9 if todo.get("torn") else None])
        samples = args.output_path.parent / f"samples_{args.tasks}_{stamp}.jsonl"
        samples.write_text("{}\n" * results["n-samples"][args.tasks]["effective"])
    except OSError:
        if not todo.get("hush"):  # as lm-eval, which logs it and ends well
            raise
