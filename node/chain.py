"""The chain this node holds: the tree of blocks, the state after its head, and the only writer of both.

A commit is one batch: after a crash the database is as it was before it or after it, never between
(`storage.schema` says what is in it). It is synced, but for deep blocks,
which others have. Memory changes after the batch, so a failed write changes nothing.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from consensus.fork_choice import BlockTree, Node, Switch
from consensus.header import Ancestry
from consensus.params import Params
from consensus.shares import Below, Past
from consensus.state import SPECS, Delta, Read, State
from consensus.state_tree import prove, update
from consensus.task import specs
from consensus.template import genesis, genesis_state
from deepblock.cid import Cid
from deepblock.codec import decode, encode
from deepblock.spec import TaskSpec
from deepblock.state_proof import EMPTY
from deepblock.types import Block, Body, Header
from node.errors import StartError
from node.storage import schema
from node.storage.database import Batch, Database, DatabaseCorrupt

_DELTA_LIMIT = 16 << 20
"""Bytes. Of our own database, whose values were bounded when they were made."""


class Chain:
    """Blocks, bodies and states of one network. `head` is the last block of the heaviest chain."""

    def __init__(self, database: Database, params: Params) -> None:
        self.params = params
        self.specs: dict[Cid, TaskSpec] = dict(specs(params))
        """Of the base tasks, and of every task that a stored block opened: a description is true by its name."""
        first = genesis(params)
        self.network: Cid = first.id
        self._db = database
        if database.is_empty():
            self._create(first)
        self._check_identity()
        self._recent: OrderedDict[Cid, Block] = OrderedDict()  # decoded; the last ones asked for
        self._newest: Body | None = None
        self._held: list[tuple[Cid, bytes]] = []
        self.tree = self._load_tree()
        self._learn(database.items(schema.SPEC))

    # --- reading -------------------------------------------------------------------------------------------

    @property
    def head(self) -> Node:
        return self.tree.head

    def node(self, block: Cid) -> Node | None:
        return self.tree.nodes.get(block)

    def block(self, block: Cid) -> Block | None:
        if block in self._recent:
            self._recent.move_to_end(block)
            return self._recent[block]
        data = self._db.get(schema.BLOCK + block)
        return None if data is None else self._remember(block, decode(Block, data))

    def body(self, block: Block) -> Body | None:
        if self._newest and self._newest.cid == block.header.body:
            return self._newest
        data = self._db.get(schema.BODY + block.header.body)
        return None if data is None else decode(Body, data)

    def raw(self, cid: Cid) -> bytes | None:
        """The bytes of a block or a body by its CID, as peers ask for them."""
        return (
            self._db.get(schema.BLOCK + cid) or self._db.get(schema.BODY + cid) or dict(self._held).get(cid)
        )

    @contextmanager
    def holding(self, body: Cid, data: bytes) -> Iterator[None]:
        """`raw` has this body meanwhile, which no block here has yet: gossip passes a block on before its verdict, and
        those who hear of it ask here. Each of several who hold the same one lets go of its own."""
        held = (body, data)
        self._held.append(held)
        try:
            yield
        finally:
            self._held.remove(held)

    def id_at(self, height: int) -> Cid | None:
        """On the head's chain."""
        data = self._db.get(schema.height_key(height)) if 0 <= height <= self.head.height else None
        return None if data is None else Cid(data)

    def locate(self, transaction: Cid) -> tuple[Cid, int, int] | None:
        """Block, height and index of a transaction on the head's chain."""
        data = self._db.get(schema.TRANSACTION + transaction)
        if data is None:
            return None
        location = decode(schema.Location, data)
        return location.block, self.tree.nodes[location.block].height, location.index

    def ancestry(self, parent: Cid) -> Ancestry:
        return self.tree.ancestry(parent, self.params.median_window)

    def rejection(self, block: Cid) -> str | None:
        """Why a block was rejected, where it was."""
        data = self._db.get(schema.REJECTED + block)
        return None if data is None else data.decode()

    def state(self, after: Cid | None = None) -> State:
        """The state after a known block (the head unless said), to be read or changed without touching it."""
        if after is None or after == self.head.id:
            return State(self._read_state)
        way = self.tree.switch(self.head.id, after)
        changed: dict[bytes, bytes | None] = {}
        for block in way.undo:
            changed.update(self._delta(block).old)
        for block in way.apply:
            changed.update(self._delta(block).new)
        return State(_overlaid(changed, self._read_state))

    def prove(self, key: bytes) -> tuple[Header, bytes | None, tuple[bytes, ...]]:
        """The head's header, what the state that it commits to, that after its parent, has at `key`, and the nodes that
        show it. There is a block above the genesis."""
        block = self.block(self.head.id)
        assert block is not None and block.height, "the genesis commits to no state"
        header = block.header
        return header, self.state(header.parent).read(key), prove(header.state_root, key, self._read_tree)

    def past(self, parent: Cid) -> Past:
        """What the shares of a child of `parent` may stand on: its last blocks."""
        node, near = self.tree.nodes[parent], [parent]
        while len(near) < self.params.share_age and node.height:
            node = self.tree.nodes[node.parent]
            near.append(node.id)
        return lambda block: Below(self.ancestry(block), self.state(block)) if block in near else None

    def locator(self) -> tuple[Cid, ...]:
        """Blocks of the head's chain, the last ones and then ever sparser ones, the genesis last."""
        heights, step = [], 1
        height = self.head.height
        while height > 0:
            heights.append(height)
            step *= 2 if len(heights) > 8 else 1
            height -= step
        return tuple(found for found in map(self.id_at, [*heights, 0]) if found is not None)

    # --- writing -------------------------------------------------------------------------------------------

    def commit(self, block: Block, body: Body, delta: Delta, sync: bool = True) -> Switch | None:
        """Stores a valid block whose parent is known; the way to it where it becomes the head, else None. Without
        `sync` a power cut may lose it, with all that was stored after it; the next synced one makes it last."""
        batch = Batch()
        parent = self.tree.nodes[block.header.parent]
        root, fresh = update(parent.state_root, delta.new, self._read_tree)
        node = self.tree.child(block, root)
        batch.put(schema.BLOCK + block.id, encode(block))
        batch.put(schema.BODY + body.cid, encode(body))
        batch.put(schema.node_key(node.height, node.id), encode(node))
        batch.put(schema.UNDO + block.id, encode(delta))
        for name, data in fresh.items():
            batch.put(schema.TREE + name, data)
        opened = [(key[1:], value) for key, value in delta.new.items() if key[:1] == SPECS and value]
        for task, description in opened:
            batch.put(schema.SPEC + task, description)
        switch = None
        if self.tree.is_better(node):
            way = self.tree.switch(self.head.id, parent.id)
            self._go(batch, way)
            self._apply(batch, (block, body), delta)
            batch.put(schema.META_HEAD, block.id)
            switch = Switch(way.undo, (*way.apply, block.id))
        self._db.write(batch, sync=sync)
        self._remember(block.id, block)  # whoever follows the head asks for both at once
        self._newest = body
        self._learn(opened)
        self.tree.add(node)
        if switch:
            self.tree.head = node
        return switch

    def invalidate(self, block: Cid, reason: str) -> Switch | None:
        """Takes a block that has turned out false out of the tree, with all that stand on it. Where the head was among
        them: the way to the heaviest block that is left. They stay readable, with the reason (`rejection`)."""
        gone = self.tree.branch(block)
        batch = Batch()
        head = self.tree.heaviest(without=set(gone)) if self.head.id in gone else self.head
        way = self.tree.switch(self.head.id, head.id)
        self._go(batch, way)
        for one in gone:
            batch.delete(schema.node_key(self.tree.nodes[one].height, one))
            batch.delete(schema.UNDO + one)
            why = reason if one == block else f"it stands on {block}: {reason}"
            batch.put(schema.REJECTED + one, why.encode())
        batch.put(schema.META_HEAD, head.id)
        self._db.write(batch)
        moved = head.id != self.head.id
        self.tree.head = head
        self.tree.remove(gone)
        return way if moved else None

    def reject(self, block: Cid, reason: str) -> None:
        """Remembers that a block is invalid, so that nobody has to find it out again."""
        batch = Batch()
        batch.put(schema.REJECTED + block, reason.encode())
        self._db.write(batch, sync=False)

    def save_session(self, record: schema.SessionRecord | None) -> None:
        """The miner's session, so that a crash costs one segment. Not synced: losing it loses work, not money."""
        batch = Batch()
        batch.set(schema.META_SESSION, None if record is None else encode(record))
        self._db.write(batch, sync=False)

    def saved_session(self) -> schema.SessionRecord | None:
        data = self._db.get(schema.META_SESSION)
        return None if data is None else decode(schema.SessionRecord, data)

    # --- inside --------------------------------------------------------------------------------------------

    def _create(self, first: Block) -> None:
        """A new database: the genesis and its state."""
        batch = Batch()
        state = State(lambda key: None)
        genesis_state(self.params, state)
        delta = state.delta()
        root, fresh = update(EMPTY, delta.new, lambda name: b"")
        header = first.header
        node = Node(first.id, header.parent, 0, header.timestamp, header.difficulty, 0, root)
        batch.put(schema.META_FORMAT, schema.FORMAT)
        batch.put(schema.META_NETWORK, first.id)
        batch.put(schema.META_HEAD, first.id)
        batch.put(schema.BLOCK + first.id, encode(first))
        batch.put(schema.BODY + header.body, encode(Body()))
        batch.put(schema.node_key(0, first.id), encode(node))
        for name, data in fresh.items():
            batch.put(schema.TREE + name, data)
        self._apply(batch, (first, Body()), delta)
        self._db.write(batch)

    def _check_identity(self) -> None:
        """Raises StartError where the database is not one of ours, and DatabaseCorrupt where that is missing."""
        keys = (schema.META_FORMAT, schema.META_NETWORK, schema.META_HEAD)
        stored, network, head = map(self._db.get, keys)
        if stored is None or network is None or head is None:
            raise DatabaseCorrupt(self._db.path, "its format, its network or its head is missing")
        if stored != schema.FORMAT:
            raise StartError(
                f"{self._db.path} has format {stored.decode(errors='replace')}, this program reads "
                f"{schema.FORMAT.decode()}; start with another --data-dir, or with the version that made it"
            )
        if network != self.network:
            raise StartError(
                f"{self._db.path} belongs to another network than {self.params.name!r} "
                f"({Cid(network)}, not {self.network}); choose another --data-dir"
            )

    def _load_tree(self) -> BlockTree:
        nodes = (decode(Node, data) for _, data in self._db.items(schema.NODE))
        tree = BlockTree(next(nodes), self.params.finality)
        for node in nodes:
            tree.add(node)
        head = self._db.get(schema.META_HEAD)
        assert head is not None
        tree.head = tree.nodes[Cid(head)]
        return tree

    def _learn(self, descriptions: Iterable[tuple[bytes, bytes]]) -> None:
        for task, description in descriptions:
            self.specs[Cid(task)] = decode(TaskSpec, description)

    def _read_state(self, key: bytes) -> bytes | None:
        return self._db.get(schema.STATE + key)

    def _read_tree(self, name: bytes) -> bytes:
        data = self._db.get(schema.TREE + name)
        if data is None:
            raise KeyError(f"{self._db.path}: node {name.hex()} of the state tree is missing")
        return data

    def _remember(self, id_: Cid, block: Block) -> Block:
        """Audits ask for the blocks above the finality depth again and again."""
        self._recent[id_] = block
        if len(self._recent) > 2 * self.params.finality:
            self._recent.popitem(last=False)
        return block

    def _go(self, batch: Batch, way: Switch) -> None:
        """The state and the indices of the head's chain, from one stored block to another."""
        for undone in way.undo:
            self._undo(batch, undone)
        for applied in way.apply:
            self._apply(batch, self._stored(applied), self._delta(applied))

    def _delta(self, block: Cid) -> Delta:
        data = self._db.get(schema.UNDO + block)
        assert data is not None, f"no undo data of {block}"
        return decode(Delta, data, _DELTA_LIMIT)

    def _stored(self, block: Cid) -> tuple[Block, Body]:
        found = self.block(block)
        assert found is not None, f"block {block} is in the tree, not in the database"
        body = self.body(found)
        assert body is not None, f"no body of {block}"
        return found, body

    def _apply(self, batch: Batch, stored: tuple[Block, Body], delta: Delta) -> None:
        block, body = stored
        for change in delta.changes:
            batch.set(schema.STATE + change.key, change.new)
        batch.put(schema.height_key(block.height), block.id)
        for index, transaction in enumerate(body.transactions):
            batch.put(schema.TRANSACTION + transaction.id, encode(schema.Location(block.id, index)))

    def _undo(self, batch: Batch, undone: Cid) -> None:
        block, body = self._stored(undone)
        for change in self._delta(undone).changes:
            batch.set(schema.STATE + change.key, change.old)
        batch.delete(schema.height_key(block.height))
        for transaction in body.transactions:
            batch.delete(schema.TRANSACTION + transaction.id)


def _overlaid(changed: Mapping[bytes, bytes | None], below: Read) -> Read:
    return lambda key: changed[key] if key in changed else below(key)
