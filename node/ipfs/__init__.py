"""IPFS: where else blocks come from, and what is kept for whom."""
