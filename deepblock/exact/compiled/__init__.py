"""Passes over tensors as loops that Numba compiles for this machine (README: Compiled kernels)."""
