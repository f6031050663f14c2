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
if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$root $wanted" ] && "$python" -c '' 2>/dev/null; then
  echo "$python"
  exit
fi

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
# Not compiled: most of these modules are never imported, and compiling them all takes half a minute.
if ! "$python" -m pip install --disable-pip-version-check --no-compile -e "$root[$extras]" -c "$root/constraints.txt" >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "pip failed; the whole output is in $log" >&2
  exit 2
fi
printf '%s %s' "$root" "$wanted" >"$stamp"
echo "$python"
