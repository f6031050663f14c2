"""Training of the family: a model from nothing (`dit train`), or a student of one (`dit distil`).

Losses are `DiT.nelbo`, `curriculum_loss` and `distillation_loss`; here are their noise, the rows, the averaged weights
and the runs. The loop, the optimizer and the folder of a run are those of `lm_eval_codd.training`.
"""
