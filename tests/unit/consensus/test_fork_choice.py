"""The heaviest chain, the first seen of equals, and no deeper reorganisation than agreed."""

from dataclasses import replace

import pytest

from consensus.fork_choice import BlockTree, Node, Switch
from deepblock.primitives import Hash32
from deepblock.types import Block, Result, Score, Seal
from tests.unit.consensus.parts import NETWORK, ancestry, header_on, named

ROOT = Node(NETWORK, named("below"), 0, 1_000, 10, 0, Hash32(bytes(32)))


def grown(*names: str, on: Node = ROOT, difficulty: int = 10) -> list[Node]:
    """A chain of nodes above `on`, ten seconds apart."""
    nodes = [on]
    for name in names:
        parent = nodes[-1]
        weight, state_root = parent.weight + difficulty, Hash32(bytes(32))
        height, timestamp = parent.height + 1, parent.timestamp + 10
        nodes.append(Node(named(name), parent.id, height, timestamp, difficulty, weight, state_root))
    return nodes[1:]


def tree_of(*chains: list[Node], head: Node | None = None, finality: int = 6) -> BlockTree:
    tree = BlockTree(ROOT, finality)
    for chain in chains:
        for node in chain:
            tree.add(node)
    if head:
        tree.head = head
    return tree


def test_a_tree_begins_with_its_root_as_head():
    tree = tree_of()
    assert tree.head == ROOT
    assert tree.nodes == {ROOT.id: ROOT}
    assert tree.at_height == {0: [ROOT.id]}


def test_a_childs_weight_is_the_sum_of_difficulties():
    tree = tree_of()
    header = header_on(ancestry(), difficulty=77)
    block = Block(header, Seal((), named("a"), Score(0, 0)), Result(named("a"), Score(0, 0)))
    node = tree.child(block, Hash32(b"r" * 32))
    assert node == Node(block.id, NETWORK, 1, header.timestamp, 77, 77, Hash32(b"r" * 32))
    tree.add(node)
    above = replace(block, header=replace(header, parent=block.id, height=2, difficulty=5))
    assert tree.child(above, Hash32(bytes(32))).weight == 82


def test_blocks_of_a_height_are_in_the_order_they_came():
    first, second = grown("first"), grown("second")
    assert tree_of(first, second).at_height[1] == [first[0].id, second[0].id]


def test_heavier_wins_and_the_first_seen_of_equals_stays():
    ours = grown("a", "b")
    theirs = grown("c", "d")
    tree = tree_of(ours, theirs, head=ours[-1])
    assert not tree.is_better(theirs[-1])
    assert tree.is_better(replace(theirs[-1], weight=theirs[-1].weight + 1))
    assert not tree.is_better(ours[-1])


def test_weight_counts_and_not_height():
    long, heavy = grown("a", "b", "c"), grown("x", difficulty=31)
    assert tree_of(long, heavy, head=long[-1]).is_better(heavy[0])
    assert not tree_of(long, heavy, head=heavy[0]).is_better(long[-1])


@pytest.mark.parametrize(("finality", "allowed"), [(3, True), (2, False)])
def test_no_more_than_finality_blocks_are_undone(finality, allowed):
    ours = grown("a", "b", "c", "d")
    heavy = grown("x", "y", on=ours[0], difficulty=1_000)
    tree = tree_of(ours, heavy[:1], head=ours[-1], finality=finality)
    assert tree.is_better(heavy[1]) is allowed


def test_going_on_is_never_too_deep():
    ours = grown("a", "b")
    assert tree_of(ours[:1], head=ours[0], finality=0).is_better(ours[1])


def test_the_way_from_one_block_to_another():
    trunk = grown("t1", "t2")
    left = grown("l1", "l2", "l3", on=trunk[1])
    right = grown("r1", on=trunk[1])
    tree = tree_of(trunk, left, right)

    def way(old: Node, new: Node) -> Switch:
        return tree.switch(old.id, new.id)

    ids = {node.id: name for node, name in zip([*trunk, *left, *right], "TULMNR", strict=True)}

    def names(cids) -> str:
        return "".join(ids[cid] for cid in cids)

    for old, new, undo, apply in (
        (left[2], right[0], "NML", "R"),
        (right[0], left[2], "R", "LMN"),
        (left[2], left[0], "NM", ""),
        (trunk[0], left[1], "", "ULM"),
        (left[1], left[1], "", ""),
        (ROOT, right[0], "", "TUR"),
        (right[0], ROOT, "RUT", ""),
    ):
        found = way(old, new)
        assert (names(found.undo), names(found.apply)) == (undo, apply)


def test_a_branch_is_a_block_and_all_that_stand_on_it_parents_first():
    trunk = grown("t1", "t2")
    left, right = grown("l1", "l2", "l3", on=trunk[1]), grown("r1", "r2", on=trunk[1])
    other = grown("x1", "x2", "x3")
    tree = tree_of(other, trunk, left, right)
    assert tree.branch(trunk[1].id) == tuple(
        node.id for node in (trunk[1], left[0], right[0], left[1], right[1], left[2])
    )
    assert tree.branch(left[2].id) == (left[2].id,)
    assert len(tree.branch(ROOT.id)) == len(tree.nodes)


def test_the_heaviest_without_some_and_the_first_seen_of_equals():
    short, first, second = grown("s", difficulty=30), grown("a", "b"), grown("c", "d")
    tree = tree_of(first, second, short)
    assert tree.heaviest(()) == short[0]
    assert tree.heaviest({short[0].id}) == first[1]
    assert tree.heaviest({short[0].id, first[1].id}) == second[1]
    assert tree.heaviest(set(tree.nodes) - {ROOT.id}) == ROOT


def test_what_is_removed_is_nowhere_and_the_rest_stays():
    ours, theirs = grown("a", "b"), grown("c", "d")
    tree = tree_of(ours, theirs)
    tree.remove(tree.branch(theirs[0].id))
    assert tree.nodes == {node.id: node for node in (ROOT, *ours)}
    assert tree.at_height == {0: [ROOT.id], 1: [ours[0].id], 2: [ours[1].id]}


def test_what_the_rules_want_to_know_below_a_block():
    chain = grown("a", "b", "c", "d")
    fork = grown("x", on=chain[1])
    tree = tree_of(chain, fork)
    below = tree.ancestry(chain[3].id, 3)
    assert (below.parent, below.height, below.difficulty) == (chain[3].id, 4, 10)
    assert below.state_root == chain[3].state_root
    assert below.timestamps == [1_040, 1_030, 1_020]
    assert tree.ancestry(chain[3].id, 11).timestamps == [1_040, 1_030, 1_020, 1_010, 1_000]
    assert tree.ancestry(fork[0].id, 3).timestamps == [1_030, 1_020, 1_010]
    assert tree.ancestry(chain[3].id, 1).timestamps == [1_040, 1_030]  # the difficulty needs two
    assert tree.ancestry(ROOT.id, 11).timestamps == [1_000]
