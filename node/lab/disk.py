"""A disk that writes a moment later: what it had not written when the power went is lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from consensus.fork_choice import BlockTree, Node
from deepblock.cid import Cid


@dataclass(slots=True)
class Disk:
    """`latency`: seconds until what was put is written, all of it at once, as `node.chain` writes a batch."""

    root: Node
    latency: float = 0.5
    _nodes: dict[Cid, Node] = field(default_factory=dict)
    _head: Node | None = None
    _fresh: list[tuple[Node, bool]] = field(default_factory=list)

    def put(self, node: Node, head: bool) -> None:
        self._fresh.append((node, head))

    def sync(self) -> None:
        for node, head in self._fresh:
            self._nodes[node.id] = node
            if head:
                self._head = node
        self._fresh.clear()

    def remove(self, blocks: Iterable[Cid], head: Node) -> None:
        """Blocks that turned out false; written at once."""
        self.sync()
        for block in blocks:
            self._nodes.pop(block, None)
        self._head = head if head.height else None

    def load(self, finality: int) -> BlockTree:
        """After a crash."""
        self._fresh.clear()
        tree = BlockTree(self.root, finality)
        for node in self._nodes.values():
            tree.add(node)
        tree.head = self._head or self.root
        return tree
