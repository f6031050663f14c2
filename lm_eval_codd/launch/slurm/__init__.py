"""Runs on a cluster: packed into the tasks of one Slurm array, which are requeued and go on from their journals."""
