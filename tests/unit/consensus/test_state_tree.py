"""The state's root, against a tree built the slow and obvious way."""

import hashlib

import pytest

from consensus.state_tree import update
from deepblock.state_proof import EMPTY


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def reference(items: dict[bytes, bytes], prefix: str = "") -> bytes:
    """The root of exactly these keys and values, as the definition says it: no shared nodes, no order, no history."""
    if not items:
        return bytes(32)
    if len(items) == 1:
        [(key, value)] = items.items()
        return sha(b"\x00" + sha(key) + sha(value))
    sides = [
        {key: value for key, value in items.items() if path(key).startswith(prefix + bit)}
        for bit in ("0", "1")
    ]
    return sha(
        b"\x01" + b"".join(reference(side, prefix + bit) for side, bit in zip(sides, "01", strict=True))
    )


def path(key: bytes) -> str:
    return f"{int.from_bytes(sha(key), 'big'):0256b}"


class Tree:
    """A root and all nodes ever stored."""

    def __init__(self) -> None:
        self.root, self.nodes = EMPTY, {}

    def change(self, changes: dict[bytes, bytes | None]) -> bytes:
        self.root, fresh = update(self.root, changes, self.nodes.__getitem__)
        assert all(sha(node) == name for name, node in fresh.items())
        self.nodes.update(fresh)
        return self.root


def items(count: int) -> dict[bytes, bytes]:
    return {b"key %d" % number: b"value %d" % number for number in range(count)}


def test_known_roots():
    """Pinned: a change of the definition splits every network."""
    assert bytes(32) == EMPTY
    tree = Tree()
    assert tree.change({b"a": b"1"}) == sha(b"\x00" + sha(b"a") + sha(b"1"))
    assert tree.change({}) == tree.root
    assert str(Tree().change(items(3))) == PINNED[3]
    assert str(Tree().change(items(100))) == PINNED[100]


PINNED = {
    3: "9c6a9da0c8a4b504fd888906d1265b25d3dd82d6ade033fb02c386fe4572ec16",
    100: "4336443501812f34db0ae10d829ce68fc76ae6e8d15492920178685756a68d53",
}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 200])
def test_the_root_is_that_of_the_definition(count):
    assert Tree().change(items(count)) == reference(items(count))


def test_the_order_does_not_matter():
    together = Tree().change(items(60))
    for order in (list(items(60)), list(items(60))[::-1], sorted(items(60), key=sha)):
        tree = Tree()
        for key in order:
            tree.change({key: items(60)[key]})
        assert tree.root == together


def test_a_key_that_is_removed_was_never_there():
    tree = Tree()
    roots = [tree.root]
    for key, value in items(40).items():
        roots.append(tree.change({key: value}))
    for key in list(items(40))[::-1]:
        assert tree.root == roots.pop()
        tree.change({key: None})
    assert tree.root == EMPTY


def test_removing_what_is_not_there_changes_nothing():
    for count in (0, 1, 2, 50):
        tree = Tree()
        root = tree.change(items(count))
        assert tree.change({b"unknown": None, b"unknown too": None}) == root


def test_every_value_and_every_key_counts():
    root = Tree().change(items(10))
    for key in items(10):
        assert Tree().change({**items(10), key: b"other"}) != root
        without = {name: value for name, value in items(10).items() if name != key}
        assert Tree().change(without) != root
    assert Tree().change({b"a": b""}) != EMPTY


def test_changes_and_removals_at_once():
    tree = Tree()
    tree.change(items(50))
    changes = {b"key %d" % number: None if number % 3 else b"new" for number in range(10, 70)}
    wanted = {key: value for key, value in {**items(50), **changes}.items() if value is not None}
    assert tree.change(changes) == reference(wanted)


def test_paths_that_part_late_share_a_long_branch():
    """Two keys whose paths agree in their first bits: branches with one empty side, down to where they part."""
    first = b"key 0"
    near = next(key for key in items(20_000) if key != first and path(key)[:12] == path(first)[:12])
    pair = {first: b"1", near: b"2"}
    tree = Tree()
    for key, value in pair.items():
        tree.change({key: value})
    assert tree.root == reference(pair)
    assert len(tree.nodes) > 12
    assert tree.change({near: None}) == reference({first: b"1"})


def test_old_trees_remain_readable():
    """Nodes never change, so a fork starts from any earlier root."""
    tree = Tree()
    old = tree.change(items(30))
    tree.change({b"key 3": None, b"key 31": b"x"})
    root, _ = update(old, {b"key 31": b"y"}, tree.nodes.__getitem__)
    assert root == reference({**items(30), b"key 31": b"y"})


def test_only_the_path_of_a_change_is_new():
    tree = Tree()
    tree.change(items(1_000))
    _, fresh = update(tree.root, {b"key 5": b"new"}, tree.nodes.__getitem__)
    assert len(fresh) < 30
