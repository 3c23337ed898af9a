"""DeepBlock, the library: what the things of the chain are, and how to train them bit by bit the same."""

__version__ = "0.1.0"
