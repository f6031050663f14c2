"""What two objectives of the field change in the demo backbone, a few minutes of training each on a CPU.

    OMP_NUM_THREADS=1 python scripts/objectives_study.py --output study

Does the corrective objective tell corrupted tokens apart, and repair more? Does DSCD save CAD forwards at equal
accuracy? A third model, the control, has as many updates on the same rows with masks alone, so that more training is
not taken for what an objective does. Settings are chosen on the demo's `tune` problems, tables are of its `test`
problems; neither is ever trained on. Seeded; a killed run goes on where it was; OUTPUT/figures.json has every item.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

import lm_eval_codd as codd
from lm_eval_codd.backbones import Backbone, load_backbone, load_tokenizer
from lm_eval_codd.demo import load_split
from lm_eval_codd.demo.problems import NAMES, THINGS, training_problems
from lm_eval_codd.reporting.stats import holm, mcnemar
from lm_eval_codd.training.data import Example, encode
from lm_eval_codd.training.fine_tuning import fine_tune
from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BLOCK: Final = 32
ROWS: Final = 13_000
# The control is the corrective objective with nothing replaced: plain denoising, as its authors' own baseline.
MODELS: Final[dict[str, dict[str, Any]]] = {
    "control": {"objective": "corrective", "replaced": 0.0},
    "corrective": {"objective": "corrective"},
    "dscd": {"objective": "dscd"},
}
NUM_CORRUPTED: Final = (1, 3)
ROUNDS: Final = (1, 4)
REMASK_THRESHOLD: Final = 0.9
CAD_THRESHOLDS: Final = (0.5, 0.7, 0.9, 0.95)
CAD_DEFAULT: Final = 0.95
DECODED_AT_ONCE: Final = 50


@dataclass(frozen=True)
class Item:
    """A problem in tokens, and the number asked for."""

    example: Example
    result: str


@dataclass(frozen=True)
class Repair:
    """A corrupted answer and what became of it; a value of `exact` and `right` for each of `ROUNDS`."""

    gap: float
    hit: bool
    exact: list[bool]
    right: list[bool]


def train(output: Path, steps: int, seed: int) -> dict[str, Path]:
    """The folders of the fine-tuned models."""
    data = output / "train.jsonl"
    output.mkdir(parents=True, exist_ok=True)
    if not data.exists():
        problems = itertools.islice(training_problems(seed + 7), ROWS)  # not the seeds of the demo's own training
        rows = [json.dumps({"question": p.question, "answer": p.answer}) for p in problems]
        data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    folders = {name: output / name for name in MODELS}
    shared = {"data": str(data), "gen_length": BLOCK, "steps": steps, "batch_size": 32, "lr": 5e-4, "seed": seed}
    for name, own in MODELS.items():
        fine_tune(FineTuningConfig(model="demo", device="cpu", **shared, **own), folders[name], resume=True)
    return folders


def read_items(split: str, tokenizer: PreTrainedTokenizerFast, backbone: Backbone) -> list[Item]:
    rows = load_split(split)
    examples = encode([(row["question"], row["answer"]) for row in rows], tokenizer, backbone, BLOCK)
    return [Item(e, row["answer"].split("#### ")[-1]) for e, row in zip(examples, rows, strict=True)]


def corrupted(items: Sequence[Item], count: int, tokenizer: PreTrainedTokenizerFast, seed: int) -> list[list[int]]:
    """Each answer with `count` tokens replaced by others of their kind: a number by a number, a name by a name."""
    special = set(tokenizer.all_special_ids)
    ordinary = {token: index for token, index in tokenizer.get_vocab().items() if index not in special}
    kinds: dict[str, list[int]] = {}
    for token, index in sorted(ordinary.items(), key=lambda entry: entry[1]):
        kinds.setdefault(_kind(token), []).append(index)
    kind_of = {index: others for others in kinds.values() for index in others}
    drafts = []
    for number, item in enumerate(items):
        rng = random.Random(f"{seed} {count} {number}")
        draft = list(item.example.answer)
        for place in rng.sample([i for i, token in enumerate(draft) if token not in special], count):
            draft[place] = rng.choice([token for token in kind_of[draft[place]] if token != draft[place]])
        drafts.append(draft)
    return drafts


def repair(backbone: Backbone, items: Sequence[Item], drafts: Sequence[list[int]], is_right: Callable) -> list[Repair]:
    """Score each draft in one forward, and refine it in so many rounds of correction."""
    prompts = [item.example.prompt for item in items]
    refined = []
    for rounds in ROUNDS:
        config = codd.DecodingConfig(decoder="corrective", num_steps=rounds + 1, threshold=REMASK_THRESHOLD)
        refined.append(codd.generate(backbone, prompts, config, drafts=drafts, batch_size=DECODED_AT_ONCE))
    found = []
    for number, (item, draft) in enumerate(zip(items, drafts, strict=True)):
        scores = _scores(backbone, item.example.prompt, draft)
        answer = item.example.answer
        length = answer.index(backbone.eot_id) + 1  # the filler after it is sure, corrupted or not
        wrong = np.array([one != other for one, other in zip(draft, answer, strict=True)])[:length]
        outputs = [generations[number].tokens for generations in refined]
        found.append(
            Repair(
                gap=float(scores[:length][~wrong].mean() - scores[:length][wrong].mean()),
                hit=bool(wrong[scores[:length].argmin()]),
                exact=[tokens == answer for tokens in outputs],
                right=[is_right(tokens, item) for tokens in outputs],
            )
        )
    return found


def decode_by_cad(
    backbone: Backbone, items: Sequence[Item], threshold: float, is_right: Callable
) -> tuple[list[bool], list[int]]:
    """Which answers are right, and how many forwards each took."""
    config = codd.DecodingConfig(decoder="cad", gen_length=BLOCK, block_length=BLOCK, threshold=threshold)
    prompts = [item.example.prompt for item in items]
    outputs = codd.generate(backbone, prompts, config, batch_size=DECODED_AT_ONCE)
    right = [is_right(output.tokens, item) for output, item in zip(outputs, items, strict=True)]
    return right, [output.num_forward for output in outputs]


def correction_study(backbones: dict[str, Backbone], items: Sequence[Item], drafts: dict[int, list], is_right) -> dict:
    found = {
        count: {name: repair(backbones[name], items, drafts[count], is_right) for name in backbones}
        for count in NUM_CORRUPTED
    }
    print("\n| tokens | model | gap | hit@1 |" + "".join(f" exact T{r} | right T{r} |" for r in ROUNDS))
    print("|---:|---|---:|---:|" + "---:|---:|" * len(ROUNDS))
    for count, models in found.items():
        for name, repairs in models.items():
            cells = [f"{np.mean([r.gap for r in repairs]):.3f}", _share(r.hit for r in repairs)]
            for which in range(len(ROUNDS)):
                cells += [_share(r.exact[which] for r in repairs), _share(r.right[which] for r in repairs)]
            print(f"| {count} | {name} | {' | '.join(cells)} |")
    comparisons = []
    for count, models in found.items():
        for other in ("demo", "control"):
            pairs = list(zip(models["corrective"], models[other], strict=True))
            comparisons.append((f"gap, {count}", other, *_signs([a.gap - b.gap for a, b in pairs])))
            for which, rounds in enumerate(ROUNDS):
                differences = [a.exact[which] - b.exact[which] for a, b in pairs]
                comparisons.append((f"exact T{rounds}, {count}", other, *_signs(differences)))
    _print_comparisons("corrective", comparisons)
    return {count: {name: [asdict(r) for r in rs] for name, rs in models.items()} for count, models in found.items()}


def cad_study(
    backbones: dict[str, Backbone], tune: Sequence[Item], test: Sequence[Item], is_right: Callable
) -> dict[str, Any]:
    """CAD at thresholds chosen on `tune`: the fewest forwards at no less accuracy than the demo's at the default."""
    curves = {
        name: {t: decode_by_cad(backbone, tune, t, is_right) for t in CAD_THRESHOLDS}
        for name, backbone in backbones.items()
    }
    print("\n| model | " + " | ".join(f"tune, threshold {t}" for t in CAD_THRESHOLDS) + " |")
    print("|---|" + "---:|" * len(CAD_THRESHOLDS))
    for name, curve in curves.items():
        cells = [f"{_share(right)} in {np.mean(forwards):.2f}" for right, forwards in curve.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    wanted = sum(curves["demo"][CAD_DEFAULT][0])
    chosen = {"demo": CAD_DEFAULT}
    for name, curve in curves.items():
        enough = [t for t, (right, _) in curve.items() if sum(right) >= wanted]
        if name != "demo":
            chosen[name] = min(enough or [CAD_DEFAULT], key=lambda t: float(np.mean(curve[t][1])))
    at_default = {name: decode_by_cad(b, test, CAD_DEFAULT, is_right) for name, b in backbones.items()}
    at_chosen = {name: decode_by_cad(b, test, chosen[name], is_right) for name, b in backbones.items()}
    print("\n| model | threshold | right | forwards | threshold | right | forwards |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in backbones:
        cells = []
        for threshold, (right, forwards) in ((CAD_DEFAULT, at_default[name]), (chosen[name], at_chosen[name])):
            cells += [str(threshold), _share(right), f"{np.mean(forwards):.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    comparisons = []
    for label, results in (("default", at_default), ("chosen", at_chosen)):
        for other in ("demo", "control"):
            (right, forwards), (their_right, their_forwards) = results["dscd"], results[other]
            comparisons.append((f"right, {label}", other, *_signs(np.subtract(right, their_right, dtype=int))))
            comparisons.append((f"forwards, {label}", other, *_signs(np.subtract(forwards, their_forwards))))
    _print_comparisons("dscd", comparisons)
    return {"chosen": chosen, "tune": curves, "test_default": at_default, "test_chosen": at_chosen}


def _print_comparisons(name: str, comparisons: Sequence[tuple[str, str, float, float, float, int, int, float]]) -> None:
    print(f"\n| {name} less | what | mean difference (95 % bootstrap) | above : below | p (sign, Holm) |")
    print("|---|---|---:|---:|---:|")
    adjusted = holm([row[-1] for row in comparisons])
    for (what, other, mean, low, high, above, below, _), p in zip(comparisons, adjusted, strict=True):
        print(f"| {other} | {what} | {mean:+.3f} ({low:+.3f} to {high:+.3f}) | {above} : {below} | {p:.2g} |")


def _signs(differences: Sequence[float] | np.ndarray) -> tuple[float, float, float, int, int, float]:
    """Mean, its paired bootstrap interval, how many items are above and below zero, and the sign test's p.

    Of right and wrong, the sign test is McNemar's.
    """
    values = np.asarray(differences, dtype=float)
    draws = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    above, below = int((values > 0).sum()), int((values < 0).sum())
    return float(values.mean()), float(low), float(high), above, below, mcnemar(above, below)


def _scores(backbone: Backbone, prompt: Sequence[int], draft: Sequence[int]) -> np.ndarray:
    """[L] probability of each token of the draft, the others given, itself too."""
    tokens = torch.tensor([[*prompt, *draft]])
    positions = torch.arange(len(prompt), tokens.shape[1])[None]
    probabilities = backbone.logits(tokens, positions=positions).float().softmax(-1)
    return probabilities[0].gather(1, torch.tensor(draft)[:, None])[:, 0].numpy()


def _kind(token: str) -> str:
    if token.isdigit():
        return "number"
    return next((name for name, of in (("sign", "+-*"), ("name", NAMES), ("thing", THINGS)) if token in of), "word")


def _share(values) -> str:
    return f"{100 * np.mean(list(values)):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the models and figures.json")
    parser.add_argument("--steps", type=int, default=400, help="updates of each model (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="of rows, training and corruptions (default 0)")
    options = parser.parse_args()
    folders = train(options.output, options.steps, options.seed)
    backbones = {name: load_backbone(path, device="cpu") for name, path in {"demo": "demo", **folders}.items()}
    tokenizer = load_tokenizer("demo")
    tune, test = (read_items(split, tokenizer, backbones["demo"]) for split in ("tune", "test"))

    def is_right(tokens: list[int], item: Item) -> bool:
        found = re.search(r"#### (\d+)", tokenizer.decode(tokens, skip_special_tokens=True))
        return found is not None and found[1] == item.result

    drafts = {count: corrupted(test, count, tokenizer, options.seed) for count in NUM_CORRUPTED}
    corrective = {name: backbones[name] for name in ("demo", "control", "corrective")}
    figures = {"steps": options.steps, "seed": options.seed}
    figures["correction"] = correction_study(corrective, test, drafts, is_right)
    distilled = {name: backbones[name] for name in ("demo", "control", "dscd")}
    figures["cad"] = cad_study(distilled, tune, test, is_right)
    (options.output / "figures.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
