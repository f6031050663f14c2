"""The Code Revision Benchmark (arXiv 2512.15596; spec/decoders.md 5): what is in it, and how its programs are made.

A program of HumanEval(+) or MBPP(+) has n tokens of its body corrupted; a decoder that revises gets it as a draft, and
its tests say whether the revised one is right. The task itself is in `tasks/crb`.
"""
