"""What is in the state after a block, or is not, shown to whoever has nothing but a header (consensus: S1, S2).

A header commits to the root of a tree of hashes (`consensus.state_tree`). A proof is the nodes on the way from there
to where a key's path ends: at its leaf, at another leaf, which is then alone in that part of the tree, or at nothing.

    leaf   = 0x00 ‖ SHA-256(key) (32) ‖ SHA-256(value) (32)
    branch = 0x01 ‖ left (32) ‖ right (32)
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from deepblock.primitives import Address, Hash32

EMPTY: Final = Hash32(bytes(32))
"""The name of a tree without keys."""
LEAF: Final = b"\x00"
BRANCH: Final = b"\x01"
NODE_SIZE: Final = 65
MOST_NODES: Final = 257
"""A path has 256 bits."""


class FalseProof(Exception):
    """It does not show what it claims; the text says where it breaks."""


def account_key(address: Address) -> bytes:
    """Of an account in the state."""
    return b"a" + address


def side(path: bytes, depth: int) -> int:
    """Bit `depth` of a path of 32 bytes, from the highest on: 0 is left."""
    return path[depth >> 3] >> 7 - (depth & 7) & 1


def child(node: bytes, side: int) -> bytes:
    """The name of a branch's left (0) or right (1) part."""
    return node[1 + 32 * side : 33 + 32 * side]


def check_proof(root: bytes, key: bytes, value: bytes | None, nodes: Sequence[bytes]) -> None:
    """Rule S2. `nodes`, from the root on, show that the state with this root has `value` at `key`, or with None that it
    has nothing there. Raises FalseProof."""
    path, name = hashlib.sha256(key).digest(), bytes(root)
    for depth, node in enumerate(nodes):
        if len(node) != NODE_SIZE or node[:1] not in (LEAF, BRANCH):
            raise FalseProof(f"node {depth} is neither a leaf nor a branch")
        if hashlib.sha256(node).digest() != name:
            raise FalseProof(f"node {depth} is not the one with the hash {name.hex()}")
        if node[:1] == LEAF:
            if depth + 1 != len(nodes):
                raise FalseProof(f"there are nodes below the leaf, node {depth}")
            return _check_leaf(node, path, value)
        if depth + 1 >= MOST_NODES:
            raise FalseProof(f"it has more than {MOST_NODES} nodes")
        name = child(node, side(path, depth))
    if name != EMPTY:
        raise FalseProof(f"it ends at {name.hex()}, which is more than nothing")
    if value is not None:
        raise FalseProof("it shows that there is no such key, and claims a value")


def _check_leaf(leaf: bytes, path: bytes, value: bytes | None) -> None:
    if leaf[1:33] != path:
        if value is not None:
            raise FalseProof("it shows that there is no such key, and claims a value")
        return
    if value is None:
        raise FalseProof("it shows that there is such a key, and claims that there is none")
    if leaf[33:] != hashlib.sha256(value).digest():
        raise FalseProof("the value is not the one whose hash the leaf has")
