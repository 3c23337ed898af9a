"""A simulated node that keeps to the rules: it follows the heaviest chain, audits, mines, carries shares, accuses.

Attackers (`strategies`) inherit it and do one thing otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from consensus.audit import (
    Findings,
    Plan,
    accusations,
    judge,
    judge_accusation,
    judge_result,
    plan_accusation,
    plan_sample,
    step_number,
)
from consensus.errors import Fraud, FromTheFuture, Invalid, InvalidSeal
from consensus.fork_choice import BlockTree
from consensus.header import check_time
from consensus.market import pending
from consensus.seal import check_ticket
from consensus.task import may_fall_back
from consensus.template import candidate
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.keys import Wallet
from deepblock.spec import TaskSpec
from deepblock.transactions import FraudProof, Transaction
from deepblock.types import Block, Body, Header, Seal, Share
from node.auditor import SHARE_SEGMENTS
from node.lab import training
from node.lab.disk import Disk
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


class Honest:
    """`power`: segments a second. `gang`: those that work together, this one among them.

    What it has done: `work`, segments trained; `audited`, segments replayed; `finished`, sessions.
    """

    stopped_by: ClassVar[str] = ""
    company: ClassVar[str | None] = None
    """The strategy of one more node among the others."""

    def __init__(self, world: World, number: int, power: float, gang: "list[Honest]") -> None:
        self.world, self.number, self.power, self.gang = world, number, power, gang
        self.ledger, self.params = world.ledger, world.params
        self.wallet = Wallet(world.rng.randbytes(32))
        self.key, self.address = self.wallet.key, self.wallet.address
        self.skew = world.rng.uniform(-2, 2)
        self.work, self.audited, self.finished = 0.0, 0, 0
        self.down = False
        self.disk = Disk(self.ledger.tree.root)
        self.nonce = number << 32
        self.session: Session | None = None
        self._wake(self.disk.load(self.params.finality))

    def _wake(self, tree: BlockTree) -> None:
        """With nothing in memory but what the disk held."""
        self.tree = tree
        self.shares: dict[Cid, Share] = {}
        self.refused: dict[Cid, tuple[Cid, int | None]] = {}
        """Block → the one that is false, itself or one below, and its false step."""
        self.false_shares: dict[Cid, int] = {}
        self._orphans: dict[Cid, list[tuple[Block, Body]]] = {}

    @property
    def clock(self) -> int:
        return int(self.world.now + self.skew)

    # --- power cuts ----------------------------------------------------------------------------------------

    def crash(self, seconds: float) -> None:
        """Loses what the disk has not written; back after a while."""
        if not self.down:
            self.down = True
            self.stop()
            self.world.after(seconds, self._restart)

    def _restart(self) -> None:
        self.down = False
        self._wake(self.disk.load(self.params.finality))
        self.mine()
        self.announce()

    def _written(self) -> None:
        if not self.down:
            self.disk.sync()

    # --- talk ----------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Where it stands, to all."""
        entry = self.ledger.entries[self.tree.head.id]
        if entry.block.height and not self.down:
            self.world.broadcast(self, "block", entry.block, entry.body)

    def gossip_head(self) -> None:
        """The same to one, again and again: what was lost arrives so."""
        entry = self.ledger.entries[self.tree.head.id]
        if entry.block.height and not self.down:
            self.world.send(self, self.world.rng.choice(self.world.peers), "block", entry.block, entry.body)
        self.world.after(self.params.block_time, self.gossip_head)

    def hear_want(self, sender: "Honest", block: Cid) -> None:
        if block in self.tree.nodes:
            entry = self.ledger.entries[block]
            self.world.send(self, sender, "block", entry.block, entry.body)

    def hear_block(self, sender: "Honest", block: Block, body: Body) -> None:
        parent = block.header.parent
        if block.id in self.tree.nodes:
            return
        if bad := self.refused.get(block.id) or self.refused.get(parent):
            self.refused[block.id] = bad
            self._accuse(bad, sender)
            return
        if parent not in self.tree.nodes:
            waiting = self._orphans.setdefault(parent, [])
            if all(block.id != other.id for other, _ in waiting):
                waiting.append((block, body))
            self.world.send(self, sender, "want", parent)
            return
        wait = self.patience(block)
        if wait:
            self.world.after(wait, self._take, sender, block, body)
        else:
            self._take(sender, block, body)

    def patience(self, block: Block) -> float:
        """Seconds until the block can be audited: at once, unless its states are withheld and have to be computed."""
        if block.id not in self.world.withheld:
            return 0.0
        return 2.0 * self.params.block_time + len(block.seal.states) / self.power

    def _take(self, sender: "Honest", block: Block, body: Body) -> None:
        if self.down or block.header.parent not in self.tree.nodes or block.id in self.tree.nodes:
            return
        below = self.ledger.below(block.header.parent)
        try:
            check_time(self.params, block.header, below.ancestry, self.clock)
        except FromTheFuture:
            wait = block.header.timestamp - self.params.max_future - self.clock
            self.world.after(wait, self._take, sender, block, body)
            return
        except Invalid:
            self.refused[block.id] = (block.id, None)
            return
        if self.ledger.judge(block, body):
            self.refused[block.id] = (block.id, None)
            return
        try:
            self.audit(block, body)
        except Fraud as fraud:
            self.disprove(block, fraud)
            return
        self.accept(block)

    def hear_share(self, sender: "Honest", share: Share) -> None:
        if share.id in self.shares or share.id in self.false_shares:
            return
        if share.header.parent not in self.tree.nodes or self.ledger.judge_share(share):
            return
        try:
            self.audit_share(share)
        except Fraud as fraud:
            self.false_shares[share.id] = step_number(len(share.seal.states), fraud.step) or 1
            return
        self.shares[share.id] = share

    def hear_accusation(self, sender: "Honest", accused: Cid, step: int) -> None:
        if accused not in self.tree.nodes:
            return
        entry = self.ledger.entries[accused]
        segments = len(entry.block.seal.states)
        self.audited += 1
        try:
            if step <= segments + 2:
                self._judge(entry.block.header, entry.block.seal, Plan((min(step, segments),)), accused)
            else:
                self._audit_result(entry.block, entry.body)
        except Fraud as fraud:
            self.disprove(entry.block, fraud)

    def _accuse(self, bad: tuple[Cid, int | None], to: "Honest | None" = None) -> None:
        block, step = bad
        if step and to:
            self.world.send(self, to, "accusation", block, step)
        elif step:
            self.world.broadcast(self, "accusation", block, step)

    # --- audits --------------------------------------------------------------------------------------------

    def sample(self, spec: TaskSpec, others: int) -> Plan:
        return plan_sample(spec.segments, others, [self.world.rng.getrandbits(30) for _ in range(others)])

    def audit(self, block: Block, body: Body) -> None:
        """As `node.auditor`. Raises Fraud."""
        spec = self.ledger.spec(block.header.parent, block.header.task)
        self._judge(block.header, block.seal, self.sample(spec, self.params.audit_segments), block.id)
        self._audit_result(block, body)
        for proof in accusations(body):
            share = self.ledger.carried(block.header.parent, proof)
            assert share is not None, "the rules have found its payouts"
            steps = plan_accusation(len(share.seal.states), proof.step).segments
            found = self._only(self.ledger.findings(share.header, share.seal, share.id), steps)
            self.audited += len(steps)
            judge_accusation(proof, share.seal, found)

    def audit_share(self, share: Share) -> None:
        """Before it is carried. Raises Fraud."""
        spec = self.ledger.spec(share.header.parent, share.header.task)
        self._judge(share.header, share.seal, self.sample(spec, SHARE_SEGMENTS), share.id)

    def audit_idly(self) -> None:
        """One more segment of a recent block. What all others have missed is found in time."""
        node, depth = self.tree.head, self.world.rng.randrange(self.params.finality)
        while depth and node.height > 1:
            node, depth = self.tree.nodes[node.parent], depth - 1
        block = self.ledger.entries[node.id].block
        if block.height:
            segment = self.world.rng.randrange(len(block.seal.states)) + 1
            try:
                self._judge(block.header, block.seal, Plan((segment,)), block.id)
            except Fraud as fraud:
                self.disprove(block, fraud)

    def _judge(self, header: Header, seal: Seal, plan: Plan, key: Cid) -> None:
        self.audited += len(plan.segments)
        judge(plan, seal, self._only(self.ledger.findings(header, seal, key), plan.segments))

    def _only(self, found: Findings, segments: tuple[int, ...]) -> Findings:
        return replace(found, states={segment: found.states[segment] for segment in segments})

    def _audit_result(self, block: Block, body: Body) -> None:
        _, derived = self.ledger.result(block.header, block.seal, body)
        if derived:
            judge_result(block, self.ledger.task(block.header.parent, block.header.task), derived)

    # --- the chain -----------------------------------------------------------------------------------------

    def accept(self, block: Block) -> None:
        """Into the tree, and to the disk in a moment."""
        node = self.ledger.tree.nodes[block.id]
        better = self.tree.is_better(node)
        self.tree.add(node)
        self.disk.put(node, head=better)
        self.world.after(self.disk.latency, self._written)
        if better:
            self.tree.head = node
            self.audit_idly()
            self.head_moved()
        for child, body in self._orphans.pop(block.id, []):
            self._take(self, child, body)

    def disprove(self, block: Block, fraud: Fraud) -> None:
        """Out of the tree with all that stand on it; the others are told which step is false."""
        bad = (block.id, step_number(len(block.seal.states), fraud.step))
        gone = self.tree.branch(block.id) if block.id in self.tree.nodes else (block.id,)
        self.refused.update(dict.fromkeys(gone, bad))
        if block.id in self.tree.nodes:
            moved = self.tree.head.id in gone
            if moved:
                self.tree.head = self.tree.heaviest(without=set(gone))
            self.tree.remove(gone)
            self.disk.remove(gone, self.tree.head)
            if moved:
                self.head_moved()
        self._accuse(bad)

    def head_moved(self) -> None:
        """The session goes on where a share is worth the rest of it."""
        head, age = self.tree.head, self.params.share_age
        old = [id_ for id_, share in self.shares.items() if head.height - share.header.height >= age + 2]
        for id_ in old:
            del self.shares[id_]
        if self.down or (self.session and not self.abandons(self.session)):
            return
        self.stop()
        self.mine()

    # --- mining --------------------------------------------------------------------------------------------

    def abandons(self, session: Session) -> bool:
        """Whether to begin anew on the head."""
        header, head = session.header, self.parent()
        if header.parent == head:
            return False
        if header.parent not in self.ledger.near(head):
            return True
        left = 1 - (self.world.now - session.began) / session.takes
        spec, height = self.ledger.spec(header.parent, header.task), self.ledger.tree.nodes[head].height + 1
        return not pays_as_share(self.params, spec, header, height, left)

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
        signals = pending(self.ledger.state(parent))[: self.params.max_signals]
        transactions = self.ledger.ready(parent, self.transactions(parent))
        return self.ledger.body(transactions, tuple(self.choose(parent)), tuple(signals))

    def header(self, parent: Cid, body: Body) -> Header:
        below, self.nonce = self.ledger.below(parent), self.nonce + 1
        task = below.state.schedule().current
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
        """Shares that a child of `parent` can carry; the same task first, the newest first."""
        near, seen = self.ledger.near(parent), set(self.ledger.lately(parent))
        height = self.ledger.tree.nodes[parent].height + 1
        task = self.ledger.below(parent).state.schedule().current
        room = self.params.max_shares
        waiting = sorted(self.shares.values(), key=lambda one: (one.header.task != task, -one.header.height))
        for share in waiting:
            header = share.header
            if room and header.parent in near and header.height <= height and header.cid not in seen:
                seen.add(header.cid)
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

    def prove(self, share: Share, height: int, step: int, nonce: int) -> Transaction:
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
