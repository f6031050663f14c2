"""`lm-eval-codd train-circuit`: a backbone, question-answer rows and a circuit to couple its predictions.

The mathematics is in `counts.py` and `updates.py`; the other files hold the rows, the noise, the backbone's evidence,
the loop and its checkpoints.
"""
