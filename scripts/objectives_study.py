"""What two objectives of the field change in the demo backbone, a few minutes of training each on a CPU.

    OMP_NUM_THREADS=1 python scripts/objectives_study.py --output study

Does the corrective objective tell corrupted tokens apart, and repair more? Does DSCD save CAD forwards at equal
accuracy? A third model, the control, has as many updates on the same rows with masks alone, so that more training is
not taken for what an objective does. Settings are chosen on the demo's `tune` problems, tables are of its `test`
problems; neither is ever trained on. Seeded; a killed run goes on where it was; OUTPUT/correction.json
and OUTPUT/cad.json have every item.
"""

from __future__ import annotations

import argparse
import itertools
import json
import operator
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
from lm_eval_codd.demo.problems import (
    NAMES,
    PHRASINGS,
    STORIES,
    THINGS,
    Problem,
    held_out_problems,
    training_problems,
)
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
REMASK_THRESHOLDS: Final = (0.05, 0.1, 0.3, 0.7, 0.9)
REMASK_DEFAULT: Final = 0.9
CAD_THRESHOLDS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CAD_DEFAULT: Final = 0.95
# How much less of `tune` may be right at what is called equal accuracy: 3 of its 300 problems.
EQUAL: Final = 0.01
# Refinements take longer, so that their thresholds are chosen on a part of `tune`.
REFINED_TO_TUNE: Final = 150
DECODED_AT_ONCE: Final = 50
# Each question, and the models that answer it.
PARTS: Final = {"correction": ("demo", "control", "corrective"), "cad": ("demo", "control", "dscd")}
SIGNS: Final = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclass(frozen=True)
class Item:
    """A problem in tokens: prompt and answer, every answer that is right in a phrasing of the demo's, the number."""

    example: Example
    whole: list[list[int]]
    result: str


@dataclass(frozen=True)
class Outcome:
    """Of a decoded answer: whether it is a right one word for word, whether its number is right; its NFE."""

    whole: bool
    right: bool
    forwards: int


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
    problems = held_out_problems()[split]
    texts = [[problem.answer, *right_answers(problem)] for problem in problems]
    pairs = [(problem.question, text) for problem, some in zip(problems, texts, strict=True) for text in some]
    examples = iter(encode(pairs, tokenizer, backbone, BLOCK))
    items = []
    for problem, some in zip(problems, texts, strict=True):
        shipped, *others = itertools.islice(examples, len(some))
        items.append(Item(shipped, [example.answer for example in others], str(problem.result)))
    return items


def right_answers(problem: Problem) -> list[str]:
    """The answer in each of the demo's phrasings."""
    which, a, b, c = problem.numbers
    story = STORIES[which]
    words = {"name": problem.question.split()[0], "first": story.first, "second": story.second}
    words["things"] = next(thing for thing in THINGS if thing in problem.question)
    numbers = {"a": a, "b": b, "c": c, "m": SIGNS[story.first](a, b), "n": problem.result}
    return [phrasing.format(**words, **numbers) for phrasing in PHRASINGS]


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


def tell_apart(
    backbone: Backbone, items: Sequence[Item], drafts: Sequence[list[int]]
) -> tuple[list[float], list[bool]]:
    """From one forward a draft, how much surer clean tokens are, and whether the least sure one is corrupted.

    The filler behind the answer is not looked at.
    """
    gaps, hits = [], []
    for item, draft in zip(items, drafts, strict=True):
        length = item.example.answer.index(backbone.eot_id) + 1
        scores = _scores(backbone, item.example.prompt, draft)[:length]
        wrong = np.array([one != other for one, other in zip(draft, item.example.answer, strict=True)])[:length]
        gaps.append(float(scores[~wrong].mean() - scores[wrong].mean()))
        hits.append(bool(wrong[scores.argmin()]))
    return gaps, hits


def decode(
    backbone: Backbone,
    items: Sequence[Item],
    tokenizer: PreTrainedTokenizerFast,
    config: codd.DecodingConfig,
    drafts: Sequence[list[int]] | None = None,
) -> list[Outcome]:
    prompts = [item.example.prompt for item in items]
    outputs = codd.generate(backbone, prompts, config, drafts=drafts, batch_size=DECODED_AT_ONCE)
    outcomes = []
    for output, item in zip(outputs, items, strict=True):
        number = re.search(r"#### (\d+)", tokenizer.decode(output.tokens, skip_special_tokens=True))
        is_right = number is not None and number[1] == item.result
        outcomes.append(Outcome(output.tokens in item.whole, is_right, output.num_forward))
    return outcomes


def refining(rounds: int, threshold: float) -> codd.DecodingConfig:
    return codd.DecodingConfig(decoder="corrective", num_steps=rounds + 1, threshold=threshold)


def cad(threshold: float) -> codd.DecodingConfig:
    return codd.DecodingConfig(decoder="cad", gen_length=BLOCK, block_length=BLOCK, threshold=threshold)


def correction_study(
    backbones: dict[str, Backbone],
    tune: Sequence[Item],
    test: Sequence[Item],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
) -> dict[str, Any]:
    """Refinement of one round and of four, at the default threshold and at each model's best one on `tune`."""
    some = corrupted(tune, 1, tokenizer, seed)
    chosen = {}
    for rounds in ROUNDS:
        curves = {
            name: {t: decode(b, tune, tokenizer, refining(rounds, t), some) for t in REMASK_THRESHOLDS}
            for name, b in backbones.items()
        }
        _show_curves(f"tune, T{rounds}", curves, lambda outcomes: _share(o.whole for o in outcomes))
        for name, curve in curves.items():
            chosen[name, rounds] = max(curve, key=lambda t, c=curve: sum(o.whole for o in c[t]))
    columns = [(rounds, at) for rounds in ROUNDS for at in ("default", "chosen")]
    print("\n| tokens | model | gap | hit@1 |" + "".join(f" T{r}, {at} | whole | right |" for r, at in columns))
    print("|---:|---|---:|---:|" + "---:|" * 3 * len(columns))
    comparisons, kept = [], {}
    for count in NUM_CORRUPTED:
        drafts = corrupted(test, count, tokenizer, seed)
        told = {name: tell_apart(b, test, drafts) for name, b in backbones.items()}
        found: dict[str, list[list[Outcome]]] = {}
        for name, (gaps, hits) in told.items():
            cells, found[name] = [f"{np.mean(gaps):.3f}", _share(hits)], []
            for rounds, at in columns:
                threshold = REMASK_DEFAULT if at == "default" else chosen[name, rounds]
                outcomes = decode(backbones[name], test, tokenizer, refining(rounds, threshold), drafts)
                cells += [str(threshold), _share(o.whole for o in outcomes), _share(o.right for o in outcomes)]
                found[name].append(outcomes)
            print(f"| {count} | {name} | {' | '.join(cells)} |", flush=True)
        for other in ("demo", "control"):
            for what, which in (("gap", 0), ("hit@1", 1)):
                differences = np.subtract(told["corrective"][which], told[other][which], dtype=float)
                comparisons.append((f"{what}, {count}", other, *_signs(differences)))
            for which, (rounds, at) in enumerate(columns):
                pairs = zip(found["corrective"][which], found[other][which], strict=True)
                differences = [a.whole - b.whole for a, b in pairs]
                comparisons.append((f"whole, T{rounds} {at}, {count}", other, *_signs(differences)))
        outcomes = {name: [[asdict(o) for o in each] for each in all_of_it] for name, all_of_it in found.items()}
        kept[count] = {"told": told, "refined": outcomes}
    _show_comparisons("corrective", comparisons)
    return {"chosen": [[*key, threshold] for key, threshold in chosen.items()], "test": kept}


def cad_study(
    backbones: dict[str, Backbone], tune: Sequence[Item], test: Sequence[Item], tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """CAD at the default threshold, and at the fastest on `tune` that is as accurate as the demo at the default."""
    curves = {name: {t: decode(b, tune, tokenizer, cad(t)) for t in CAD_THRESHOLDS} for name, b in backbones.items()}
    _show_curves(
        "tune", curves, lambda found: f"{_share(o.right for o in found)} in {np.mean([o.forwards for o in found]):.2f}"
    )
    wanted = sum(o.right for o in curves["demo"][CAD_DEFAULT]) - EQUAL * len(tune)
    chosen = {}
    for name, curve in curves.items():
        enough = [t for t, found in curve.items() if sum(o.right for o in found) >= wanted]
        chosen[name] = min(enough or [CAD_DEFAULT], key=lambda t, c=curve: sum(o.forwards for o in c[t]))
    found = {
        name: [decode(b, test, tokenizer, cad(t)) for t in (CAD_DEFAULT, chosen[name])] for name, b in backbones.items()
    }
    print("\n| model | threshold | right | whole | forwards | threshold | right | whole | forwards |")
    print("|---|" + "---:|" * 8)
    for name in backbones:
        cells = []
        for threshold, outcomes in zip((CAD_DEFAULT, chosen[name]), found[name], strict=True):
            cells += [str(threshold), _share(o.right for o in outcomes), _share(o.whole for o in outcomes)]
            cells.append(f"{np.mean([o.forwards for o in outcomes]):.2f}")
        print(f"| {name} | {' | '.join(cells)} |")
    comparisons = []
    for which, label in enumerate(("default", "chosen")):
        for other in ("demo", "control"):
            pairs = list(zip(found["dscd"][which], found[other][which], strict=True))
            for what in ("right", "forwards"):
                differences = [getattr(a, what) - getattr(b, what) for a, b in pairs]
                comparisons.append((f"{what}, {label}", other, *_signs(differences)))
    _show_comparisons("dscd", comparisons)
    return {
        "chosen": chosen,
        "test": {name: [[asdict(o) for o in each] for each in both] for name, both in found.items()},
    }


def _show_curves(
    head: str, curves: dict[str, dict[float, list[Outcome]]], cell: Callable[[list[Outcome]], str]
) -> None:
    thresholds = next(iter(curves.values()))
    print(f"\n| {head} | " + " | ".join(f"threshold {t}" for t in thresholds) + " |")
    print("|---|" + "---:|" * len(thresholds))
    for name, curve in curves.items():
        print(f"| {name} | {' | '.join(map(cell, curve.values()))} |", flush=True)


def _show_comparisons(name: str, comparisons: Sequence[tuple[str, str, float, float, float, int, int, float]]) -> None:
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
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="which question; both without a name")
    parser.add_argument("--output", type=Path, required=True, help="folder for the models and the figures")
    parser.add_argument("--steps", type=int, default=400, help="updates of each model (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="of rows, training and corruptions (default 0)")
    options = parser.parse_args()
    folders = train(options.output, options.steps, options.seed)
    backbones = {name: load_backbone(path, device="cpu") for name, path in {"demo": "demo", **folders}.items()}
    tokenizer = load_tokenizer("demo")
    tune, test = (read_items(split, tokenizer, backbones["demo"]) for split in ("tune", "test"))
    for part in options.part or PARTS:
        some = {name: backbones[name] for name in PARTS[part]}
        if part == "correction":
            figures = correction_study(some, tune[:REFINED_TO_TUNE], test, tokenizer, options.seed)
        else:
            figures = cad_study(some, tune, test, tokenizer)
        said = {"steps": options.steps, "seed": options.seed, **figures}
        (options.output / f"{part}.json").write_text(json.dumps(said) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
