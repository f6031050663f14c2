"""The flags of the launcher's command line, and its help."""

from __future__ import annotations

from typing import Final

from lm_eval_codd.launch.demos import DEMOS
from lm_eval_codd.launch.slurm.start import FLAGS as SLURM_FLAGS
from lm_eval_codd.runs.flags import Flag, format_help, help_width
from lm_eval_codd.runs.paper import SELECT
from lm_eval_codd.runs.run_flags import GROUPS
from lm_eval_codd.runs.sweep import FIXED
from lm_eval_codd.terminal.parser import filled

FLAGS: Final = (
    Flag("run", "str", "the flags of one run, in quotes; as often as there are runs", repeat=True),
    Flag("sweep", "str", "lists of values, in quotes, or a YAML file of them: the runs of their product", repeat=True),
    Flag(
        "paper",
        "str",
        "the cells of a table of the CoDD paper, table1 to table6; SOURCE or SOURCE:CELL,... for published cells of "
        "another source; list shows the sources",
        repeat=True,
    ),
    Flag("assume", "str", "name=value,... for what the source of a published cell does not state", repeat=True),
    Flag(
        "select",
        "str",
        "of --paper and sweep files: one setting of the circuit, or the whole grid that the paper took the best of",
        default=FIXED,
        choices=SELECT,
    ),
    Flag("set", "str", "values for every --sweep and --paper, in their words, in place of what they say", repeat=True),
    Flag(
        "demo",
        "str",
        "evaluate a small checkpoint of the package and its circuit on the CPU, without a download: on word problems, "
        "at 2 to 32 steps and by every decoder, or on tasks of dependent tokens",
        choices=tuple(DEMOS),
        alone="words",
    ),
    Flag(
        "gpus",
        "str",
        "slots, one run each at a time: GPU ids (of parts, MIG, too), or cpu; an id twice is two runs at a time there, "
        "whose times are marked as no speed",
        default="all GPUs, else cpu",
    ),
    Flag("gpus_per_run", "int", "GPUs of a slot, over which a checkpoint too large for one is spread", default="1"),
    Flag("output_dir", "str", "where every run gets its folder", default="results"),
    Flag("tag", "str", "a word for the name of every run that has no tag of its own"),
    Flag("limit", "float", "first N documents, or a share below 1, for every run that sets none of its own"),
    Flag("include_path", "str", "a folder with task files of your own, for every run"),
    Flag("confirm_run_unsafe_code", "bool", "let tasks of lm-eval execute programs that the model has written"),
    Flag("force", "bool", "run finished runs again, from the start; what is there is kept beside the new results"),
    Flag(
        "stall_limit",
        "float",
        "minutes without a new line in its log and without progress, after which a run is ended and tried once more",
        default="none",
    ),
    Flag(
        "dry-run", "bool", "check everything, list the runs and their cost, and start nothing; for other machines too"
    ),
    Flag("commands", "bool", "with --dry-run: the command of each run as well"),
    Flag(
        "seconds_per_forward",
        "float",
        "what a forward pass for one row takes, for the cost",
        default="as finished runs in OUTPUT_DIR",
    ),
    Flag("help", "bool", "show this help"),
)

# Flags of a run that are taken here too, for all runs that do not say otherwise.
OF_EVERY_RUN: Final = ("limit", "tag", "include_path", "confirm_run_unsafe_code")

_USAGE: Final = """\
Evaluate diffusion language models, several runs at a time.

  ./eval.sh --demo
  ./eval.sh --gpus 0,1 \\
      --run '--model_alias llada --task gsm8k --num_steps 128' \\
      --run '--model_alias dream --task math500 --alg entropy --num_steps 256'
  ./eval.sh --gpus 0,1 --sweep 'model_alias=llada task=math500,gsm8k
      alg=low_confidence,margin num_steps=256,128,64 pc_frac=0.3,0.5
      pc_ckpt=none,il18/llada-math-pc pc_ckpt@gsm8k=none,il18/llada-gsm-pc'
  ./eval.sh --gpus 0,1 --run '--model_alias duo --dit_ckpt s-sahoo/duo
      --tokenizer gpt2 --task dlm_ppl_wikitext2'
  ./eval.sh --gpus 0,1 --paper table1 --dry-run
  ./eval.sh --paper list
  ./eval.sh --gpus 0,1 --paper 'llada:llada-base.gsm8k.*' --dry-run
  ./eval.sh --slurm 'partition=gpu gpus_per_node=1 time=04:00:00' --paper table1
  ./eval.sh --gpus cpu,cpu --limit 8 \\
      --run '--model_alias llada --llada_ckpt "/models/my llada" --task mbpp'

A sweep is the product of its lists; key@task=... is the list of one task, in place of the others'. Runs that are
provably the same are done once. All runs are checked before the first one starts. The longest start first. Each writes
OUTPUT_DIR/NAME/ with lm-eval's results_*.json and samples_*.jsonl, log.txt, run.json with everything resolved, and a
journal of its answers. The same command, given again, skips what is finished and goes on with the rest. Exit status:
0, 1 when a run failed, 2 when nothing was started, 130 when interrupted, 143 when preempted (SIGTERM).

Other commands, each with --help:
  ./eval.sh run | report | check | inspect | gap | train | train-circuit
            convert-circuit | dit | crb | trace | tasks
"""


def help_text() -> str:
    """What `--help` prints, as wide as the terminal."""
    flags = format_help({"command": FLAGS, "more than one machine": SLURM_FLAGS, **GROUPS})
    return f"{filled(_USAGE, help_width())}\n\n{flags}"
