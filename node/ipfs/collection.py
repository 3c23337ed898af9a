"""Making room: blocks of the store are removed until it fits its quota, those first that nobody needs."""

from collections import Counter
from dataclasses import dataclass

from deepblock.blockstore import Blockstore
from node.ipfs.policy import Kept

SLACK = 10
"""One part in so many of the quota is freed beyond it, so that the next block does not begin this again."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Bytes in the store afterwards, and how many bytes in how many blocks were removed."""

    stored: int
    freed: int = 0
    blocks: int = 0


def collect(store: Blockstore, kept: Kept, quota: int, before: float) -> Collected:
    """Removes nothing while the store has at most `quota` bytes; then what is not kept, the oldest first, then whole
    files of `kept.useful` in their order. Never a block of `kept.needed`, and none that was written after `before`
    (Unix seconds): what it belongs to may just be coming. Blocking; reads every needed file's nodes."""
    here = dict(store.all())
    stored = sum(facts.st_size for facts in here.values())
    if stored <= quota:
        return Collected(stored)
    needed = {block for file in kept.needed for block in store.tree(file)}
    files = [[block for block in store.tree(file) if block not in needed] for file in kept.useful]
    owners = Counter(block for blocks in files for block in blocks)
    loose = [block for block in here if block not in needed and block not in owners]
    loose.sort(key=lambda block: here[block].st_mtime)
    target = quota - quota // SLACK
    freed = count = 0
    for group in [*([block] for block in loose), *files]:
        if stored - freed <= target:
            break
        for block in group:
            owners[block] -= 1
            if owners[block] <= 0 and block in here and here[block].st_mtime < before:
                store.remove_block(block)
                freed += here[block].st_size
                count += 1
    return Collected(stored - freed, freed, count)
