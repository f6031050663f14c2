"""`lm-eval-codd train-circuit`: a backbone, question-answer rows and a circuit to couple its predictions.

The mathematics is in `circuits/training.py`; here are the rows, the noise, the backbone's evidence, the loop and its
checkpoints.
"""
