"""Tasks of lm-eval: a folder a benchmark. Installed as `lm_eval_codd.tasks`; `lm-eval-codd tasks` prints where."""
