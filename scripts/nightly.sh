#!/usr/bin/env bash
# The long forms of the tests that repeat something at random: mutated files, attacks, kills. Hours on two cores.
# Arguments go to pytest.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

./scripts/test.sh --nightly "$@"
