"""The attack lab: whole networks in one process, from one seed, under the real rules."""
