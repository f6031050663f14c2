"""`lm-eval-codd train-circuit`: its flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Final

from lm_eval_codd.files.outputs import check_folder
from lm_eval_codd.terminal.parser import Parser
from lm_eval_codd.training.settings import ML_UPDATES, OBJECTIVES, TrainingConfig

_EXAMPLE: Final = """\
example:
  lm-eval-codd train-circuit --backbone GSAI-ML/LLaDA-8B-Instruct --data openai/gsm8k:main:train \\
      --num_latents 1024 --window 32 --epochs 3 --output circuits/llada-gsm8k

Writes OUTPUT/circuit.safetensors, which `pc=OUTPUT` and --pc_ckpt read, and OUTPUT/training.json."""

_HELP: Final = {
    "backbone": "folder or hub id of the checkpoint whose predictions are coupled",
    "data": "a .jsonl file, or a data set of the hub: NAME[:CONFIG[:SPLIT]]",
    "question_column": "column with the prompt; the tokenizer's chat template is put around it where there is one",
    "answer_column": "column with the answer that is learned",
    "limit": "read only the first N rows",
    "held_out": "rows set aside for the figures",
    "window": "positions of the circuit: the block length to decode with",
    "gen_length": "canvas that answers are filled up to, and cut at (default: each answer's own windows)",
    "objective": "ml: likelihood of the answers; conditional: of masked tokens given the others, with the backbone's "
    "predictions as evidence; both: one after the other",
    "num_latents": "latents of a new circuit",
    "init": "circuit to start from instead of a new one: a file, a folder or a hub id",
    "ml_update": "mini-batch EM, or EM with PyJuice's Anemone step",
    "ml_epochs": "passes of the ml stage",
    "ml_batch_size": "windows in an update of the ml stage; 0 takes all",
    "ml_step_size": "step of an update of the ml stage, above 0 and at most 1",
    "pseudocount": "added to each row of counts in the ml stage, so that tokens the data do not show stay possible",
    "epochs": "passes of the conditional stage (default 1)",
    "steps": "its length in updates, instead of epochs",
    "batch_size": "rows in an update of the conditional stage and in a forward pass",
    "lr": "learning rate of the conditional stage; falls linearly to zero",
    "top_k_evidence": "keep the N most likely tokens of a prediction, spread the rest evenly (default: keep all)",
    "evidence_cache": "folder to keep the backbone's predictions in (default: run it at every step)",
    "evidence_draws": "noisy versions of each row in the cache",
    "save_every": "updates between checkpoints, each with figures on the held-out rows",
    "seed": "of the start, the order and the noise",
    "family": "llada or dream, for a checkpoint of that layout under another name",
    "dtype": "of the backbone (default: as stored)",
    "device": "such as cuda:1 (default: a GPU when there is one)",
    "revision": "branch, tag or commit of the backbone on the hub",
}
_CHOICES: Final = {"objective": OBJECTIVES, "ml_update": ML_UPDATES}


def main(argv: list[str] | None = None) -> int:
    """Train a circuit; the exit status."""
    parser = make_parser(
        "lm-eval-codd train-circuit",
        "Train a circuit that couples a backbone's parallel predictions.",
        _EXAMPLE,
        TrainingConfig,
        helps=_HELP,
        choices=_CHOICES,
        output="folder for the circuit, made when missing",
    )
    given = vars(parser.parse_args(argv))
    output, resume = Path(given.pop("output")).expanduser(), given.pop("resume")
    config = TrainingConfig(**given)
    check_folder("--output", output)

    from lm_eval_codd.training.run import train_circuit
    from lm_eval_codd.training.run_folder import is_finished

    was_finished = is_finished(output)
    report = train_circuit(config, output, resume=resume)
    first, last = report["history"][0], report["figures"]
    print(
        f"held-out log-likelihood per masked token: backbone alone {last['backbone']:.4f}, "
        f"with the circuit {last['coupled']:.4f} (before training {first['coupled']:.4f})"
    )
    done = "finished already, nothing was changed in" if was_finished else "wrote"
    print(f"{done} {output}: {report['circuit']['identity']}")
    return 0


def make_parser(
    prog: str,
    description: str,
    epilog: str,
    config: type,
    *,
    helps: Mapping[str, str],
    choices: Mapping[str, Sequence[str]],
    output: str,
) -> Parser:
    """The flags of a training command: one for each setting, `--output` and `--resume`.

    Args:
        prog: the command.
        description: what it does.
        epilog: an example.
        config: a dataclass of settings.
        helps: by their names.
        choices: of those that have some.
        output: the help of `--output`.
    """
    parser = Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
    )
    for field in fields(config):
        kind = field.type.partition(" | ")[0]
        is_needed = field.default is MISSING
        default = "" if is_needed or field.default is None else f" (default {field.default})"
        parser.add_argument(
            f"--{field.name}",
            type={"int": int, "float": float, "str": str}[kind],
            required=is_needed,
            default=None if is_needed else field.default,
            choices=choices.get(field.name),
            metavar=None if field.name in choices else {"int": "N", "float": "X", "str": "NAME"}[kind],
            help=(helps[field.name] + default).replace("%", "%%"),
        )
    parser.add_argument("--output", required=True, metavar="DIR", help=output)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from OUTPUT's checkpoint, with the same settings",
    )
    return parser
