#!/usr/bin/env bash
# The tests on a Slurm of one node, which they start and stop (tests/slurm). Installs Debian's or Ubuntu's slurm-wlm and
# munge where it may; where it may not, it says so and does nothing. Arguments go to pytest.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

skip() {
  echo "SKIPPED: the tests on a real Slurm: $1" >&2
  exit 0
}

[ "$(id -u)" = 0 ] || skip "its daemons need root"
PATH=$PATH:/usr/sbin
if ! { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null; then
  command -v apt-get >/dev/null || skip "slurm-wlm and munge are not installed, and there is no apt-get"
  log=$(mktemp)
  # No daemon is to be started by the packages themselves.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >"$log" 2>&1 ||
    skip "slurm-wlm and munge cannot be installed ($(tail -n 1 "$log"))"
fi

python=$(bash scripts/venv.sh peft,test)
export TEST_SLURM=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
exec "$python" -m pytest -x tests/slurm "$@"
