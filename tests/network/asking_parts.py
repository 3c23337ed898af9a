"""A process that asks a node again and again and writes how long each answer took, in seconds, a line each. Apart from
whoever attacks the node, so that these do not wait for each other."""

import sys
import time

from deepblock.client import Client

EVERY = 0.02
"""Seconds between two questions."""


def main() -> None:
    client = Client(sys.argv[1])
    while True:
        began = time.perf_counter()
        client.call("chain_head")
        print(time.perf_counter() - began, flush=True)
        time.sleep(EVERY)


if __name__ == "__main__":
    main()
