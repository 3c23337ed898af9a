"""The root that a header commits: a binary Merkle tree over the state's keys, compact and canonical.

A key's path is SHA-256(key), read from the highest bit. An empty tree is 32 zero bytes; a subtree with one key is
that leaf, at whatever depth; any other subtree is a branch. So a set of keys and values has one tree, in whatever
order it came about, and a path ends after about log2(keys) steps. Nodes are named by their hash and never change,
so the trees of all blocks share what they have in common.

    leaf   = 0x00 ‖ path (32) ‖ SHA-256(value) (32)
    branch = 0x01 ‖ left (32) ‖ right (32)

Whoever has only a header checks a key by the nodes on its path (`prove`, `deepblock.state_proof`).
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping

from deepblock.primitives import Hash32
from deepblock.state_proof import BRANCH, EMPTY, LEAF, child, side

Leaf = tuple[bytes, bytes | None]
"""A path and the hash of its value; None: no such key."""


def update(
    root: Hash32, changes: Mapping[bytes, bytes | None], read: Callable[[bytes], bytes]
) -> tuple[Hash32, dict[bytes, bytes]]:
    """Rule S1. The root after `changes` (key → value, None removes), and the nodes that are new, by hash.

    `read` gives a node of the old tree by its hash.
    """
    fresh: dict[bytes, bytes] = {}
    leaves = sorted(
        (hashlib.sha256(key).digest(), None if value is None else hashlib.sha256(value).digest())
        for key, value in changes.items()
    )

    def load(name: bytes) -> bytes:
        return fresh[name] if name in fresh else read(name)

    def store(node: bytes) -> bytes:
        name = hashlib.sha256(node).digest()
        fresh[name] = node
        return name

    def join(left: bytes, right: bytes) -> bytes:
        """A lone leaf rises; everything else becomes a branch."""
        if left == EMPTY and (right == EMPTY or load(right)[:1] == LEAF):
            return right
        if right == EMPTY and load(left)[:1] == LEAF:
            return left
        return store(BRANCH + left + right)

    def build(depth: int, items: list[Leaf]) -> bytes:
        """A subtree of these leaves alone."""
        if not items:
            return bytes(EMPTY)
        if len(items) == 1:
            path, value = items[0]
            assert value is not None
            return store(LEAF + path + value)
        zeros, ones = _split(depth, items)
        return join(build(depth + 1, zeros), build(depth + 1, ones))

    def change(name: bytes, depth: int, items: list[Leaf]) -> bytes:
        """The subtree `name` with `items` put in or taken out."""
        if not items:
            return name
        node = b"" if name == EMPTY else load(name)
        if node[:1] == BRANCH:
            zeros, ones = _split(depth, items)
            return join(change(node[1:33], depth + 1, zeros), change(node[33:65], depth + 1, ones))
        if node and (len(items) > 1 or items[0][0] != node[1:33]):  # a leaf that is not the one to be changed
            items = sorted({node[1:33]: node[33:65], **dict(items)}.items())
        return build(depth, [leaf for leaf in items if leaf[1] is not None])

    return Hash32(change(root, 0, list(leaves))), fresh


def prove(root: Hash32, key: bytes, read: Callable[[bytes], bytes]) -> tuple[bytes, ...]:
    """The nodes on the path of `key`, from the root to a leaf or to where there is nothing."""
    path, name, nodes = hashlib.sha256(key).digest(), bytes(root), []
    while name != EMPTY:
        nodes.append(read(name))
        if nodes[-1][:1] == LEAF:
            break
        name = child(nodes[-1], side(path, len(nodes) - 1))
    return tuple(nodes)


def _split(depth: int, items: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Sorted leaves that agree up to `depth`, by the bit of their paths there."""
    byte, bit = depth >> 3, 0x80 >> (depth & 7)
    if len(items) == 1:
        return ([], items) if items[0][0][byte] & bit else (items, [])
    middle = bisect_left(items, bit, key=lambda item: item[0][byte] & bit)
    return items[:middle], items[middle:]
