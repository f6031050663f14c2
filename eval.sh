#!/usr/bin/env bash
# Evaluates diffusion language models on GPUs or a CPU: ./eval.sh --demo, ./eval.sh --gpus 0,1 --run '...', ./eval.sh --help.
# The package's other commands go through it too: ./eval.sh report results, ./eval.sh trace ...
# Uses the active Python if this checkout is installed there; otherwise a .venv in the checkout, made at the first run.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

# Asked from /, since Python would import the package from a current folder that merely holds it.
has_checkout='
import importlib.util as util, os, sys
found = all(util.find_spec(name) for name in ("lm_eval", "torch", "transformers", "lm_eval_codd"))
sys.exit(not found or os.path.dirname(os.path.realpath(util.find_spec("lm_eval_codd").origin)) != sys.argv[1])'

if (cd / && python -c "$has_checkout" "$root/lm_eval_codd") 2>/dev/null; then
  python=$(command -v python)
else
  extras=peft
  for argument; do
    case $argument in --slurm | --slurm=*) extras=peft,slurm ;; esac
  done
  python=$(bash "$root/scripts/venv.sh" "$extras")
fi
# What messages call this script, so that a command they show works where the user stands.
case $0 in
  */*) export CODD_CALLED_AS=$0 ;;
  *) export CODD_CALLED_AS=$root/eval.sh ;;
esac
case ${1-} in
  "" | -*) set -- launch "$@" ;;
esac
exec "$python" -m lm_eval_codd "$@"
