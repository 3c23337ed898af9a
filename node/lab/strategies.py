"""Those who train honestly, and choose what to publish, to carry and to build on, and when."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from consensus.market import least_pay
from consensus.seal import GATE_PASSED, gate
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.primitives import DBK
from deepblock.spec import TaskSpec
from deepblock.transactions import OpenTask, Transaction
from deepblock.types import Block, Body, Header, Share
from node.lab import training
from node.lab.honest import FEE, Honest, Session
from node.lab.world import SPEC

KNOWS_AFTER: Final = 0.5
"""The part of a session after which the early aborter knows whether it will pass the gate. An oracle: nobody can."""
SHORTCUT: Final = 4
"""How much faster the sponsor trains its degenerate task than others do."""
FAT_FEES: Final = 20 * DBK
"""What makes a block worth sniping."""


class EarlyAborter(Honest):
    """Ends a session halfway where its average will not pass the gate."""

    stopped_by = "shares need no gate: an aborted session gives none"

    def begin(self) -> Session:
        session = super().begin()
        header = session.header
        spec, task = (
            self.ledger.spec(header.parent, header.task),
            self.ledger.task(header.parent, header.task),
        )
        loss = training.train(header, spec, task).score.loss
        if gate(spec, task, loss) != GATE_PASSED:
            return replace(session, takes=session.takes * KNOWS_AFTER, doomed=True)
        return session

    def finish(self, session: Session) -> None:
        if not session.doomed:
            super().finish(session)


class FeeSniper(Honest):
    """Mines beside a block with fat fees, to have them itself, for as long as its branch is not two behind."""

    stopped_by = "equal weight changes no head: the sniper needs two blocks in the time of one"

    def parent(self) -> Cid:
        node = self.tree.head
        entry = self.ledger.entries[node.id]
        for other in self.tree.at_height.get(node.height, ()):
            if self._is_ours(other):
                return other
        if node.height and not self._is_ours(node.id):
            fees = sum(transaction.payload.fee for transaction in entry.body.transactions)
            if fees >= FAT_FEES:
                return node.parent
        return node.id

    def _is_ours(self, block: Cid) -> bool:
        return any(self.ledger.entries[block].block.header.miner == peer.address for peer in self.gang)


class Hoarder(Honest):
    """Shows nobody its shares and carries none of others, so that theirs get old."""

    stopped_by = "the next honest block carries what is left; its own wait for its own blocks"

    def found_share(self, share: Share) -> None:
        for peer in self.gang:
            peer.shares[share.id] = share

    def choose(self, parent: Cid) -> Iterator[Share]:
        ours = {peer.address for peer in self.gang}
        return (share for share in super().choose(parent) if share.header.miner in ours)


class Withholder(Honest):
    """Publishes blocks without their states, and builds on them while the others have to compute those."""

    stopped_by = "a missing state is computed from an earlier one; until then the block is nobody's head"

    def found_block(self, block: Block, body: Body) -> None:
        self.world.withheld.add(block.id)
        super().found_block(block, body)

    def patience(self, block: Block) -> float:
        return 0.0


class SelfishMiner(Honest):
    """Keeps a lead to itself and shows it when the others catch up (Eyal and Sirer, 2014). The gang works as one."""

    stopped_by = "the first seen of equals stays the head; above a third of the power nothing does"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.hidden: list[tuple[Block, Body]] = []
        self.public, self.racing = 0, False

    @property
    def leader(self) -> "SelfishMiner":
        leader = self.gang[0]
        assert isinstance(leader, SelfishMiner)
        return leader

    def found_block(self, block: Block, body: Body) -> None:
        leader = self.leader
        leader.hidden.append((block, body))
        for peer in self.gang:
            if block.header.parent in peer.tree.nodes and block.id not in peer.tree.nodes:
                peer.accept(block)
        if leader.racing:
            leader.racing = False
            leader.show(block.height)

    def announce(self) -> None:
        """What it stands on is its secret."""

    def gossip_head(self) -> None:
        """Neither."""

    def accept(self, block: Block) -> None:
        super().accept(block)
        if all(block.header.miner != peer.address for peer in self.gang):
            self.leader.react(block.height)

    def react(self, height: int) -> None:
        """The others have reached `height`."""
        if height <= self.public:
            return
        self.public = height
        lead = self.hidden[-1][0].height - height if self.hidden else -1
        if lead < 0:
            self.hidden.clear()
            self.racing = False
        elif lead <= 1:
            self.racing = lead == 0
            self.show(height + lead)
        else:
            self.show(height)

    def show(self, height: int) -> None:
        """All that is hidden up to there."""
        while self.hidden and self.hidden[0][0].height <= height:
            self.world.broadcast(self, "block", *self.hidden.pop(0))


class FalseAccuser(Honest):
    """Accuses blocks that are true, and with the blocks of its own, now and then, shares that are."""

    stopped_by = "everybody redoes the step; a block with a false fraud proof is itself false"

    def accept(self, block: Block) -> None:
        super().accept(block)
        step = 1 + self.world.rng.randrange(len(block.seal.states))
        self.world.broadcast(self, "accusation", block.id, step)

    def transactions(self, parent: Cid) -> list[Transaction]:
        entry, account = self.ledger.entries[parent], self.ledger.state(parent).account(self.address)
        others = [share for share in entry.body.shares if share.header.miner != self.address]
        if others and account.balance > FEE and self.nonce % 4 == 0:
            return [*self.world.pool, self.prove(others[0], entry.block.height, 1, account.nonce)]
        return super().transactions(parent)


class TimestampLiar(Honest):
    """Dates its sessions as far ahead as its peers' clocks allow, to make the next ones easier."""

    stopped_by = "the difficulty follows differences of times: what one block gains, the next one loses"

    def header(self, parent: Cid, body: Body) -> Header:
        header = super().header(parent, body)
        return replace(header, timestamp=max(header.timestamp, self.clock + self.params.max_future - 10))


class Sponsor(Honest):
    """Opens tasks that only it trains fast: all their examples are the same. The gang has one purse, and all that is in
    it is escrow."""

    stopped_by = "a sponsored block mints nothing: who wins those of its own task gets its own money back"

    def header(self, parent: Cid, body: Body) -> Header:
        return replace(super().header(parent, body), miner=self.gang[0].address)

    def duration(self, header: Header, spec: TaskSpec) -> float:
        sponsored = cid_of(spec) not in map(cid_of, self.params.base_tasks)
        return super().duration(header, spec) / (SHORTCUT if sponsored else 1)

    def transactions(self, parent: Cid) -> list[Transaction]:
        state, purse = self.ledger.state(parent), self.gang[0].wallet
        account, fee = state.account(purse.address), DBK // 4
        pay = least_pay(self.params, self.ledger.tree.nodes[parent].height + 1)
        epochs = (account.balance - fee) // (pay * self.params.epoch)
        if state.open_tasks().items or epochs < 1:
            return super().transactions(parent)
        spec = replace(SPEC, name=f"degenerate {account.nonce}", train=SPEC.heldout)
        escrow = epochs * pay * self.params.epoch
        offer = OpenTask(self.ledger.network, purse.key, account.nonce, fee, spec, pay, escrow, None)
        return [*super().transactions(parent), purse.sign(offer)]


class LazyValidator(Honest):
    """Audits nothing and takes everything. There is one faker in its network."""

    stopped_by = "what it builds on false blocks is lost with them"
    company = "faker-last-but-one"

    def audit(self, block: Block, body: Body) -> None:
        pass

    def audit_share(self, share: Share) -> None:
        pass

    def audit_idly(self) -> None:
        pass
