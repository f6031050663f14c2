"""What a run is: its flags, a sweep of them, its name and identity, the files it needs, its record, what it will take.

Light: neither torch nor lm-eval is imported here. How runs are executed is `launch`.
"""
