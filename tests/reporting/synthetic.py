"""Run folders like the launcher's, made from a real one (tests/golden/reporting)."""

import copy
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lm_eval_codd.catalogue import GROUPS
from lm_eval_codd.settings import DecodingConfig, only_read

GOLDEN = Path(__file__).parents[1] / "golden" / "reporting"
REPORTED = {
    "gsm8k": "exact_match,flexible-extract",
    "math500": "math_verify,none",
    "gpqa": "exact_match,flexible-extract",
    "mbpp": "pass_at_1,extract_code",
    "demo": "exact_match,none",
    **dict.fromkeys(GROUPS["coupling"], "correct,none"),
}
ROWS = {"gsm8k": 1319, "math500": 500, "gpqa": 448, "mbpp": 500, "demo": 300, **dict.fromkeys(GROUPS["coupling"], 120)}
STAMP = "2026-11-22T05-33-34.132663"

_RESULTS = json.loads((GOLDEN / "results.json").read_text(encoding="utf-8"))
_RECORD = json.loads((GOLDEN / "run.json").read_text(encoding="utf-8"))
_SAMPLE = json.loads((GOLDEN / "samples.jsonl").read_text(encoding="utf-8").splitlines()[0])


def outcomes(n: int, correct: int, seed: int = 0) -> list[int]:
    """`correct` ones among n, shuffled."""
    values = [1] * correct + [0] * (n - correct)
    random.Random(seed).shuffle(values)
    return values


def write_run(
    results: Path,
    right: Sequence[int],
    *,
    benchmark: str = "gsm8k",
    family: str = "llada",
    alg: str = "low_confidence",
    steps: int = 64,
    circuit: str | None = None,
    name: str | None = None,
    total: int | None = None,
    limit: float | None = None,
    published: bool = True,
    checkpoint: str = "GSAI-ML/LLaDA-8B-Instruct",
    status: str = "finished",
    with_samples: bool = True,
    prompt: str = "Question: {}",
    answer: str = "answer {}",
    doc_ids: Sequence[int] | None = None,
    change: dict | None = None,
    config: dict | None = None,
    **settings,
) -> Path:
    """A run's folder, with its answers' scores in `right`. `change` updates the results, `config` their config."""
    task = f"codd_{benchmark}"
    pc = {k: settings.pop(k) for k in list(settings) if k.startswith("pc_") or k == "reverse_frac"}
    paced = only_read(settings.get("decoder", "unmasking"), {"alg": alg, "num_steps": steps})
    full = asdict(DecodingConfig.for_family(family, **paced, **settings, **(pc if circuit else {})))
    points = "".join(f"_{key}-{value}" for key, value in pc.items())
    name = name or f"{family}_{benchmark}_{alg}_steps{steps}{'_pc' if circuit else ''}{points}"
    folder = results / name
    folder.mkdir(parents=True)
    metric, _, filter_name = REPORTED[benchmark].partition(",")
    n = len(right)

    data = copy.deepcopy(_RESULTS)
    score = {f"{metric},{filter_name}": sum(right) / n, f"{metric}_stderr,{filter_name}": 0.01}
    data["results"] = {task: {"name": task, "alias": task, "sample_len": n, "other,strict": 0.5, **score}}
    of_task = data["configs"].pop("codd_gsm8k")
    of_task["metadata"]["reported"] = REPORTED[benchmark]
    of_task["metadata"]["data"]["is_published_set"] = published
    data["configs"] = {task: of_task}
    data["n-shot"] = {task: 0}
    data["n-samples"] = {task: {"original": total or (ROWS[benchmark] if limit else n), "effective": n}}
    data["config"] |= {
        "model": family if circuit is None else f"codd_{family}",
        "family": family,
        "settings": full,
        "pretrained": checkpoint,
        "pc": circuit,
        "circuit_identity": None if circuit is None else f"sha256:{hashlib.sha256(circuit.encode()).hexdigest()[:24]}",
        "limit": limit,
        "requests": n,
        "nfe": steps * n,
        "mean_nfe": float(steps),
        "circuit_calls": 0 if circuit is None else steps * n // 4,
        "mean_circuit_calls": 0.0 if circuit is None else steps / 4,
        "decoding_seconds": n * steps * (0.046 if circuit else 0.045),
        "alone_on_device": True,
        "model_dtype": "bfloat16",
        "model_max_length": 4096,
        **(config or {}),
    }
    (folder / f"results_{STAMP}.json").write_text(json.dumps(data | (change or {})), encoding="utf-8")

    record = copy.deepcopy(_RECORD)
    record |= {"name": name, "status": status, "task": task, "results": f"results_{STAMP}.json"}
    if status != "finished":
        record["results"] = None
    record["identity"] |= {"family": family, "checkpoint": checkpoint, "task": task, "config": full, "limit": limit}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "log.txt").write_text("a log\n")

    if with_samples:
        lines = _samples(right, metric, filter_name, prompt, answer, doc_ids or range(n))
        (folder / f"samples_{task}_{STAMP}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _samples(right, metric, filter_name, prompt, answer, doc_ids):
    """Two lines a document, as lm-eval writes them: one for each filter. The headline's is the second."""
    for name in ("strict-match", filter_name):
        for doc_id, score in zip(doc_ids, right, strict=True):
            text = prompt.replace("{}", str(doc_id))
            sample = copy.copy(_SAMPLE)
            del sample["exact_match"]
            sample |= {
                "doc_id": doc_id,
                "doc": {"question": text, "filter": "not this one"},
                "arguments": {"gen_args_0": {"arg_0": text, "arg_1": {"until": []}}},
                "target": f"target {doc_id}",
                "resps": [[answer.replace("{}", str(doc_id))]],
                "filtered_resps": [str(doc_id)],
                "filter": name,
                "doc_hash": _sha(f"doc {doc_id}"),
                "prompt_hash": _sha(text),
                "target_hash": _sha(f"target {doc_id}"),
                metric: float(score if name == filter_name else 1 - score),
            }
            yield json.dumps(sample, ensure_ascii=False) + "\n"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
