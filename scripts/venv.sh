#!/usr/bin/env bash
# Makes .venv in the checkout, or brings it up to date, and prints its Python. The argument names extras of setup.cfg.
# All else is said on standard error; what pip does goes to .venv/install.log.
set -euo pipefail

extras=${1:?usage: scripts/venv.sh EXTRAS}
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python
log=$venv/install.log

# Set by a caller's environment, these would make pip or Python look elsewhere.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV

# Two first runs at once would write into each other's environment. (macOS has no flock.)
if command -v flock >/dev/null; then
  exec 9<"$root"
  flock 9
fi

wanted=$(cat "$root/setup.cfg" "$root/setup.py" "$root/pyproject.toml" "$root/constraints.txt" | cksum)
stamp=$venv/installed-$extras
made=$(cat "$stamp" 2>/dev/null || true)
has_gpu() { ls /dev/nvidia[0-9]* /dev/dxg /dev/kfd 2>/dev/null | grep -q .; }

if { [ "$made" = "$root $wanted" ] || { [ "$made" = "$root $wanted cpu" ] && ! has_gpu; }; } && "$python" -c '' 2>/dev/null; then
  echo "$python"
  exit
fi

# Runs pip with its output in the log, and says on standard error that it lives: what is fetched, and a word now and then.
run_pip() {
  { "$python" -m pip install --disable-pip-version-check --no-compile "$@" 2>&1; echo "pip ended with $?"; } | {
    SECONDS=0
    said=0
    while :; do
      asked=$SECONDS
      if IFS= read -r -t 5 line; then
        case $line in
          "pip ended with "*) exit "${line##* }" ;;
          *Downloading\ *\ [MG]B\) | *Downloading\ *[MG]B*) echo "  ${line#"${line%%[![:space:]]*}"}" >&2 ;;
          "Installing collected packages"*) echo "  unpacking (${SECONDS} s so far) ..." >&2 ;;
        esac
        printf '%s\n' "$line" >>"$log"
      elif [ $((SECONDS - asked)) -lt 4 ]; then
        exit 1 # not the clock: pip was killed
      elif [ $((SECONDS - said)) -ge 20 ]; then
        said=$SECONDS
        echo "  still installing (${SECONDS} s) ..." >&2
      fi
    done
  }
}

if ! "$python" -c '' 2>/dev/null; then
  base=
  for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      base=$candidate
      break
    fi
  done
  if [ -z "$base" ]; then
    echo "no Python 3.11 or newer with venv on PATH; install one (Debian, Ubuntu: apt install python3-venv)" >&2
    exit 2
  fi
  echo "making an environment in $venv with $("$base" -V) ..." >&2
  "$base" -m venv --clear "$venv" >&2
fi

echo "installing the package and the versions of constraints.txt into $venv (minutes the first time) ..." >&2
: >"$log"
# PyPI's torch for Linux brings gigabytes of CUDA. Where no GPU can be seen, and pip was not told where to look, the CPU
# build comes from PyTorch's own index; the first start on a machine with a GPU takes the other one in its place.
build=
if [[ $made == *" cpu" ]]; then
  "$python" -m pip uninstall --disable-pip-version-check -y torch >>"$log" 2>&1
fi
if [ "$(uname -s)" = Linux ] && ! has_gpu && ! env | grep -Eq '^PIP_(.*INDEX|FIND_LINKS)' &&
  ! "$python" -m pip config list 2>/dev/null | grep -Eq 'index|find-links'; then
  version=$(sed -n 's/^torch==//p' "$root/constraints.txt")
  echo "no GPU here, so torch's CPU build:" >&2
  if run_pip --no-deps --retries 1 --timeout 15 --index-url https://download.pytorch.org/whl/cpu "torch==$version"; then
    build=" cpu"
  else
    echo "it cannot be had; taking the one that pip finds" >&2
  fi
fi
# Not compiled: most of these modules are never imported, and compiling them all takes half a minute.
if ! run_pip -e "$root[$extras]" -c "$root/constraints.txt"; then
  tail -n 15 "$log" >&2
  echo "pip failed; the whole output is in $log" >&2
  exit 2
fi
# But where Python is told to keep no bytecode, as in many containers, each start would compile torch, transformers and
# lm-eval again, which takes longer than all else in it. Theirs is kept then.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
  echo "compiling what a run imports, since PYTHONDONTWRITEBYTECODE is set ..." >&2
  env -u PYTHONDONTWRITEBYTECODE -u PYTHONPYCACHEPREFIX "$python" -c '
import lm_eval.evaluator
from transformers import AutoTokenizer, LlamaForCausalLM, Qwen2ForCausalLM' >>"$log" 2>&1 || true
fi
printf '%s %s%s' "$root" "$wanted" "$build" >"$stamp"
echo "$python"
