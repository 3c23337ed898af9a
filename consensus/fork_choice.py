"""Which chain is the chain: the heaviest valid one, the first seen of equals (protocol: weight).

The tree holds a small node a block. Nothing here checks a block; only valid ones are
added, and one that turns out false is removed with all that stand on it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from consensus.header import Ancestry
from deepblock.cid import Cid
from deepblock.codec import U64, U128
from deepblock.primitives import Hash32
from deepblock.types import Block


@dataclass(frozen=True, slots=True)
class Node:
    """`weight`: of the chain up to here, the sum of difficulties. `state_root`: after this block."""

    id: Cid
    parent: Cid
    height: U64
    timestamp: U64
    difficulty: U128
    weight: U128
    state_root: Hash32


@dataclass(frozen=True, slots=True)
class Switch:
    """From one head to another: the blocks to undo, newest first, and those to apply, oldest first."""

    undo: tuple[Cid, ...]
    apply: tuple[Cid, ...]


@dataclass(slots=True)
class BlockTree:
    """Blocks that are not known to be false. `finality`: how many blocks of the head's chain may be undone."""

    root: Node
    finality: int
    nodes: dict[Cid, Node] = field(default_factory=dict)
    at_height: dict[int, list[Cid]] = field(default_factory=dict)
    head: Node = field(init=False)

    def __post_init__(self) -> None:
        self.add(self.root)
        self.head = self.root

    def child(self, block: Block, state_root: Hash32) -> Node:
        """Rule W1. The node that `block` would have: it weighs its parent's weight and its difficulty. Its parent must
        be known."""
        header = block.header
        weight = self.nodes[header.parent].weight + header.difficulty
        return Node(
            block.id, header.parent, header.height, header.timestamp, header.difficulty, weight, state_root
        )

    def add(self, node: Node) -> None:
        self.nodes[node.id] = node
        self.at_height.setdefault(node.height, []).append(node.id)

    def is_better(self, node: Node) -> bool:
        """Rule W2. Heavier than the head, and on its chain down to the finality depth."""
        if node.weight <= self.head.weight:
            return False
        return len(self.switch(self.head.id, node.parent).undo) <= self.finality

    def branch(self, block: Cid) -> tuple[Cid, ...]:
        """A block and all that stand on it, parents first."""
        found = {block: None}
        height = self.nodes[block].height + 1
        while above := [one for one in self.at_height.get(height, ()) if self.nodes[one].parent in found]:
            found.update(dict.fromkeys(above))
            height += 1
        return tuple(found)

    def heaviest(self, without: Collection[Cid]) -> Node:
        """The heaviest block that is not among `without`; the first seen of equals."""
        return max(
            (node for node in self.nodes.values() if node.id not in without), key=lambda node: node.weight
        )

    def remove(self, blocks: Iterable[Cid]) -> None:
        """Takes out blocks that turned out false. The head has to be another by then."""
        for block in blocks:
            self.at_height[self.nodes.pop(block).height].remove(block)

    def switch(self, old: Cid, new: Cid) -> Switch:
        """The way from one block to another through their last common ancestor."""
        undo, apply = [], []
        left, right = self.nodes[old], self.nodes[new]
        while left.id != right.id:
            if left.height >= right.height:
                undo.append(left.id)
                left = self.nodes[left.parent]
            else:
                apply.append(right.id)
                right = self.nodes[right.parent]
        return Switch(tuple(undo), tuple(reversed(apply)))

    def ancestry(self, parent: Cid, window: int) -> Ancestry:
        """What the rules want to know below a child of `parent`. `window`: timestamps wanted."""
        node = self.nodes[parent]
        timestamps = [node.timestamp]
        below = node
        while len(timestamps) < max(2, window) and below.parent in self.nodes:
            below = self.nodes[below.parent]
            timestamps.append(below.timestamp)
        return Ancestry(node.id, node.height, node.state_root, node.difficulty, timestamps)
