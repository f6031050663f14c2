#!/usr/bin/env bash
# The quick tests with other versions than those of constraints.txt, each set of them in an environment of its own.
set -euo pipefail

usage='usage: scripts/test_matrix.sh [bounds] [constraints] [newest] [prerelease]     (default: all four)

  bounds        the lower bounds of setup.cfg, with Python 3.10
  constraints   the versions of constraints.txt, in the .venv of the checkout
  newest        the newest releases of everything, with the newest Python on PATH
  prerelease    as constraints, but lm-eval'"'"'s newest pre-release, and only the tests that need lm-eval

A Python that is not on PATH is said and its tests are skipped. The environments are kept in CODD_MATRIX_DIR
(default: .matrix in the checkout; some GB each). Exit status: 0, or 1 when tests failed or nothing could be run.'

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
matrix=${CODD_MATRIX_DIR:-$root/.matrix}
unset PYTHONPATH PYTHONHOME
# As in test.sh.
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

needs_lm_eval=(tests/tasks tests/demo/test_task.py tests/install/test_boot.py tests/models/test_diffusion_lm.py
  tests/models/test_codd.py tests/models/test_gen_kwargs.py tests/launch/test_command.py)

# The first of the given Pythons that runs; a pyenv shim is on PATH without running.
first_python() {
  local name
  for name; do
    if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# make NAME PYTHON PIP_ARGUMENTS...: an environment with the package, installed anew when its requirements changed.
make() {
  local env=$matrix/$1 base=$2 wanted
  shift 2
  wanted=$("$base" -V; printf '%s ' "$@"; cat "$root/setup.cfg" "$root/setup.py" "$root/pyproject.toml" | cksum)
  if [ ! -f "$env/installed" ] || [ "$(<"$env/installed")" != "$wanted" ]; then
    echo "installing into $env with $("$base" -V) ..." >&2
    "$base" -m venv --clear "$env" || return 1
    if ! "$env/bin/python" -m pip install --disable-pip-version-check --no-compile -e "$root[peft,test]" "$@" >"$env/log" 2>&1; then
      tail -n 15 "$env/log" >&2
      echo "pip failed; the whole output is in $env/log" >&2
      return 1
    fi
    printf '%s' "$wanted" >"$env/installed"
  fi
  python=$env/bin/python
}

run_tests() {
  (cd "$root" && "$python" -m pytest -n 2 -m "not slow" "$@")
}

bounds() {
  local base
  base=$(first_python python3.10) || return 77
  mkdir -p "$matrix" && "$base" "$root/scripts/lower_bounds.py" >"$matrix/bounds.txt" &&
    make bounds "$base" -c "$matrix/bounds.txt" && run_tests
}

constraints() {
  python=$(bash "$root/scripts/venv.sh" peft,test) && run_tests
}

newest() {
  local base
  base=$(first_python python3.14 python3.13 python3.12 python3.11) || return 77
  make newest "$base" --upgrade && run_tests
}

# A layer over the checkout's .venv, in which only lm-eval is another one.
prerelease() {
  local below env=$matrix/prerelease
  below=$(bash "$root/scripts/venv.sh" peft,test) || return 1
  if [ ! -f "$env/installed" ] || [ "$(<"$env/installed")" != "$below" ]; then
    "$below" -m venv --clear --without-pip "$env" || return 1
    "$below" -m pip --disable-pip-version-check --python "$env/bin/python" install --quiet --no-compile --no-deps --pre \
      --ignore-installed 'lm_eval>=0.5.0.dev0' || return 1
    # Through addsitedir, so that its editable installations and start-up files count too.
    echo "import site; site.addsitedir('$("$below" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
      >"$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_below.pth" || return 1
    printf '%s' "$below" >"$env/installed"
  fi
  python=$env/bin/python
  "$python" -c 'from importlib.metadata import version as v; print("lm_eval", v("lm_eval"))' && run_tests "${needs_lm_eval[@]}"
}

for name; do
  case $name in
    bounds | constraints | newest | prerelease) ;;
    -h | --help) echo "$usage"; exit ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
[ $# -gt 0 ] || set -- bounds constraints newest prerelease

summary=() failed=0 ran=0
for name; do
  echo "== $name"
  status=0
  # In a list, `set -e` is off inside of the function: its steps are joined by && or end it.
  "$name" || status=$?
  case $status in
    0) summary+=("$name: passed") ran=1 ;;
    77) summary+=("$name: skipped, no such Python on PATH") ;;
    *) summary+=("$name: FAILED") ran=1 failed=1 ;;
  esac
done
printf '%s\n' "${summary[@]}"
[ "$failed" = 0 ] && [ "$ran" = 1 ]
