"""Which experts compute which tokens: token choice, and EC-DLM's expert choice, whose capacity follows the step.

EC-DLM (zhangshuibai/EC-DLM) published a training framework and no checkpoint.
"""
