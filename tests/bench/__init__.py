"""What DeepBlock costs, each number beside its baseline of the same run (`make bench`; see README.md)."""
