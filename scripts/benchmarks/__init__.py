"""What `scripts/bench.py` measures: a module a command, each with `add_arguments(parser)` and `run(arguments)`."""
