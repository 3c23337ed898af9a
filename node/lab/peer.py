"""A simulated node without a miner: it follows the heaviest chain that its audits find true, and accuses."""

from collections.abc import Iterator
from dataclasses import replace

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
from consensus.errors import Fraud, FromTheFuture, Invalid
from consensus.fork_choice import BlockTree
from consensus.header import check_time
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.types import Block, Body, Header, Seal, Share
from node.auditor import SHARE_SEGMENTS
from node.frauds import draw_missed
from node.lab.disk import Disk
from node.lab.world import World


class Peer:
    """`power`: segments a second. `audited`: segments that it has replayed."""

    def __init__(self, world: World, number: int, power: float) -> None:
        self.world, self.number, self.power = world, number, power
        self.ledger, self.params = world.ledger, world.params
        self.skew = world.rng.uniform(-2, 2)
        self.audited = 0
        self.down = False
        self.disk = Disk(self.ledger.tree.root)
        self.wake(self.disk.load(self.params.finality))

    def wake(self, tree: BlockTree) -> None:
        """With nothing in memory but what the disk held."""
        self.tree = tree
        self.shares: dict[Cid, Share] = {}
        self.refused: dict[Cid, tuple[Cid, int | None]] = {}
        """Block → the one that is false, itself or one below, and its false step."""
        self.false_shares: dict[Cid, int] = {}
        self._replayed: dict[Cid, set[int]] = {}
        self._orphans: dict[Cid, list[tuple[Block, Body]]] = {}

    @property
    def clock(self) -> int:
        return int(self.world.now + self.skew)

    def head_moved(self) -> None:
        """Called after every change of the head: forgets shares that are too old to be carried."""
        head, age = self.tree.head, self.params.share_age
        old = [id_ for id_, share in self.shares.items() if head.height - share.header.height >= age + 2]
        for id_ in old:
            del self.shares[id_]

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

    def hear_want(self, sender: "Peer", block: Cid) -> None:
        if block in self.tree.nodes:
            entry = self.ledger.entries[block]
            self.world.send(self, sender, "block", entry.block, entry.body)

    def hear_block(self, sender: "Peer", block: Block, body: Body) -> None:
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

    def _take(self, sender: "Peer", block: Block, body: Body) -> None:
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
        for share in body.shares:
            self._examine(share)
        self.accept(block)

    def hear_share(self, sender: "Peer", share: Share) -> None:
        if share.header.parent in self.tree.nodes and self.ledger.judge_share(share) is None:
            self._examine(share)

    def _examine(self, share: Share) -> None:
        """One that is in order: heard of, or carried by a block."""
        if share.id in self.shares or share.id in self.false_shares:
            return
        try:
            self.audit_share(share)
        except Fraud as fraud:
            self.false_shares[share.id] = step_number(len(share.seal.states), fraud.step) or 1
            return
        self.shares[share.id] = share

    def hear_accusation(self, sender: "Peer", accused: Cid, step: int) -> None:
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

    def _accuse(self, bad: tuple[Cid, int | None], to: "Peer | None" = None) -> None:
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
        """A few more segments of a recent block, as `node.frauds`. What all samples have missed is found in time."""
        if drawn := draw_missed(self._recent(), self.world.rng):
            block, steps = drawn
            try:
                self._judge(block.header, block.seal, Plan(steps), block.id)
            except Fraud as fraud:
                self.disprove(block, fraud)

    def _recent(self) -> Iterator[tuple[Block, set[int]]]:
        """The blocks above the finality depth, and which of their segments this node has replayed."""
        node = self.tree.head
        for _ in range(min(node.height, self.params.finality)):
            yield self.ledger.entries[node.id].block, self._replayed.setdefault(node.id, set())
            node = self.tree.nodes[node.parent]

    def _judge(self, header: Header, seal: Seal, plan: Plan, key: Cid) -> None:
        self.audited += len(plan.segments)
        self._replayed.setdefault(key, set()).update(plan.segments)
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

    def _written(self) -> None:
        if not self.down:
            self.disk.sync()
