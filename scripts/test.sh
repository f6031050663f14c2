#!/usr/bin/env bash
# Lint, format, types and tests in the checkout's own .venv, which is made at the first run. Arguments go to pytest.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
python=$(bash "$root/scripts/venv.sh" peft,test)
cd "$root"

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# No test may need a hub; one thread each, since two workers share what cores there are.
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
exec "$python" -m pytest -n 2 "$@"
