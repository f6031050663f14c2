"""`lm-eval-codd gap`: its flags, its table, its plot."""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lm_eval_codd.files.outputs import check_file, write_text
from lm_eval_codd.settings import LikelihoodConfig, RouterOptions, facts_of
from lm_eval_codd.terminal.columns import aligned
from lm_eval_codd.terminal.parser import Parser

if TYPE_CHECKING:
    from lm_eval_codd.gap.measure import Gap

_PICTURES: Final = (".png", ".svg", ".pdf")
_EPILOG: Final = """\
example:
  lm-eval-codd gap --model demo --circuit demo --data answers.jsonl --limit 50 --plot gap.png --suggest"""


def main(argv: list[str] | None = None) -> int:
    """Measure the gap; the exit status."""
    given = _parser().parse_args(argv)
    ratios = _ratios(given.ratios)
    _check(given)
    given.pc_temperature = 1.0 if given.pc_temperature is None else given.pc_temperature
    router = _router(given)

    from lm_eval_codd.backbones import check_routing, load_backbone, load_tokenizer
    from lm_eval_codd.circuits import load_circuit
    from lm_eval_codd.gap.measure import measure
    from lm_eval_codd.training.data import encode, read_pairs

    texts = read_pairs(given.data, given.question_column, given.answer_column, given.limit)
    check_routing(given.model, router, given.family)
    backbone = load_backbone(given.model, given.family, dtype=given.dtype, device=given.device)
    examples = encode(texts, load_tokenizer(given.model, backbone.family), backbone, 1)
    pairs = [(one.prompt, one.answer) for one in examples if len(one.prompt) + len(one.answer) <= backbone.max_length]
    if not pairs:
        raise ValueError(f"`data={given.data}`: no row fits into the model's {backbone.max_length} tokens")
    circuit = load_circuit(given.circuit, device=backbone.device) if given.circuit else None
    gap = measure(
        *(backbone, pairs, ratios, circuit),
        seed=given.seed,
        pc_temperature=given.pc_temperature,
        router=router,
        batch_size=given.batch_size,
    )
    print(f"log-likelihood per masked token in nats, {len(pairs)} answers, with 95 % bands over them")
    print("\n".join(table(gap)))
    if given.suggest:
        print(suggestion(gap))
    if given.json:
        figures = {**asdict(gap), "helps_until": gap.helps_until, "num_answers": len(pairs), "settings": vars(given)}
        write_text(Path(given.json), json.dumps(figures, indent=2) + "\n")
    if given.plot:
        draw(gap, Path(given.plot))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="lm-eval-codd gap",
        description="Log-likelihood per masked token of given answers, against the share that is masked: predicted one "
        "after the other, all at once, and all at once with a circuit.",
        epilog=_EPILOG,
    )
    parser.add_argument("--model", required=True, help="folder or hub id of the checkpoint")
    parser.add_argument("--family", help="of the checkpoint, where its files do not say it")
    parser.add_argument(
        "--data", required=True, metavar="FILE", help="a .jsonl file with a question and an answer on each line"
    )
    parser.add_argument("--circuit", help="a file, a folder or a hub id")
    parser.add_argument(
        "--ratios",
        metavar="X,X",
        default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0",
        help="shares of masked tokens (default: 0.1,0.2, ... 1.0)",
    )
    parser.add_argument("--limit", type=int, help="only the first N rows")
    parser.add_argument("--question_column", default="question", help="column with the prompt (default question)")
    parser.add_argument("--answer_column", default="answer", help="column with the answer (default answer)")
    parser.add_argument("--pc_temperature", type=float, help="of the circuit's evidence (default 1)")
    for field in dataclasses.fields(RouterOptions):
        kind = {"int": int, "float": float}.get(str(field.type).partition(" ")[0], str)
        help = facts_of(field).help
        parser.add_argument(f"--{field.name}", type=kind, default=argparse.SUPPRESS, help=help)
    parser.add_argument("--seed", type=int, default=1234, help="of masks and bands (default 1234)")
    parser.add_argument("--batch_size", type=int, default=32, help="canvases in a pass (default 32)")
    parser.add_argument("--dtype", help="of the weights (default: as stored)")
    parser.add_argument("--device", help="such as cuda:1 (default: a GPU when there is one)")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    parser.add_argument("--plot", metavar="FILE", help="draw to this file, .png, .svg or .pdf")
    parser.add_argument("--suggest", action="store_true", help="name the pc_frac up to which the circuit helps")
    return parser


def _check(given: argparse.Namespace) -> None:
    """Raise `ValueError`, one line, for what is impossible, before anything is loaded or measured."""
    for name in ("json", "plot"):
        if getattr(given, name):
            check_file(f"--{name}", Path(getattr(given, name)))
    if given.plot and Path(given.plot).suffix not in _PICTURES:
        raise ValueError(f"`--plot {given.plot}` must end in one of {', '.join(_PICTURES)}")
    if given.plot and find_spec("matplotlib") is None:
        raise ValueError("plots need matplotlib; pip install matplotlib")
    if given.limit is not None and given.limit < 1:
        raise ValueError(f"`--limit {given.limit}` must be at least 1")
    for name in ("suggest", "pc_temperature"):
        if getattr(given, name) not in (None, False) and not given.circuit:
            raise ValueError(f"`--{name}` is for a circuit; give --circuit, or leave it out")


def table(gap: Gap) -> list[str]:
    """A line for each ratio."""
    kinds = {**gap.means, **({"gain of the circuit": gap.gain} if gap.gain else {})}
    lines = [["masked", *kinds]]
    for row, ratio in enumerate(gap.ratios):
        cells = [means[row] for means in kinds.values()]
        lines.append([f"{ratio:g}", *(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in cells)])
    return aligned(lines)


def suggestion(gap: Gap) -> str:
    """A `pc_frac`, strictly below which the circuit acts, from where its gain is above 0."""
    ratio = gap.helps_until
    if ratio is None:
        return "the circuit's gain is not above 0 within its band at the smallest ratio: no pc_frac is suggested"
    beyond = [other for other in sorted(gap.ratios) if other > ratio]
    if not beyond:
        return "the circuit helps at every ratio: pc_frac=1.1, which always lets it act"
    return f"the circuit helps up to {ratio:g} of the tokens masked, not surely at {beyond[0]:g}: pc_frac={beyond[0]:g}"


def draw(gap: Gap, path: Path) -> None:
    """The plot of Figures 1 and 2 of the paper."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    for kind, means in gap.means.items():
        axes.plot(gap.ratios, [one.value for one in means], marker="o", markersize=3, label=kind)
        axes.fill_between(gap.ratios, [one.low for one in means], [one.high for one in means], alpha=0.2)
    axes.set_xlabel("share of the answer that is masked")
    axes.set_ylabel("log-likelihood per masked token (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _router(given: argparse.Namespace) -> RouterOptions:
    """What the flags say of experts, checked as a likelihood's settings."""
    named = {
        field.name: getattr(given, field.name) for field in dataclasses.fields(RouterOptions) if field.name in given
    }
    LikelihoodConfig(**named)
    return RouterOptions(**named)


def _ratios(text: str) -> list[float]:
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        ratios = []
    if not ratios or not all(0 < ratio <= 1 for ratio in ratios):
        raise ValueError(f"`--ratios {text}` must be shares above 0 and at most 1, separated by commas")
    return sorted(set(ratios))
