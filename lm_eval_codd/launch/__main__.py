"""`python -m lm_eval_codd.launch`, the launcher without the package's other commands."""

import sys

from lm_eval_codd.launch.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
