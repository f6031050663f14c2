"""Training: a circuit that couples a backbone's predictions (`train-circuit`), or the backbone itself (`train`).

A circuit's mathematics is in `counts.py` and `updates.py`, its loop in `run.py` and `stages.py`. A backbone's
objectives are in `objectives/`, its loop in `fine_tuning.py`. The other files hold what both need: the rows, the noise,
the folder of a run and its checkpoints.
"""
