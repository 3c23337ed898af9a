"""A simulated node that keeps to the rules: it mines on its head, carries shares, and proves those false that are.

Attackers (`forgers`, `strategies`) inherit it and do one thing otherwise.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from consensus.errors import InvalidSeal
from consensus.rewards import earns
from consensus.seal import check_ticket
from consensus.task import may_fall_back
from consensus.template import candidate
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.keys import Wallet
from deepblock.spec import TaskSpec
from deepblock.transactions import FraudProof, Transaction
from deepblock.types import Block, Body, Header, Seal, Share
from node.lab import training
from node.lab.peer import Peer
from node.lab.world import World
from node.miner import pays_as_share

FEE: Final = 10_000
"""Motes, enough for the bytes of a small transaction."""


@dataclass(eq=False, slots=True)
class Session:
    """`began`: simulated seconds; `takes`: seconds of training. `doomed`: will be given up."""

    header: Header
    body: Body
    began: float
    takes: float
    doomed: bool = False


class Honest(Peer):
    """`gang`: those that work together, this one among them. What it has done: `work`, segments trained; `finished`,
    sessions."""

    stopped_by: ClassVar[str] = ""
    company: ClassVar[str | None] = None
    """The strategy of one more node among the others."""

    def __init__(self, world: World, number: int, power: float, gang: "list[Honest]") -> None:
        self.gang = gang
        self.wallet = Wallet(world.rng.randbytes(32))
        self.key, self.address = self.wallet.key, self.wallet.address
        self.work, self.finished = 0.0, 0
        self.nonce = number << 32
        self.session: Session | None = None
        self.prove = functools.cache(self._prove)
        super().__init__(world, number, power)

    # --- power cuts ----------------------------------------------------------------------------------------

    def crash(self, seconds: float) -> None:
        """Loses what the disk has not written; back after a while."""
        if not self.down:
            self.down = True
            self.stop()
            self.world.after(seconds, self._restart)

    def _restart(self) -> None:
        self.down = False
        self.wake(self.disk.load(self.params.finality))
        self.mine()
        self.announce()

    # --- mining --------------------------------------------------------------------------------------------

    def head_moved(self) -> None:
        """The session goes on where a share is worth the rest of it."""
        super().head_moved()
        if self.down or (self.session and not self.abandons(self.session)):
            return
        self.stop()
        self.mine()

    def abandons(self, session: Session) -> bool:
        """Whether to begin anew on the head."""
        header, head = session.header, self.parent()
        if header.parent == head:
            return False
        if header.parent not in self.ledger.near(head):
            return True
        left = 1 - (self.world.now - session.began) / session.takes
        spec, height = self.ledger.spec(header.parent, header.task), self.ledger.tree.nodes[head].height + 1
        return not pays_as_share(self.params, spec, header, height, self.ledger.current(head), left)

    def stop(self) -> None:
        if self.session:
            self.work += (self.world.now - self.session.began) * self.power
            self.session = None

    def mine(self) -> None:
        """The next session."""
        if not self.down:
            self.session = self.begin()
            self.world.after(self.session.takes, self._end, self.session)

    def begin(self) -> Session:
        parent = self.parent()
        body = self.body(parent)
        header = self.header(parent, body)
        spec = self.ledger.spec(parent, header.task)
        return Session(header, body, self.world.now, self.duration(header, spec))

    def parent(self) -> Cid:
        return self.tree.head.id

    def body(self, parent: Cid) -> Body:
        transactions = self.ledger.ready(parent, self.transactions(parent))
        return self.ledger.body(transactions, tuple(self.choose(parent)), self.ledger.pending(parent))

    def header(self, parent: Cid, body: Body) -> Header:
        below, self.nonce = self.ledger.below(parent), self.nonce + 1
        task = self.ledger.current(parent)
        if may_fall_back(self.params, self.clock, below.ancestry.timestamps[0]):
            task = cid_of(self.params.base_tasks[0])
        return candidate(
            self.params,
            self.ledger.network,
            below.ancestry,
            body.cid,
            self.address,
            self.nonce,
            self.clock,
            task,
        )

    def duration(self, header: Header, spec: TaskSpec) -> float:
        return spec.segments / self.power

    def choose(self, parent: Cid) -> Iterator[Share]:
        """Shares that are paid in a child of `parent`; the same task first, the newest first."""
        near, seen, task = (
            self.ledger.near(parent),
            set(self.ledger.lately(parent)),
            self.ledger.current(parent),
        )
        waiting = [
            share
            for share in self.shares.values()
            if share.header.parent in near and earns(self.params, share.header.task, task)
        ]
        waiting.sort(key=lambda share: (share.header.task != task, -share.header.height))
        room = self.params.max_shares
        for share in waiting:
            if room and share.header.cid not in seen:
                seen.add(share.header.cid)
                room -= 1
                yield share

    def transactions(self, parent: Cid) -> list[Transaction]:
        """The pool, and a proof against every carried share that this node has found false."""
        return [*self.world.pool, *(self._proofs(parent) if self.false_shares else ())]

    def _proofs(self, parent: Cid) -> Iterator[Transaction]:
        node = self.ledger.tree.nodes[parent]
        nonce = self.ledger.state(parent).account(self.address).nonce
        for _ in range(self.params.maturity - 1):
            if node.height == 0:
                return
            for share in self.ledger.entries[node.id].body.shares:
                if step := self.false_shares.get(share.id):
                    yield self.prove(share, node.height, step, nonce)
                    nonce += 1
            node = self.ledger.tree.nodes[node.parent]

    def _prove(self, share: Share, height: int, step: int, nonce: int) -> Transaction:
        return self.wallet.sign(FraudProof(self.ledger.network, self.key, nonce, FEE, share.id, height, step))

    def _end(self, session: Session) -> None:
        if session is self.session and not self.down:
            self.stop()
            self.finished += 1
            self.finish(session)
            if self.session is None:
                self.mine()

    def finish(self, session: Session) -> None:
        """The session is over: what it gives is shown to all."""
        header = session.header
        spec, task = (
            self.ledger.spec(header.parent, header.task),
            self.ledger.task(header.parent, header.task),
        )
        self.offer(session, training.train(header, spec, task))

    def wins(self, header: Header, seal: Seal) -> bool:
        spec, task = (
            self.ledger.spec(header.parent, header.task),
            self.ledger.task(header.parent, header.task),
        )
        try:
            check_ticket(self.params, spec, task, header, seal)
        except InvalidSeal:
            return False
        return True

    def offer(self, session: Session, seal: Seal) -> None:
        """A block where the ticket wins on the head, else a share where it is good for one."""
        if session.header.parent == self.parent() and self.wins(session.header, seal):
            result, _ = self.ledger.result(session.header, seal, session.body)
            block = Block(session.header, seal, result)
            if self.ledger.judge(block, session.body) is None:
                self.found_block(block, session.body)
            return
        share = Share(session.header, seal)
        if self.ledger.judge_share(share) is None:
            self.found_share(share)

    def found_block(self, block: Block, body: Body) -> None:
        self.accept(block)
        self.world.broadcast(self, "block", block, body)

    def found_share(self, share: Share) -> None:
        self.shares[share.id] = share
        self.world.broadcast(self, "share", share)
