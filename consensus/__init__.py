"""The rules: pure, synchronous, integers only. What they decide depends on their arguments and on nothing else."""
